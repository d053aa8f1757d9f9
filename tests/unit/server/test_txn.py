"""Txn.Apply and Txn.Read on one server: what registers is judged as Catalog.Register judges it."""

from pathlib import Path

import pytest

from base.errors import TooLarge
from fsm.commands.registry import REGISTER, encode_command
from server.endpoints import txn
from structs.catalog import HealthCheck, Node, NodeRequest, NodeService, RegisterCommand
from structs.txn import OPERATIONS_MAX, ServiceOnNode, TxnOp, TxnOutcome, TxnRequest
from tests.fakes.server_parts import ServerParts, server_parts
from tests.unit.server.test_sessions import SECOND_NS, create, lives, locked, with_node

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


async def test_a_tree_may_not_be_asked_for_so_often_that_its_answers_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(txn, "TREES_BYTES_MAX", 100_000)
    async with server_parts(tmp_path) as parts:
        for number in range(10):
            await ask(parts, "Txn.Apply", TxnOp(verb="set", key=f"a/{number}", value=bytes(3_000)))
        before = len(parts.raft.proposed)
        tree = TxnOp(verb="get-tree", key="a/")
        for method, others in (("Txn.Read", []), ("Txn.Apply", [TxnOp(verb="set", key="b")])):
            outcome = await ask(parts, method, *others, *[tree] * 3)
            assert len(outcome.results) == len(others) + 30
            with pytest.raises(TooLarge, match="100000 bytes"):
                await ask(parts, method, *others, *[tree] * 4)
        assert len(parts.raft.proposed) == before + 1


async def test_a_lock_that_another_holds_is_refused_before_it_can_overtake_the_end_of_its_holder(
    tmp_path: Path,
) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        holder = await create(parts, node_checks=["c"], lock_delay_ns=15 * SECOND_NS)
        other = await create(parts)
        assert await locked(parts, "k", holder)
        propose = parts.raft.propose

        async def behind_the_end(command: bytes, *, timeout_s: float) -> object:
            # The holder's check turns critical by an entry that is in the log already, but not applied.
            critical = HealthCheck(node="n", check_id="c", status="critical")
            end = RegisterCommand(node="n", address="10.0.0.1", checks=[critical])
            await propose(encode_command(REGISTER, end), timeout_s=timeout_s)
            return await propose(command, timeout_s=timeout_s)

        parts.raft.propose = behind_the_end  # type: ignore[method-assign]
        lock = TxnOp(verb="lock", key="k", session=other)
        outcome = await ask(parts, "Txn.Apply", TxnOp(verb="set", key="x"), lock)
        assert [(error.position, error.what) for error in outcome.errors] == [
            (1, 'failed to lock key "k", lock is already held')
        ]
        assert await lives(parts, holder), "nothing was logged"


async def test_a_lock_goes_from_one_session_to_another_in_one_transaction(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        holder, other = await create(parts), await create(parts)
        assert await locked(parts, "a/k", holder)
        lock = TxnOp(verb="lock", key="a/k", session=other)
        assert (await ask(parts, "Txn.Apply", TxnOp(verb="unlock", key="b", session=holder), lock)).errors
        outcome = await ask(parts, "Txn.Apply", TxnOp(verb="unlock", key="a/k", session=holder), lock)
        assert [result.entry.session for result in outcome.results] == ["", other]
        back = TxnOp(verb="lock", key="a/k", session=holder)
        outcome = await ask(parts, "Txn.Apply", TxnOp(verb="delete-tree", key="a"), back)
        assert [result.entry.session for result in outcome.results] == [holder]
        outcome = await ask(parts, "Txn.Apply", TxnOp(verb="delete", check=HealthCheck(node="n", check_id="c")), lock)
        assert [error.what for error in outcome.errors] == ['failed to lock key "a/k", lock is already held']
