"""What clients that cannot run here are known to need, stated one by one, against an agent and a server.

Source: modern deltas, section 12. The library's own tests are beside this file; here are the Go client, Prometheus,
consul-template, the node client, Vault, Nomad, Traefik and newer command lines, as the exchanges that they make.
"""

import base64
import gzip
import io
import json
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

import pytest

from jepsen.cluster import Cluster

Until = Callable[[Callable[[], Any]], Any]
KV_LOCK_FLAGS = 0x2DDCCBC058A50C18
SEMAPHORE_FLAGS = 0xE0F69A2BAA414DE0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        return int(self.headers["X-Consul-Index"])


class Raw:
    """Says exactly what a client says."""

    def __init__(self, address: str) -> None:
        self._base = f"http://{address}"

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self._base + path, data=data, method=method, headers=names)
        try:
            with urllib.request.urlopen(request, timeout=90) as reply:
                return Answer(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def later(self, method: str, path: str, body: object = None) -> threading.Timer:
        """The same, a moment from now, by somebody else."""
        timer = threading.Timer(0.2, self, args=(method, path, body))
        timer.start()
        return timer


@pytest.fixture(params=["agent", "server"])
def raw(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Raw]:
    node = cluster.agents[0] if request.param == "agent" else cluster.servers[1]
    found = Raw(node.http_address)
    yield found
    found("DELETE", "/v1/kv/check/?recurse")
    found("PUT", "/v1/catalog/deregister", {"Node": "listed"})
    for service_id in found("GET", "/v1/agent/services").json():
        if service_id != "consul":
            found("PUT", f"/v1/agent/service/deregister/{urllib.parse.quote(service_id)}")


@pytest.fixture
def session(raw: Raw) -> Iterator[str]:
    made = raw("PUT", "/v1/session/create", {"TTL": "15s", "LockDelay": "15000000000ns", "Checks": []})
    found = str(made.json()["ID"])
    yield found
    raw("PUT", f"/v1/session/destroy/{found}")


def listed(raw: Raw, status: str = "passing", **service: object) -> None:
    body = {
        "Node": "listed",
        "Address": "10.7.0.1",
        "Service": {"Service": "listed", "Port": 7, **service},
        "Check": {"CheckID": "c", "ServiceID": "listed", "Status": status},
    }
    assert raw("PUT", "/v1/catalog/register", body).body == b"true"


READS = (
    "/v1/kv/check/absent", "/v1/catalog/nodes", "/v1/catalog/services", "/v1/catalog/service/nobody",
    "/v1/catalog/node/nobody", "/v1/health/service/nobody", "/v1/health/state/any", "/v1/health/node/nobody",
    "/v1/health/checks/nobody", "/v1/session/list", "/v1/session/node/nobody",
    "/v1/session/info/adf4238a-882b-9ddc-4a9d-5b6758e4159e", "/v1/coordinate/nodes", "/v1/coordinate/node/nobody",
)  # fmt: skip


@pytest.mark.parametrize("path", READS)
def test_every_indexed_read_sends_its_three_headers_also_with_404(raw: Raw, path: str) -> None:
    answer = raw("GET", path)
    assert answer.status in (200, 404)
    assert answer.index >= 1
    assert int(answer.headers["X-Consul-LastContact"]) >= 0
    assert answer.headers["X-Consul-KnownLeader"] == "true"


@pytest.mark.parametrize(
    "path", ["/v1/catalog/service/nobody", "/v1/health/service/nobody", "/v1/health/checks/nobody"]
)
def test_nothing_is_an_empty_list_never_null(raw: Raw, path: str) -> None:
    assert raw("GET", path).body == b"[]"


def test_an_event_list_has_an_index(raw: Raw) -> None:
    assert raw("GET", "/v1/event/list").index >= 0


@pytest.mark.parametrize("path", ["/v1/agent/service/deregister/x", "/v1/agent/check/pass/x", "/v1/agent/join/x"])
def test_old_clients_that_get_where_they_should_put_are_told_405(raw: Raw, path: str) -> None:
    assert raw("GET", path).status == 405


def test_go_session_info_shows_the_lock_delay_in_nanoseconds(raw: Raw, session: str) -> None:
    (found,) = raw("GET", f"/v1/session/info/{session}").json()
    assert found["LockDelay"] == 15_000_000_000
    assert raw("PUT", f"/v1/session/renew/{uuid.uuid4()}").status == 404


def test_go_lock_is_taken_watched_released_and_deleted_by_its_index(raw: Raw, session: str) -> None:
    key = f"/v1/kv/check/lock-{uuid.uuid4()}"
    assert b"true" in raw("PUT", f"{key}?acquire={session}&flags={KV_LOCK_FLAGS}", b"me").body
    held = raw("GET", f"{key}?consistent")
    (pair,) = held.json()
    assert (pair["Flags"], pair["Session"], pair["LockIndex"]) == (KV_LOCK_FLAGS, session, 1)
    release = raw.later("PUT", f"{key}?release={session}&flags={KV_LOCK_FLAGS}", b"me")
    seen = raw("GET", f"{key}?consistent&index={held.index}&wait=15000ms")
    release.join()
    (pair,) = seen.json()
    assert "Session" not in pair
    assert b"false" in raw("DELETE", f"{key}?cas={pair['ModifyIndex'] - 1}").body
    assert b"true" in raw("DELETE", f"{key}?cas={pair['ModifyIndex']}").body


def test_go_semaphore_keeps_its_holders_in_one_key_by_comparing(raw: Raw, session: str) -> None:
    prefix = f"check/semaphore-{uuid.uuid4()}"
    assert raw("PUT", f"/v1/kv/{prefix}/{session}?acquire={session}&flags={SEMAPHORE_FLAGS}", b"").json() is True
    pairs = raw("GET", f"/v1/kv/{prefix}/?recurse")
    assert [row["Session"] for row in pairs.json()] == [session]
    lock = {"Limit": 2, "Holders": {session: True}}
    path = f"/v1/kv/{prefix}/.lock?flags={SEMAPHORE_FLAGS}"
    assert raw("PUT", f"{path}&cas=0", lock).json() is True
    assert raw("PUT", f"{path}&cas=0", lock).json() is False
    (pair,) = raw("GET", f"/v1/kv/{prefix}/.lock").json()
    assert json.loads(base64.b64decode(pair["Value"])) == lock
    assert raw("PUT", f"{path}&cas={pair['ModifyIndex']}", {"Limit": 2, "Holders": {}}).json() is True
    later = raw("GET", f"/v1/kv/{prefix}/?recurse&index={pairs.index}&wait=15000ms")
    assert later.index > pairs.index


def test_prometheus_learns_its_datacenter_from_the_agent(raw: Raw) -> None:
    assert raw("GET", "/v1/agent/self").json()["Config"]["Datacenter"] == "dc1"


def test_prometheus_follows_services_and_then_each_of_them(raw: Raw, until: Until) -> None:
    path = "/v1/catalog/services?stale=&wait=120000ms"
    index = raw("GET", path).index
    register = threading.Timer(0.2, listed, args=(raw,), kwargs={"Tags": ["a", "b"], "Meta": {"k": "v"}})
    register.start()
    services: dict[str, list[str]] = {}
    while "listed" not in services:
        later = raw("GET", f"{path}&index={index}")
        assert later.index != index, "two minutes without news"
        index, services = later.index, later.json()
    register.join()
    assert services["listed"] == ["a", "b"]
    assert until(lambda: raw("GET", "/v1/health/service/listed?stale=&tag=a&tag=b").json())
    (row,) = raw("GET", "/v1/health/service/listed?stale=&tag=a&tag=b&wait=120000ms").json()
    assert {"Node", "Address", "Datacenter", "TaggedAddresses", "Meta"} <= row["Node"].keys()
    assert {key: row["Service"][key] for key in ("ID", "Service", "Address", "Port", "Tags", "Meta")} == {
        "ID": "listed", "Service": "listed", "Address": "", "Port": 7, "Tags": ["a", "b"], "Meta": {"k": "v"},
    }  # fmt: skip
    assert [check["Status"] for check in row["Checks"]] == ["passing"]
    assert raw("GET", "/v1/health/service/listed?stale=&tag=a&tag=c").json() == []


@pytest.mark.parametrize("path", ["/v1/catalog/services", "/v1/health/service/listed", "/v1/kv/check/absent"])
def test_consul_template_an_unchanged_view_keeps_its_index(raw: Raw, path: str, until: Until) -> None:
    listed(raw)
    leads = raw("GET", f"{path}?consistent")
    assert until(lambda: raw("GET", f"{path}?stale").index >= leads.index), "any server may answer, later than others"
    first = raw("GET", f"{path}?stale&index={leads.index - 1}&wait=60000ms")
    again = raw("GET", f"{path}?stale&index={first.index}&wait=50ms")
    assert (again.index, again.body) == (first.index, first.body)
    assert int(again.headers["X-Consul-LastContact"]) < 60_000


def test_consul_template_waits_for_a_key_that_is_not_there_yet(raw: Raw) -> None:
    absent = raw("GET", "/v1/kv/check/soon")
    assert absent.status == 404
    write = raw.later("PUT", "/v1/kv/check/soon", b"now")
    found = raw("GET", f"/v1/kv/check/soon?index={absent.index}&wait=60000ms")
    write.join()
    assert (found.status, found.index > absent.index) == (200, True)


def test_the_index_of_a_watched_view_never_goes_back(raw: Raw) -> None:
    indexes = []
    for step in range(3):
        listed(raw, "critical" if step % 2 else "passing")
        indexes.append(raw("GET", "/v1/health/service/listed").index)
    raw("PUT", "/v1/catalog/deregister", {"Node": "listed"})
    indexes.append(raw("GET", "/v1/health/service/listed").index)
    assert indexes == sorted(set(indexes))


def test_nomad_tells_checks_what_they_are_and_may_deregister_twice(raw: Raw, until: Until) -> None:
    name = "_nomad-task-8e3c-redis"
    check = {"Name": "alive", "CheckID": f"{name}-check", "TTL": "30s", "Status": "critical"}
    body = {"ID": name, "Name": "redis", "Tags": ["cache"], "Port": 6379, "Check": check}
    assert raw("PUT", "/v1/agent/service/register?replace-existing-checks=true", body).status == 200
    told = raw("PUT", f"/v1/agent/check/update/{name}-check", {"Status": "passing", "Output": "pong"})
    assert told.status == 200
    query = urllib.parse.urlencode({"filter": 'ServiceID contains "_nomad" or CheckID contains "_nomad"'})
    assert raw("GET", f"/v1/agent/checks?{query}").json()[f"{name}-check"]["Output"] == "pong"
    assert until(lambda: raw("GET", "/v1/health/service/redis?passing").json())
    assert raw("PUT", f"/v1/agent/service/deregister/{name}").status == 200
    assert raw("PUT", f"/v1/agent/service/deregister/{name}").status in (200, 404)


def test_vault_writes_sixty_four_operations_at_once_and_is_told_what_is_too_large(raw: Raw) -> None:
    value = base64.b64encode(b"x" * 1000).decode()
    ops = [{"KV": {"Verb": "set", "Key": f"check/vault/{number}", "Value": value}} for number in range(64)]
    assert raw("PUT", "/v1/txn", ops).status == 200
    assert len(raw("GET", "/v1/kv/check/vault/?keys").json()) == 64
    assert raw("PUT", "/v1/kv/check/vault/most", b"x" * 512 * 1024).json() is True
    assert raw("PUT", "/v1/kv/check/vault/more", b"x" * (512 * 1024 + 1)).status == 413
    too_large = [{"KV": {"Verb": "set", "Key": "check/vault/more", "Value": base64.b64encode(b"x" * 524289).decode()}}]
    assert raw("PUT", "/v1/txn", too_large).status == 413


def test_traefik_and_fabio_find_lists_where_there_are_no_tags(raw: Raw) -> None:
    listed(raw)
    assert raw("GET", "/v1/catalog/services").json()["listed"] == []
    assert raw("GET", "/v1/health/service/listed?passing").json()[0]["Service"]["Tags"] == []


def test_spring_sends_a_token_header_and_intervals_as_texts(raw: Raw) -> None:
    check = {"HTTP": "http://127.0.0.1:9/actuator/health", "Interval": "10s", "Header": {}}
    body = {"ID": "app-8080", "Name": "spring", "Tags": [], "Address": "10.0.0.1", "Port": 8080, "Check": check}
    assert raw("PUT", "/v1/agent/service/register?token=", body, X_Consul_Token="any").status == 200
    assert "app-8080" in raw("GET", "/v1/agent/services", X_Consul_Token="any").json()
    index = raw("GET", "/v1/catalog/services").index
    assert raw("GET", f"/v1/catalog/services?wait=50ms&index={index}&token=", X_Consul_Token="any").status == 200


def test_patroni_deregisters_ids_with_slashes_as_they_are(raw: Raw) -> None:
    check = {"TTL": "30s", "DeregisterCriticalServiceAfter": "300s", "TLSServerName": "pg"}
    body = {"ID": "batman/pg1", "Name": "batman", "Port": 5432, "Tags": ["master"], "Check": check}
    assert raw("PUT", "/v1/agent/service/register", body).status == 200
    assert "batman/pg1" in raw("GET", "/v1/agent/services").json()
    assert raw("PUT", "/v1/agent/service/deregister/batman/pg1").status == 200
    assert "batman/pg1" not in raw("GET", "/v1/agent/services").json()


def test_node_client_registers_with_the_long_names_of_durations(raw: Raw) -> None:
    definition = {"HTTP": "http://10.7.0.1/", "IntervalDuration": "10s", "TimeoutDuration": "1s",
                  "DeregisterCriticalServiceAfterDuration": "90s"}  # fmt: skip
    body = {
        "Node": "listed",
        "Address": "10.7.0.1",
        "Service": {"Service": "listed", "TaggedAddresses": {"lan": {"Address": "10.7.0.1", "Port": 80}}},
        "Check": {"CheckID": "c", "Name": "c", "Status": "passing", "Definition": definition},
    }
    assert raw("PUT", "/v1/catalog/register", body).json() is True
    (check,) = raw("GET", "/v1/health/node/listed").json()
    assert check["Definition"]["Interval"] == "10s"
    assert check["Definition"]["DeregisterCriticalServiceAfter"] == "1m30s"
    (row,) = raw("GET", "/v1/catalog/service/listed").json()
    assert row["ServiceTaggedAddresses"]["lan"] == {"Address": "10.7.0.1", "Port": 80}


NEWER = (
    "/v1/agent/members?segment=_all", "/v1/agent/services?filter=Port==1", "/v1/agent/host", "/v1/agent/self",
    "/v1/agent/metrics", "/v1/operator/raft/configuration",
)  # fmt: skip


@pytest.mark.parametrize("path", NEWER)
def test_newer_command_lines_find_what_they_ask(raw: Raw, path: str) -> None:
    assert raw("GET", path).status == 200


def test_newer_command_lines_can_verify_a_snapshot(raw: Raw) -> None:
    archive = raw("GET", "/v1/snapshot")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive.body))) as tar:
        assert {"meta.json", "state.bin", "SHA256SUMS"} <= set(tar.getnames())
