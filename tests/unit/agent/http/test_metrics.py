"""/v1/agent/metrics, monitor, host, token, ACL endpoints and /debug/tasks: what the agent says about itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from agent.http.acl import PATHS
from agent.http.metrics import STREAMS_MAX
from agent.http.monitor import MONITORS_MAX
from agent.http.registry import measured_path
from agent.http.settings import HTTPSettings
from base.log import LINES_KEPT, SINK, Level, get_logger
from base.telemetry import TELEMETRY, TelemetrySettings
from tests.fakes.http_server import PATIENCE_S, RawClient, http_site, request, until

_log = get_logger("test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    settings = TELEMETRY.settings
    yield
    TELEMETRY.configure(settings)


async def chunk(client: RawClient) -> bytes:
    """Return the next chunk of an answer whose head has been read."""
    with trio.fail_after(PATIENCE_S):
        while b"\r\n" not in client._buffer:
            await client._more()
        size = int(client._buffer.partition(b"\r\n")[0], 16)
        start = client._buffer.index(b"\r\n") + 2
        while len(client._buffer) < start + size + 2:
            await client._more()
        body = client._buffer[start : start + size]
        client._buffer = client._buffer[start + size + 2 :]
        return body


async def head(client: RawClient) -> bytes:
    """Return the head of an answer that goes on without an end."""
    with trio.fail_after(PATIENCE_S):
        while b"\r\n\r\n" not in client._buffer:
            await client._more()
    found, _, client._buffer = client._buffer.partition(b"\r\n\r\n")
    return found


async def test_metrics_are_gauges_points_counters_and_samples() -> None:
    async with http_site() as site:
        await site.ask("GET", "/v1/status/leader")
        TELEMETRY.counter("test.metrics").increment()
        TELEMETRY.roll(1_795_428_000.0)
        status, headers, body = await site.ask("GET", "/v1/agent/metrics")
        assert (status, headers["content-type"]) == (200, "application/json")
        answer: dict[str, Any] = json.loads(body)
        assert list(answer) == ["Timestamp", "Gauges", "Points", "Counters", "Samples"]
        assert answer["Timestamp"].endswith(" +0000 UTC")
        row = next(one for one in answer["Counters"] if one["Name"].endswith(".test.metrics"))
        assert list(row) == ["Name", "Count", "Rate", "Sum", "Min", "Max", "Mean", "Stddev", "Labels"]
        assert (row["Count"], row["Sum"], row["Labels"]) == (1, 1, {})
        paths = [one["Labels"].get("path") for one in answer["Samples"] if one["Name"].endswith(".api.http")]
        assert "v1.status.leader" in paths


def test_a_route_is_measured_without_what_a_client_chose() -> None:
    assert measured_path("/v1/kv/") == "v1.kv._"
    assert measured_path("/v1/agent/self") == "v1.agent.self"


async def test_prometheus_is_refused_unless_it_is_configured() -> None:
    async with http_site() as site:
        TELEMETRY.configure(TelemetrySettings())
        status, headers, body = await site.ask("GET", "/v1/agent/metrics?format=prometheus")
        assert (status, headers["content-type"]) == (415, "text/plain; charset=utf-8")
        assert body == b"Prometheus is not enabled since its retention time is not positive"
        TELEMETRY.configure(TelemetrySettings(prometheus_retention_s=60.0))
        status, headers, body = await site.ask("GET", "/v1/agent/metrics?format=prometheus")
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert b"# TYPE consul_api_http summary\n" in body


async def test_a_stream_of_metrics_brings_each_interval_once() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(request("GET", "/v1/agent/metrics/stream"))
        assert b"Transfer-Encoding: chunked" in await head(client)
        first = await chunk(client)
        assert first.endswith(b"}\n")
        TELEMETRY.counter("test.streamed").increment()
        TELEMETRY.roll(1_795_428_010.0)
        assert b".test.streamed" in await chunk(client)
    assert STREAMS_MAX >= 1


async def test_the_monitor_sends_old_lines_and_then_new_ones() -> None:
    async with http_site() as site, site.client() as client:
        _log.info("before")
        await client.send(request("GET", "/v1/agent/monitor?loglevel=info"))
        found = await head(client)
        assert b"200 OK" in found
        assert b"text/plain" in found
        text = await chunk(client)
        assert text.endswith(b"[INFO] test: before\n")
        _log.debug("not for this one")
        _log.warn("after", value=1)
        assert (await chunk(client)).endswith(b"[WARN] test: after value=1\n")
    await until(lambda: SINK.taps_count == 0)


async def test_the_monitor_sees_more_than_the_log_where_it_asks_for_it() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(request("GET", "/v1/agent/monitor?loglevel=DEBUG&logjson"))
        await head(client)
        await until(lambda: SINK.taps_count == 1)
        _log.debug("details")
        while b'"@message":"details"' not in (text := await chunk(client)):
            assert text
        assert all(json.loads(line)["@timestamp"] for line in text.splitlines())
    await until(lambda: SINK.taps_count == 0)
    assert not _log.is_enabled(Level.DEBUG)


async def test_a_monitor_that_does_not_keep_up_is_told_how_many_lines_it_missed() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(request("GET", "/v1/agent/monitor?loglevel=WARN"))
        await head(client)
        await until(lambda: SINK.taps_count == 1)
        while SINK._taps[0].lines:
            await trio.sleep(0.002)
        for number in range(LINES_KEPT + 5):  # without letting the monitor run in between
            _log.warn("flood", number=number)
        text = b""
        while b"lines missed" not in text:
            text += await chunk(client)
        assert text.endswith(b"[WARN] agent: monitor: lines missed count=5\n")


async def test_the_monitor_refuses_unknown_levels_and_too_many() -> None:
    async with http_site() as site:
        status, _, body = await site.ask("GET", "/v1/agent/monitor?loglevel=loud")
        assert (status, body) == (400, b"Unknown log level: loud")
        taps = [SINK.follow(Level.ERR) for _ in range(MONITORS_MAX)]
        try:
            status, _, body = await site.ask("GET", "/v1/agent/monitor")
            assert (status, body) == (429, b"Too many monitors of this agent's log")
        finally:
            for tap in taps:
                SINK.unfollow(tap)


async def test_an_answer_in_pieces_may_follow_another_on_a_connection() -> None:
    """The reader reuses a head that it knows; such a request got no exchange once, and was a defect."""
    async with http_site() as site, site.client() as client:
        for _ in range(3):
            assert (await client.exchange(request("GET", "/v1/status/leader")))[0] == 200
        await client.send(request("GET", "/v1/agent/monitor"))
        assert b"200 OK" in await head(client)
        assert site.listener.statistics().defects_count == 0


async def test_the_machine_is_described() -> None:
    async with http_site() as site:
        status, _, body = await site.ask("GET", "/v1/agent/host")
        facts = json.loads(body)
        assert (status, list(facts)) == (200, ["CPU", "CollectionTime", "Disk", "Errors", "Host", "Memory"])
        assert facts["Memory"]["total"] > 0
        assert facts["Host"]["hostname"]
        assert facts["Errors"] is None


def test_both_token_systems_are_covered() -> None:
    assert list(PATHS) == [
        "/v1/acl/auth-method",
        "/v1/acl/auth-method/",
        "/v1/acl/auth-methods",
        "/v1/acl/authorize",
        "/v1/acl/binding-rule",
        "/v1/acl/binding-rule/",
        "/v1/acl/binding-rules",
        "/v1/acl/bootstrap",
        "/v1/acl/clone/",
        "/v1/acl/create",
        "/v1/acl/destroy/",
        "/v1/acl/info/",
        "/v1/acl/list",
        "/v1/acl/login",
        "/v1/acl/logout",
        "/v1/acl/policies",
        "/v1/acl/policy",
        "/v1/acl/policy/",
        "/v1/acl/policy/name/",
        "/v1/acl/replication",
        "/v1/acl/role",
        "/v1/acl/role/",
        "/v1/acl/role/name/",
        "/v1/acl/roles",
        "/v1/acl/rules/translate",
        "/v1/acl/rules/translate/",
        "/v1/acl/templated-policies",
        "/v1/acl/token",
        "/v1/acl/token/",
        "/v1/acl/token/self",
        "/v1/acl/tokens",
        "/v1/acl/update",
    ]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_of_access_control_says_that_it_is_off(path: str) -> None:
    async with http_site() as site:
        for method in PATHS[path]:
            target = path + "x" if path.endswith("/") else path
            status, headers, body = await site.ask(method, target, b"{}" if method != "GET" else b"")
            assert (status, body) == (401, b"ACL support disabled")
            assert headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_token_of_the_agent_is_refused_after_its_name_was_looked_at() -> None:
    async with http_site() as site:
        status, _, body = await site.ask("PUT", "/v1/agent/token/nobody", b'{"Token":"x"}')
        assert (status, body) == (404, b'Token "nobody" is unknown')
        for name in ("acl_token", "default", "agent_recovery"):
            status, _, body = await site.ask("PUT", f"/v1/agent/token/{name}", b'{"Token":"x"}')
            assert (status, body) == (401, b"ACL support disabled")


async def test_tasks_are_shown_only_where_debugging_is_enabled() -> None:
    async with http_site() as site:
        assert (await site.ask("GET", "/debug/tasks"))[0] == 404
    async with http_site(HTTPSettings(debug_enabled=True)) as site:
        status, headers, body = await site.ask("GET", "/debug/tasks")
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert b"HTTPListener._sweep" in body


async def test_clients_find_ports_and_the_primary_datacenter_in_self() -> None:
    async with http_site() as site:
        facts = json.loads((await site.ask("GET", "/v1/agent/self"))[2])
        assert list(facts) == ["Config", "DebugConfig", "Coord", "Member", "Stats", "Meta", "xDS"]
        assert facts["Config"]["PrimaryDatacenter"] == "dc1"
        assert facts["Config"]["BuildDate"] == "1970-01-01T00:00:01Z"
        assert facts["xDS"]["Ports"] == {"Plaintext": -1, "TLS": -1}


async def test_usage_is_told_by_datacenter_and_kind() -> None:
    async with http_site() as site:
        status, headers, body = await site.ask("GET", "/v1/operator/usage")
        answer = json.loads(body)
        assert (status, headers["x-consul-index"], answer["Index"]) == (200, "7", 7)
        assert (answer["KnownLeader"], answer["ConsistencyLevel"]) == (True, "leader")
        usage = answer["Usage"]["dc1"]
        assert (usage["Nodes"], usage["Services"], usage["ServiceInstances"]) == (3, 2, 4)
        assert usage["BillableServiceInstances"] == 2
        assert usage["ConnectServiceInstances"]["connect-proxy"] == 1
        assert usage["ConnectServiceInstances"]["mesh-gateway"] == 0
