"""py-consul, unchanged, against an agent and against a server: the agent's own services, checks and maintenance."""

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import consul
import pytest
from consul import Check

from jepsen.cluster import Cluster

Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def agent(client: Any) -> Iterator[Any]:
    """The library's part for agents; whatever a test registers is gone afterwards."""
    yield client.agent
    for check_id in client.agent.checks():
        if check_id != "serfHealth":
            client.agent.check.deregister(check_id)
    for service_id in client.agent.services():
        if service_id != "consul":
            client.agent.service.deregister(service_id)


class Healthy(BaseHTTPRequestHandler):
    """Says that all is well to whoever sends the right header."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers["X-Who"] == "mesh" else 500)
        self.end_headers()
        self.wfile.write(b"all is well")

    def log_message(self, *_words: object) -> None:
        """Nothing to be read in a test's output."""


@pytest.fixture
def healthy() -> Iterator[int]:
    """The port of a healthy web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def in_catalog(client: Any, name: str) -> list[dict[str, Any]]:
    return list(client.health.service(name)[1])


def test_a_service_comes_into_the_catalog_and_leaves_it(client: Any, agent: Any, until: Until) -> None:
    fields = {"address": "10.2.0.1", "port": 8080, "tags": ["a", "b"], "meta": {"k": "v"}}
    assert agent.service.register("web", service_id="web/1", **fields) is True
    mine = agent.services()["web/1"]
    assert {key: mine[key] for key in ("Service", "Address", "Port", "Tags", "Meta")} == {
        "Service": "web", "Address": "10.2.0.1", "Port": 8080, "Tags": ["a", "b"], "Meta": {"k": "v"},
    }  # fmt: skip
    assert agent.service_definition("web/1")["Service"] == "web"
    (row,) = until(lambda: in_catalog(client, "web"))
    assert row["Node"]["Node"] == client.agent.self()["Config"]["NodeName"]
    assert (row["Service"]["ID"], row["Service"]["Port"]) == ("web/1", 8080)
    assert agent.services(filter_expr='"a" in Tags').keys() == {"web/1"}
    assert agent.service.deregister("web/1") is True
    assert "web/1" not in agent.services()
    assert until(lambda: not in_catalog(client, "web"))


def test_weights_and_tagged_addresses_are_kept(agent: Any) -> None:
    tagged = {"lan": {"address": "10.2.0.1", "port": 80}, "wan": {"address": "192.0.2.1", "port": 81}}
    assert agent.service.register("web", weights={"passing": 5, "warning": 2}, tagged_addresses=tagged) is True
    mine = agent.services()["web"]
    assert mine["Weights"] == {"Passing": 5, "Warning": 2}
    assert mine["TaggedAddresses"]["wan"] == {"Address": "192.0.2.1", "Port": 81}


def test_a_ttl_check_says_what_it_is_told(client: Any, agent: Any, until: Until) -> None:
    assert agent.service.register("web", check=Check.ttl("1h")) is True
    check_id = "service:web"
    assert agent.checks()[check_id]["Status"] == "critical"
    checks = agent.check
    for tell, status in ((checks.ttl_warn, "warning"), (checks.ttl_fail, "critical"), (checks.ttl_pass, "passing")):
        assert tell(check_id, notes=f"now {status}") is True
        assert (agent.checks()[check_id]["Status"], agent.checks()[check_id]["Output"]) == (status, f"now {status}")
    rows = until(lambda: [row for row in in_catalog(client, "web") if row["Checks"][-1]["Status"] == "passing"])
    outputs = {check["CheckID"]: check["Output"] for check in rows[0]["Checks"]}
    assert outputs[check_id] == "now passing"
    assert agent.check.deregister(check_id) is True
    assert agent.check.ttl_pass(check_id) is False, "an unknown check"


def test_a_ttl_check_that_nobody_renews_becomes_critical(agent: Any, until: Until) -> None:
    assert agent.check.register("beat", check=Check.ttl("200ms"), check_id="beat") is True
    assert agent.check.ttl_pass("beat") is True
    assert until(lambda: agent.checks()["beat"]["Status"] == "critical")
    assert "TTL expired" in agent.checks()["beat"]["Output"]


def test_http_and_tcp_checks_look_for_themselves(agent: Any, healthy: int, until: Until) -> None:
    url = f"http://127.0.0.1:{healthy}/"
    web = Check.http(url, "100ms", timeout="5s", header={"X-Who": ["mesh"]})
    assert agent.service.register("web", check=web, extra_checks=[Check.tcp("127.0.0.1", healthy, "100ms")]) is True
    assert until(lambda: agent.checks()["service:web:1"]["Status"] == "passing")
    assert until(lambda: agent.checks()["service:web:2"]["Status"] == "passing")
    assert agent.checks()["service:web:1"]["Output"] == f"HTTP GET {url}: 200 OK Output: all is well"


def test_a_check_of_a_closed_port_is_critical_with_the_reason(agent: Any, until: Until) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert agent.check.register("closed", check=Check.tcp("127.0.0.1", port, "100ms"), notes="why") is True
        assert until(lambda: "refused" in agent.checks()["closed"]["Output"])
    assert (agent.checks()["closed"]["Status"], agent.checks()["closed"]["Notes"]) == ("critical", "why")


def test_programs_are_refused_over_http(agent: Any) -> None:
    with pytest.raises(consul.ConsulException, match="Scripts are disabled on this agent"):
        agent.check.register("script", check=Check.script(["/bin/true"], "10s"))
    with pytest.raises(consul.ConsulException, match="Scripts are disabled on this agent"):
        agent.service.register("web", check=Check.script(["/bin/true"], "10s"))
    assert "web" not in agent.services()
    assert "script" not in agent.checks()


def test_a_check_belongs_to_a_service_that_exists(agent: Any) -> None:
    with pytest.raises(consul.ConsulException, match="does not exist"):
        agent.check.register("orphan", check=Check.ttl("1h"), service_id="nobody")
    agent.service.register("web")
    assert agent.check.register("mine", check=Check.ttl("1h"), service_id="web") is True
    assert agent.checks()["mine"]["ServiceName"] == "web"
    assert agent.service.deregister("web") is True
    assert "mine" not in agent.checks()


def test_checks_that_are_missing_are_taken_away_if_so_asked(agent: Any) -> None:
    agent.service.register("web", check=Check.ttl("1h"), extra_checks=[Check.ttl("2h")])
    assert {"service:web:1", "service:web:2"} <= agent.checks().keys()
    agent.service.register("web", check=Check.ttl("1h"), replace_existing_checks=True)
    assert {check for check in agent.checks() if check != "serfHealth"} == {"service:web"}


def test_a_service_is_taken_out_for_maintenance(client: Any, agent: Any, until: Until) -> None:
    agent.service.register("web", service_id="web/1")
    assert until(lambda: client.health.service("web", passing=True)[1])
    assert agent.service.maintenance("web/1", True, "new disk") is True
    check = agent.checks()["_service_maintenance:web/1"]
    assert (check["Status"], check["Notes"]) == ("critical", "new disk")
    assert until(lambda: not client.health.service("web", passing=True)[1])
    assert agent.service.maintenance("web/1", False) is True
    assert until(lambda: client.health.service("web", passing=True)[1])
    assert agent.service.maintenance("nobody", True) is False


def test_a_whole_node_is_taken_out_for_maintenance(client: Any, agent: Any, until: Until) -> None:
    agent.service.register("web")
    assert until(lambda: client.health.service("web", passing=True)[1])
    assert agent.maintenance(True, "new kernel") is True
    assert agent.checks()["_node_maintenance"]["Notes"] == "new kernel"
    assert until(lambda: not client.health.service("web", passing=True)[1])
    assert agent.maintenance(False) is True
    assert "_node_maintenance" not in agent.checks()
    assert until(lambda: client.health.service("web", passing=True)[1])


def test_joining_a_member_again_is_no_harm_and_strangers_are_an_error(agent: Any, cluster: Cluster) -> None:
    assert agent.join(cluster.servers[0].gossip_address) is True
    with pytest.raises(consul.ConsulException):
        agent.join("127.0.0.1:1")
    with pytest.raises(consul.ConsulException, match="No node found"):
        agent.force_leave("nobody")


def test_reload_and_metrics_answer(agent: Any) -> None:
    assert agent.reload() is True
    assert {"Gauges", "Counters", "Samples"} <= agent.metrics().keys()
    with pytest.raises(consul.exceptions.ClientError, match="415 Prometheus is not enabled"):
        agent.metrics(format_prometheus=True)


def test_connect_and_tokens_say_that_they_are_not_there(client: Any, agent: Any) -> None:
    assert agent.connect.ca.roots() is None
    with pytest.raises(consul.ConsulException):
        agent.service.register("web", connect={"sidecar_service": {}})
    with pytest.raises(consul.exceptions.ACLDisabled, match="ACL support disabled"):
        agent.token.set_default("secret")
    for ask in (client.acl.token.list, client.acl.policy.list, client.acl.role.list, client.acl.bootstrap):
        with pytest.raises(consul.exceptions.ACLDisabled, match="ACL support disabled"):
            ask()
