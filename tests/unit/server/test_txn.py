"""Txn.Apply and Txn.Read on one server: what registers is judged as Catalog.Register judges it."""

from pathlib import Path

import pytest

from base.errors import TooLarge
from structs.catalog import HealthCheck, Node, NodeRequest, NodeService
from structs.txn import OPERATIONS_MAX, ServiceOnNode, TxnOp, TxnOutcome, TxnRequest
from tests.fakes.server_parts import ServerParts, server_parts

ID = "40E4A748-2192-161A-0510-9BF59FE950B5"


async def ask(parts: ServerParts, method: str, *operations: TxnOp) -> TxnOutcome:
    reply = await parts.ask(method, TxnRequest(operations=list(operations)))
    outcome = reply.outcome
    assert isinstance(outcome, TxnOutcome)
    return outcome


def service(service: NodeService, verb: str = "set", on: str = "n1") -> TxnOp:
    return TxnOp(verb=verb, service=ServiceOnNode(node=on, service=service))


def node(verb: str = "set", name: str = "n1", address: str = "10.0.0.1", node_id: str = "") -> TxnOp:
    return TxnOp(verb=verb, node=Node(node=name, address=address, node_id=node_id))


async def test_what_is_left_out_is_filled_in_as_at_a_registration(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        outcome = await ask(
            parts,
            "Txn.Apply",
            node(node_id=ID),
            service(NodeService(service_id="", service="web")),
            TxnOp(verb="set", check=HealthCheck(node="N1", check_id="", name="alive", service_id="web")),
        )
        assert outcome.errors == []
        reply = await parts.ask("Catalog.NodeServices", NodeRequest(node="n1"))
        assert (reply.node.node_id, reply.node.datacenter) == (ID.lower(), "dc1")
        read = await ask(
            parts,
            "Txn.Read",
            node("get"),
            service(NodeService(service_id="web", service=""), "get"),
            TxnOp(verb="get", check=HealthCheck(node="n1", check_id="alive")),
            TxnOp(verb="get-or-empty", key="k"),
        )
        found = read.results[2].check
        assert found is not None
        assert (found.node, found.status, found.service_name) == ("n1", "critical", "web")


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (node(name=""), "Must provide node"),
        (node(address=""), "Must provide address if SkipNodeUpdate is not set"),
        (node(node_id="x"), "Bad node ID: uuid string is wrong length"),
        (node("delete", name=""), "Must provide node"),
        (service(NodeService(service_id="s", service="")), "Must provide service name with ID"),
        (service(NodeService(service_id="", service="s", address="::")), "Invalid service address"),
        (
            service(NodeService(service_id="", service="s", meta={"": "v"})),
            "Couldn't load metadata pair ('', 'v'): Key cannot be blank",
        ),
        (service(NodeService(service_id="s", service="s"), on=""), "Must provide node"),
        (TxnOp(verb="cas", check=HealthCheck(node="n1", check_id="")), "Must provide a check ID or name"),
        (TxnOp(verb="get", check=HealthCheck(node="", check_id="c")), "Must provide node"),
    ],
)
async def test_what_a_registration_may_not_be_no_operation_may_be(tmp_path: Path, operation: TxnOp, what: str) -> None:
    async with server_parts(tmp_path) as parts:
        outcome = await ask(parts, "Txn.Apply", node(name="other"), operation)
        assert [(error.position, error.what) for error in outcome.errors] == [(1, what)]
        assert parts.raft.proposed == []


async def test_what_is_too_large_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        for operations in (
            [node(name="n" * 1025)],
            [service(NodeService(service_id="s" * 1025, service=""), "get")],
            [service(NodeService(service_id="s", service="s", tags=["t" * 600_000]))],
            [node("get")] * (OPERATIONS_MAX + 1),
        ):
            with pytest.raises(TooLarge):
                await ask(parts, "Txn.Apply", *operations)
        assert parts.raft.proposed == []
