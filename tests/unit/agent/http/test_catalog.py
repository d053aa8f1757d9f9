"""/v1/catalog and /v1/health: what servers are asked. The answers are in tests/spec."""

from typing import Any

import pytest
from msgspec.structs import replace

from agent.http.settings import HTTPSettings
from structs.catalog import (
    ChecksInStateRequest,
    ConnectProxy,
    ListNodesRequest,
    NodeRequest,
    QuerySource,
    ServiceConnect,
)
from structs.query import Consistency, QueryOptions
from tests.fakes.http_server import http_site

NEAR = QuerySource(datacenter="dc1", node="n2")


@pytest.mark.parametrize(
    ("target", "method", "expected"),
    [
        ("/v1/catalog/nodes", "Catalog.ListNodes", ListNodesRequest()),
        ("/v1/catalog/nodes?near=n2", "Catalog.ListNodes", ListNodesRequest(source=NEAR)),
        (
            "/v1/catalog/nodes?near=_agent",
            "Catalog.ListNodes",
            ListNodesRequest(source=QuerySource(datacenter="dc1", node="n1")),
        ),
        (
            "/v1/catalog/nodes?node-meta=a:b:c&node-meta=d&node-meta=",
            "Catalog.ListNodes",
            ListNodesRequest(node_meta={"a": "b:c", "d": "", "": ""}),
        ),
        ("/v1/catalog/node/a%2Fb", "Catalog.NodeServices", NodeRequest(node="a/b")),
        (
            "/v1/catalog/node/n1?consistent&token=t",
            "Catalog.NodeServices",
            NodeRequest(node="n1", options=QueryOptions(consistency=Consistency.CONSISTENT, token="t")),
        ),
        ("/v1/health/node/N1", "Health.NodeChecks", NodeRequest(node="N1")),
        (
            "/v1/health/state/warning?near=n2&node-meta=a:b",
            "Health.ChecksInState",
            ChecksInStateRequest(state="warning", source=NEAR, node_meta={"a": "b"}),
        ),
    ],
)
async def test_parameters_reach_the_server(target: str, method: str, expected: Any) -> None:
    async with http_site() as site:
        assert (await site.ask("GET", target))[0] == 200
        assert site.delegate.calls == [(method, expected)]


async def test_another_datacenter_is_carried_to_the_server_and_ours_is_not() -> None:
    async with http_site() as site:
        status, _, body = await site.ask("GET", "/v1/catalog/nodes?dc=DC2")
        assert (status, body) == (500, b"No path to datacenter")
        assert site.delegate.calls[-1][1] == ListNodesRequest(options=QueryOptions(datacenter="dc2"))
        await site.ask("GET", "/v1/catalog/nodes?dc=Dc1")
        assert site.delegate.calls[-1][1] == ListNodesRequest()
        await site.ask("PUT", "/v1/kv/a?dc=dc2", b"x")
        await site.ask("PUT", "/v1/txn?dc=dc2", b'[{"KV":{"Verb":"set","Key":"a"}}]')
        await site.ask("PUT", "/v1/event/fire/a?dc=dc2")
        await site.ask("PUT", "/v1/coordinate/update?dc=dc2", b'{"Coord":{}}')
        options = [getattr(asked, "options", None) for _, asked in site.delegate.calls[2:]]
        assert [one.datacenter for one in options if one is not None] == ["dc2"] * 4
        assert (await site.ask("GET", "/v1/status/leader?dc=dc2"))[2] == b"No path to datacenter"
        assert (await site.ask("GET", "/v1/status/peers?dc=dc1"))[0] == 200


async def test_discovery_may_be_stale_unasked_and_nothing_else() -> None:
    async with http_site(HTTPSettings(discovery_stale_s_max=5.0)) as site:
        for target, consistency in (
            ("/v1/catalog/nodes", Consistency.STALE),
            ("/v1/catalog/node/n1", Consistency.STALE),
            ("/v1/health/state/any", Consistency.STALE),
            ("/v1/health/node/n1?leader", Consistency.DEFAULT),
            ("/v1/coordinate/nodes", Consistency.DEFAULT),
        ):
            _, headers, _ = await site.ask("GET", target)
            assert site.delegate.calls[-1][1].options.consistency is consistency, target  # type: ignore[attr-defined]
            assert headers.get("x-consul-effective-consistency", consistency.value) == consistency.value


async def test_what_a_service_rarely_has_is_shown_too() -> None:
    async with http_site() as site:
        web, _ = site.delegate.services["n1"]
        proxy = ConnectProxy(command=["run"], exec_mode="daemon", config={"port": 1})
        site.delegate.services["n1"] = [
            replace(web, kind="connect-proxy", meta={"b": "2", "a": "1"}, connect=ServiceConnect(proxy=proxy)),
        ]
        body = (await site.ask("GET", "/v1/catalog/node/n1"))[2].decode()
        assert '"web":{"Kind":"connect-proxy","ID":"web","Service":"web"' in body
        assert '"Meta":{"a":"1","b":"2"}' in body
        assert '"Connect":{"Native":false,"Proxy":{"Command":["run"],"ExecMode":"daemon","Config":{"port":1}}}' in body
