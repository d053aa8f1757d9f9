"""Catalog.* and Health.* on one server: what is refused, what is logged, what wakes whom, and in which order."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base.errors import InvalidRequest, MeshError, Refused, TooLarge
from fsm.commands.registry import COORDINATES, encode_command
from server.near import MANY_COUNT
from structs.catalog import (
    CONNECT_PROXY,
    ChecksInStateRequest,
    ChecksReply,
    DeregisterCommand,
    DeregisterRequest,
    HealthCheck,
    ListNodesReply,
    ListNodesRequest,
    Node,
    NodeRequest,
    NodeService,
    NodeServicesReply,
    QuerySource,
    RegisterCommand,
    RegisterRequest,
    ServiceConnect,
)
from structs.coordinate import Coordinate, CoordinateBatch, NodeCoordinate
from structs.query import QueryOptions
from tests.fakes.server_parts import ServerParts, server_parts

ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
WEB = NodeService(service_id="web1", service="web", tags=["v1"], port=80)


def check(check_id: str, status: str = "passing", *, service_id: str = "") -> HealthCheck:
    return HealthCheck(node="", check_id=check_id, status=status, service_id=service_id)


async def register(parts: ServerParts, node: str, **fields: Any) -> None:
    command = RegisterCommand(node=node, **{"address": "10.0.0.1", **fields})
    await parts.ask("Catalog.Register", RegisterRequest(command=command))


async def deregister(parts: ServerParts, node: str, **fields: str) -> None:
    await parts.ask("Catalog.Deregister", DeregisterRequest(command=DeregisterCommand(node=node, **fields)))


async def list_nodes(parts: ServerParts, **fields: Any) -> ListNodesReply:
    reply = await parts.ask("Catalog.ListNodes", ListNodesRequest(**fields))
    assert isinstance(reply, ListNodesReply)
    return reply


async def node_services(parts: ServerParts, node: str) -> NodeServicesReply:
    reply = await parts.ask("Catalog.NodeServices", NodeRequest(node=node))
    assert isinstance(reply, NodeServicesReply)
    return reply


async def in_state(parts: ServerParts, state: str, **fields: Any) -> ChecksReply:
    reply = await parts.ask("Health.ChecksInState", ChecksInStateRequest(state=state, **fields))
    assert isinstance(reply, ChecksReply)
    return reply


def names(nodes: list[Node]) -> list[str]:
    return [node.node for node in nodes]


async def test_what_is_registered_is_read_back_with_what_was_left_out(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(
            parts,
            "N1",
            node_id=ID.upper(),
            datacenter="elsewhere",
            node_meta={"consul-network-segment": ""},
            service=NodeService(service_id="", service="web", tags=[], port=80),
            checks=[HealthCheck(node="", check_id="", name="alive", service_id="web", service_name="wrong")],
        )
        reply = await node_services(parts, "n1")
        assert reply.node is not None
        assert (reply.node.node, reply.node.node_id, reply.node.datacenter) == ("N1", ID, "dc1")
        assert [(found.service_id, found.service, found.tags) for found in reply.services] == [("web", "web", [])]
        checks = (await parts.ask("Health.NodeChecks", NodeRequest(node="n1"))).checks
        assert [(c.node, c.check_id, c.status, c.service_name, c.service_tags) for c in checks] == [
            ("N1", "alive", "critical", "web", [])
        ]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (RegisterCommand(node="", address="a"), "Must provide node"),
        (RegisterCommand(node="n"), "Must provide address if SkipNodeUpdate is not set"),
        (RegisterCommand(node="n", address="a", node_id="x"), "Bad node ID: uuid string is wrong length"),
        (RegisterCommand(node="n", address="a", node_id="g" * 36), "Bad node ID: uuid is improperly formatted"),
        (
            RegisterCommand(node="n", address="a", node_id=ID.replace("a", "g")),
            "Bad node ID: uuid is improperly formatted",
        ),
        (
            RegisterCommand(node="n", address="a", service=NodeService(service_id="x", service="")),
            "Must provide service name with ID",
        ),
        (
            RegisterCommand(node="n", address="a", service=NodeService(service_id="", service="s", address="[::]")),
            "Invalid service address",
        ),
        (
            RegisterCommand(node="n", address="a", checks=[HealthCheck(node="m", check_id="c")]),
            'check node "m" does not match node "n"',
        ),
        (
            RegisterCommand(node="n", address="a", checks=[HealthCheck(node="n", check_id="c", service_id="s")]),
            "failed inserting check: Missing service registration",
        ),
        (
            RegisterCommand(node="n", address="a", checks=[HealthCheck(node="n", check_id="")]),
            "Must provide a check ID or name",
        ),
        (
            RegisterCommand(
                node="n", address="a", service=NodeService(service_id="", service="p", kind=CONNECT_PROXY, port=1)
            ),
            "1 error occurred:\n\n* ProxyDestination must be non-empty for Connect proxy services",
        ),
        (
            RegisterCommand(
                node="n",
                address="a",
                service=NodeService(
                    service_id="",
                    service="p",
                    kind=CONNECT_PROXY,
                    proxy_destination="d",
                    connect=ServiceConnect(native=True),
                ),
            ),
            "2 errors occurred:\n\n* Port must be set for a Connect proxy\n"
            "* A Proxy cannot also be ConnectNative, only typical services",
        ),
        (
            RegisterCommand(node="n", address="a", node_meta={"a b": ""}),
            "Couldn't load metadata pair ('a b', ''): Key contains invalid characters",
        ),
        (
            RegisterCommand(node="n", address="a", service=NodeService(service_id="", service="s", meta={"": "x"})),
            "Couldn't load metadata pair ('', 'x'): Key cannot be blank",
        ),
    ],
)
async def test_a_registration_that_cannot_be_is_refused_with_its_text(
    tmp_path: Path, command: RegisterCommand, text: str
) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused) as caught:
            await parts.ask("Catalog.Register", RegisterRequest(command=command))
        assert str(caught.value).startswith(text)
        assert (await list_nodes(parts)).nodes == []


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (RegisterCommand(node="n", address="\ud800"), "the request holds what is no text or no number of 64 bits"),
        (
            RegisterCommand(node="n", address="a", service=NodeService(service_id="", service="s", port=2**64)),
            "the request holds what is no text or no number of 64 bits",
        ),
        (RegisterCommand(node="a\nb", address="a"), "Node name has characters that cannot be printed"),
        (RegisterCommand(node="\ud800", address="a"), "Node name has characters that cannot be printed"),
        (
            RegisterCommand(node="n", address="a", service=NodeService(service_id="\x1b[2J", service="s")),
            "Service ID has characters that cannot be printed",
        ),
        (
            RegisterCommand(node="n", address="a", checks=[HealthCheck(node="n", check_id="c\u2028")]),
            "Check ID has characters that cannot be printed",
        ),
    ],
)
async def test_a_registration_that_nobody_could_name_or_keep_is_invalid(
    tmp_path: Path, command: RegisterCommand, text: str
) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(InvalidRequest) as caught:
            await parts.ask("Catalog.Register", RegisterRequest(command=command))
        assert str(caught.value).startswith(text)
        assert parts.raft.proposed == []


@pytest.mark.parametrize(
    "command",
    [
        RegisterCommand(node="n" * 1025, address="a"),
        RegisterCommand(node="n", address="a", checks=[HealthCheck(node="n", check_id="c", output="x" * 600_000)]),
        RegisterCommand(node="n", address="a", service=NodeService(service_id="é" * 513, service="s")),
    ],
)
async def test_what_is_too_large_for_the_log_is_refused(tmp_path: Path, command: RegisterCommand) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(TooLarge):
            await parts.ask("Catalog.Register", RegisterRequest(command=command))
        assert parts.raft.proposed == []


async def test_what_is_registered_already_is_not_logged_again(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        fields = {"node_id": ID, "service": WEB, "checks": [check("c"), check("d", service_id="web1")]}
        await register(parts, "n", **fields)
        for _ in range(2):
            await register(parts, "n", **fields)
            await register(parts, "N", **(fields | {"skip_node_update": True}))
        assert len(parts.raft.proposed) == 1
        await register(parts, "n", **(fields | {"checks": [check("c", "warning")]}))
        assert len(parts.raft.proposed) == 2
        await register(parts, "n", **(fields | {"address": "10.0.0.2"}))
        assert len(parts.raft.proposed) == 3


async def test_without_a_lease_a_registration_is_always_logged(tmp_path: Path) -> None:
    """Another server may have changed what this one has."""
    async with server_parts(tmp_path) as parts:
        await register(parts, "n")
        parts.raft.lease = False
        await register(parts, "n")
        await deregister(parts, "absent")
        assert len(parts.raft.proposed) == 3


async def test_deregistering_takes_what_is_there_and_logs_nothing_else(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("c"), check("d", service_id="web1")])
        before = len(parts.raft.proposed)
        for absent in ({"service_id": "x"}, {"check_id": "x"}):
            await deregister(parts, "n", **absent)
        await deregister(parts, "m")
        assert len(parts.raft.proposed) == before
        await deregister(parts, "N", service_id="WEB1", check_id="c")  # the service wins
        assert [c.check_id for c in (await in_state(parts, "any")).checks] == ["c"]
        await deregister(parts, "n", check_id="C")
        assert (await in_state(parts, "any")).checks == []
        await deregister(parts, "n")
        assert (await list_nodes(parts)).nodes == []
        with pytest.raises(Refused, match="Must provide node"):
            await deregister(parts, "")
        with pytest.raises(TooLarge):
            await deregister(parts, "n", check_id="x" * 2000)


async def test_an_id_of_a_living_node_is_refused(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "a", node_id=ID, checks=[check("serfHealth")])
        with pytest.raises(Refused) as caught:
            await register(parts, "b", node_id=ID)
        assert str(caught.value) == f'failed inserting node: node ID "{ID}" for node "b" aliases existing node "a"'


async def test_nodes_are_listed_by_metadata_and_found_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "b", node_meta={"rack": "1", "os": "x"}, node_id=ID)
        await register(parts, "a", node_meta={"rack": "1"}, node_id="40ffa748-2192-161a-0510-9bf59fe950b5")
        await register(parts, "c", service=WEB)
        assert names((await list_nodes(parts)).nodes) == ["a", "b", "c"]
        assert names((await list_nodes(parts, node_meta={"rack": "1"})).nodes) == ["a", "b"]
        assert names((await list_nodes(parts, node_meta={"rack": "1", "os": "x"})).nodes) == ["b"]
        assert names((await list_nodes(parts, node_meta={"rack": "2"})).nodes) == []
        for prefix, found in (("40e4", "b"), ("40E4a", "b"), (ID, "b"), ("40", None), ("4", None), ("zz", None)):
            node = (await node_services(parts, prefix)).node
            assert (node.node if node is not None else None) == found, prefix
        assert [s.service_id for s in (await node_services(parts, "C")).services] == ["web1"]


def at(*places: tuple[str, float]) -> CoordinateBatch:
    return CoordinateBatch(
        updates=[
            NodeCoordinate(node=node, coordinate=Coordinate(vec=[x] + [0.0] * 7, height=0.0)) for node, x in places
        ]
    )


async def test_the_nearest_come_first_and_those_without_a_place_last(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        for node in "abcde":
            await register(parts, node, checks=[check("c")], node_meta={"odd": str(ord(node) % 2)})
        places = at(("a", 0.0), ("c", 0.010), ("d", 0.002), ("e", 0.1))
        await parts.raft.propose(encode_command(COORDINATES, places), timeout_s=1)
        near_a = QuerySource(node="a", datacenter="dc1")
        assert names((await list_nodes(parts, source=near_a)).nodes) == ["a", "d", "c", "e", "b"]
        assert [c.node for c in (await in_state(parts, "passing", source=near_a)).checks] == ["a", "d", "c", "e", "b"]
        assert [c.node for c in (await in_state(parts, "any", source=near_a, node_meta={"odd": "1"})).checks] == [
            "a",
            "c",
            "e",
        ]
        elsewhere = ListNodesRequest(
            source=QuerySource(node="a", datacenter="dc2"), options=QueryOptions(datacenter="dc1")
        )
        assert names((await parts.ask("Catalog.ListNodes", elsewhere)).nodes) == list("abcde")
        assert names((await list_nodes(parts, source=QuerySource(node="b"))).nodes) == list("abcde")


async def test_many_nodes_are_sorted_as_few_are(tmp_path: Path) -> None:
    count = MANY_COUNT + 1
    async with server_parts(tmp_path) as parts:
        for number in range(count):
            await register(parts, f"N{number:03}")
        places = at(*[(f"n{number:03}", float(count - number)) for number in range(count - 1)])
        await parts.raft.propose(encode_command(COORDINATES, places), timeout_s=1)
        found = names((await list_nodes(parts, source=QuerySource(node=f"n{count - 2:03}"))).nodes)
        assert found == [f"N{number:03}" for number in range(count - 2, -1, -1)] + [f"N{count - 1:03}"]


async def test_checks_are_listed_by_state(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "a", checks=[check("1"), check("2", "critical")])
        await register(parts, "b", checks=[check("1", "critical")])
        assert [(c.node, c.check_id) for c in (await in_state(parts, "critical")).checks] == [("a", "2"), ("b", "1")]
        assert [(c.node, c.check_id) for c in (await in_state(parts, "passing")).checks] == [("a", "1")]
        assert len((await in_state(parts, "any")).checks) == 3
        assert (await in_state(parts, "unheard of")).checks == []
        await register(parts, "a", checks=[check("2")])
        assert [(c.node, c.check_id) for c in (await in_state(parts, "critical")).checks] == [("b", "1")]


class Watcher:
    """One blocking query; `wakes` counts its answers."""

    def __init__(self, parts: ServerParts, method: str, request: Any) -> None:
        self.parts = parts
        self.method = method
        self.request = request
        self.replies: list[Any] = []

    async def run(self, index: int) -> None:
        request = replace(self.request, options=QueryOptions(index_min=index, wait_s=60))
        self.replies.append(await self.parts.ask(self.method, request))


async def woken_by(parts: ServerParts, method: str, request: Any, *changes: Any) -> list[bool]:
    """For each change, whether it was answered to a watcher that had seen everything before it."""
    outcomes = []
    for change in changes:
        index = (await parts.ask(method, request)).meta.index
        watcher = Watcher(parts, method, request)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.run, index)
            await trio.testing.wait_all_tasks_blocked()
            await change()
            await trio.testing.wait_all_tasks_blocked()
            outcomes.append(bool(watcher.replies))
            nursery.cancel_scope.cancel()
    return outcomes


async def test_a_watcher_hears_of_its_own_node_and_of_no_other(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("c")])
        changes = [
            lambda: register(parts, "m", service=WEB, checks=[check("c")]),
            lambda: register(parts, "n2", service=WEB, checks=[check("c")]),
            lambda: register(parts, "n", checks=[check("c", "critical")]),
            lambda: register(parts, "n", service=WEB),
            lambda: register(parts, "n", service=NodeService(service_id="web2", service="web")),
            lambda: register(parts, "n", address="10.0.0.9"),
            lambda: deregister(parts, "m"),
            lambda: deregister(parts, "n", service_id="web2"),
            lambda: deregister(parts, "n"),
            lambda: register(parts, "n"),
        ]
        assert await woken_by(parts, "Catalog.NodeServices", NodeRequest(node="N"), *changes) == [
            False, False, False, False, True, True, False, True, True, True,
        ]  # fmt: skip


async def test_a_watcher_of_checks_hears_of_those_it_asked_for(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("c")])
        changes = [
            lambda: register(parts, "m", service=WEB, checks=[check("c")]),
            lambda: register(parts, "n", checks=[check("c", "critical")]),
            lambda: register(parts, "n", address="10.0.0.9"),
            lambda: deregister(parts, "n", check_id="c"),
        ]
        assert await woken_by(parts, "Health.NodeChecks", NodeRequest(node="n"), *changes) == [False, True, False, True]
        changes = [
            lambda: register(parts, "m", checks=[check("x")]),
            lambda: register(parts, "m", address="10.0.0.9"),
            lambda: register(parts, "m", service=WEB),
        ]
        request = ChecksInStateRequest(state="any")
        assert await woken_by(parts, "Health.ChecksInState", request, *changes) == [True, False, False]
        request = ChecksInStateRequest(state="any", node_meta={"a": "b"})
        changes = [
            lambda: register(parts, "m", node_meta={"a": "b"}),
            lambda: register(parts, "m", node_meta={"a": "b"}, service=WEB),
        ]
        assert await woken_by(parts, "Health.ChecksInState", request, *changes) == [True, False]


async def test_a_watcher_of_all_nodes_hears_of_nodes_alone(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n")
        changes = [
            lambda: register(parts, "n", service=WEB, checks=[check("c")]),
            lambda: register(parts, "m"),
            lambda: deregister(parts, "m"),
        ]
        assert await woken_by(parts, "Catalog.ListNodes", ListNodesRequest(), *changes) == [False, True, True]


async def test_odd_names_find_nothing_and_break_nothing(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n")
        for odd in ("", "\ud800", "\x00", "n\x00", "x" * 5_000):
            assert (await node_services(parts, odd)).node is None
            assert (await parts.ask("Health.NodeChecks", NodeRequest(node=odd))).checks == []
            assert (await in_state(parts, odd)).checks == []
            assert (await parts.ask("Coordinate.Node", NodeRequest(node=odd))).coordinates == []
            assert await woken_by(parts, "Catalog.NodeServices", NodeRequest(node=odd)) == []


async def test_the_error_of_a_group_without_a_leader_is_passed_on(tmp_path: Path) -> None:
    async with server_parts(tmp_path, hold_s=0.0) as parts:
        parts.raft.change_leader(None)
        with pytest.raises(MeshError, match="No cluster leader"):
            await register(parts, "n")
