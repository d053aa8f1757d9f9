"""Registrations nested almost as deeply as a decoder can manage ended every server: logged, but never to be applied.

A definition of a service must only be able to fail itself (as CVE-2022-24687 and CVE-2023-0845 were about).
"""

import json
from pathlib import Path

import pytest

from base.errors import InvalidRequest, Refused
from base.nesting import DOCUMENT_LEVELS_MAX, LEVELS_MAX, is_deeper
from jepsen.cluster import Cluster
from structs.catalog import ConnectProxy, NodeService, RegisterCommand, ServiceConnect, ServiceProxy, Upstream
from structs.json_codec import decode_json
from structs.registration import completed
from structs.txn import ServiceOnNode, TxnOp, completed_operations

DEPTHS = (LEVELS_MAX, DOCUMENT_LEVELS_MAX, *range(900, 1000, 4))


def nested(levels: int) -> dict[str, object]:
    """Maps in maps, `levels` of them."""
    value: dict[str, object] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def proxy(config: dict[str, object], **fields: object) -> NodeService:
    described = ServiceProxy(config=config, **fields)  # type: ignore[arg-type]
    return NodeService(
        service_id="p", service="p", kind="connect-proxy", port=1, proxy_destination="web", proxy=described
    )


@pytest.mark.parametrize("levels", [1, 2, 10])
def test_levels_are_counted_with_the_outermost(levels: int) -> None:
    assert not is_deeper(nested(levels), levels)
    assert is_deeper(nested(levels), levels - 1)
    assert is_deeper([1, "x", {"y": [nested(levels)]}], levels + 2)
    assert not is_deeper("[[[[", 0)


def test_json_of_too_many_levels_is_refused_and_brackets_in_texts_do_not_count() -> None:
    def body(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    decode_json(body(DOCUMENT_LEVELS_MAX))
    with pytest.raises(InvalidRequest, match="nested in more than 128 levels"):
        decode_json(body(DOCUMENT_LEVELS_MAX + 1))
    assert decode_json(b'["' + b"[" * 1000 + b'"]') == ["[" * 1000]
    assert len(decode_json(b"[" + b"[]," * 999 + b"[]]")) == 1000


@pytest.mark.parametrize(
    "service",
    [
        proxy(nested(LEVELS_MAX)),
        proxy({}, upstreams=[Upstream(config=nested(LEVELS_MAX))]),
        proxy({}, mesh_gateway=nested(LEVELS_MAX)),
        proxy({}, expose=nested(LEVELS_MAX)),
        proxy({}, transparent_proxy=nested(LEVELS_MAX)),
        proxy({}, access_logs=nested(LEVELS_MAX)),
        NodeService(service_id="s", service="s", connect=ServiceConnect(proxy=ConnectProxy(config=nested(LEVELS_MAX)))),
    ],
)
def test_nothing_that_a_service_keeps_may_be_too_deep(service: NodeService) -> None:
    with pytest.raises(Refused, match="nested in more than 64 levels"):
        completed(RegisterCommand(node="n", address="a", service=service), datacenter="dc1")


def test_the_deepest_that_is_allowed_is_taken() -> None:
    service = proxy(nested(LEVELS_MAX - 2))
    assert completed(RegisterCommand(node="n", address="a", service=service), datacenter="dc1").service is not None


@pytest.mark.parametrize("verb", ["set", "cas", "get", "delete", "delete-cas", "made-up"])
def test_no_operation_of_a_transaction_gets_around_it(verb: str) -> None:
    op = TxnOp(verb=verb, service=ServiceOnNode(node="n", service=proxy(nested(LEVELS_MAX))))
    _, errors = completed_operations([op], datacenter="dc1")
    assert [error.what for error in errors] == ["the service is nested in more than 64 levels"]


async def test_a_server_outlives_every_depth(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        server = cluster.servers[0]
        for levels in DEPTHS:
            config = '{"a":' * levels + "1" + "}" * levels
            kind = '"Kind":"connect-proxy","Port":1,"Proxy":{"DestinationServiceName":"b","Config":' + config + "}"
            bodies = {
                "/v1/agent/service/register": f'{{"Name":"p",{kind}}}',
                "/v1/catalog/register": f'{{"Node":"n","Address":"a","Service":{{"Service":"p",{kind}}}}}',
                "/v1/txn": f'[{{"Service":{{"Verb":"set","Node":"n","Service":{{"Service":"p",{kind}}}}}}}]',
            }
            for path, body in bodies.items():
                reply = await server.request("PUT", path, body.encode())
                assert reply.status in (400, 409, 500), (levels, path, reply)
                assert reply.headers["x-mesh-outcome"] == "refused" or b"nested" in reply.body, (levels, path, reply)
        reply = await server.request("GET", "/v1/catalog/service/p?consistent")
        assert json.loads(reply.body) == []
