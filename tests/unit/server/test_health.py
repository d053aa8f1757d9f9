"""Services and their health on one server: what is answered, with which index, and what wakes whom."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base import codec
from fsm.commands.registry import COORDINATES, encode_command
from server import reads
from structs.catalog import (
    CONNECT_PROXY,
    ChecksReply,
    ListServicesReply,
    ListServicesRequest,
    NodeDumpReply,
    NodeDumpRequest,
    NodeRequest,
    NodeService,
    QuerySource,
    ServiceConnect,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.coordinate import Coordinate, CoordinateBatch, NodeCoordinate
from structs.query import Consistency, QueryOptions
from structs.service_summary import ServiceSummary, ServiceSummaryReply
from tests.fakes.server_parts import REMOTE, ServerParts, server_parts
from tests.unit.server.test_catalog import check, deregister, register, woken_by

WEB = NodeService(service_id="web1", service="Web", tags=["V1", "a"], port=80)
DB = NodeService(service_id="db", service="db")
PROXY = NodeService(service_id="p", service="web-proxy", kind=CONNECT_PROXY, proxy_destination="web", port=1)
NATIVE = NodeService(service_id="n", service="web", connect=ServiceConnect(native=True))


async def service_nodes(parts: ServerParts, method: str, service: str, **fields: Any) -> ServiceNodesReply:
    reply = await parts.ask(method, ServiceRequest(service=service, **fields))
    assert isinstance(reply, ServiceNodesReply)
    return reply


def places(reply: ServiceNodesReply) -> list[tuple[str, str]]:
    return [(instance.node.node, instance.service.service_id) for instance in reply.instances]


async def test_instances_are_found_by_name_tags_and_metadata(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "b", service=WEB, node_meta={"rack": "1"})
        await register(parts, "a", service=replace(WEB, service_id="web2", tags=None))
        await register(parts, "a", service=replace(WEB, tags=["v1"], address="10.9.9.9"))
        for method in ("Catalog.ServiceNodes", "Health.ServiceNodes"):
            assert places(await service_nodes(parts, method, "wEB")) == [("a", "web1"), ("a", "web2"), ("b", "web1")]
            assert places(await service_nodes(parts, method, "web", tags=["V1"])) == [("a", "web1"), ("b", "web1")]
            assert places(await service_nodes(parts, method, "web", tags=["v1", "A"])) == [("b", "web1")]
            assert places(await service_nodes(parts, method, "web", node_meta={"rack": "1"})) == [("b", "web1")]
            assert places(await service_nodes(parts, method, "web", connect=True)) == []
            assert places(await service_nodes(parts, method, "none")) == []
        assert places(await service_nodes(parts, "Catalog.ServiceNodes", "", address="10.9.9.9")) == [("a", "web1")]


async def test_mesh_connections_to_a_name_are_taken_by_its_proxies_and_native_instances(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        for service in (WEB, PROXY, NATIVE):
            await register(parts, "n", service=service)
        for method in ("Catalog.ServiceNodes", "Health.ServiceNodes"):
            assert places(await service_nodes(parts, method, "WEB", connect=True)) == [("n", "n"), ("n", "p")]
            assert places(await service_nodes(parts, method, "web-proxy", connect=True)) == []


async def test_an_instance_has_the_checks_of_its_node_and_then_its_own(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        checks = [check("z"), check("a", service_id="web1"), check("b", service_id="web2")]
        await register(parts, "n", service=replace(WEB, service_id="web2"))
        await register(parts, "n", service=WEB, checks=checks)
        reply = await service_nodes(parts, "Health.ServiceNodes", "web")
        assert [[one.check_id for one in instance.checks] for instance in reply.instances] == [["z", "a"], ["z", "b"]]
        of_service = await parts.ask("Health.ServiceChecks", ServiceRequest(service="WEB"))
        assert [one.check_id for one in of_service.checks] == ["a", "b"]


async def test_names_come_with_the_tags_of_all_their_instances(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:

        async def names(**fields: Any) -> dict[str, list[str]]:
            reply = await parts.ask("Catalog.ListServices", ListServicesRequest(**fields))
            assert isinstance(reply, ListServicesReply)
            return reply.services

        assert await names() == {}
        await register(parts, "a", service=WEB, node_meta={"rack": "1"})
        await register(parts, "b", service=replace(WEB, service="web", tags=["b", "a"]))
        await register(parts, "b", service=DB)
        assert list((await names()).items()) == [("Web", ["V1", "a"]), ("db", []), ("web", ["a", "b"])]
        assert await names(node_meta={"rack": "1"}) == {"Web": ["V1", "a"]}
        assert await names(filter="ServicePort == 80 and b in ServiceTags") == {"web": ["a", "b"]}
        await register(parts, "b", service=replace(WEB, service="web", tags=["c"]))
        assert await names() == {"Web": ["V1", "a"], "db": [], "web": ["c"]}
        await deregister(parts, "a")
        assert await names() == {"db": [], "web": ["c"]}


async def test_nodes_are_dumped_with_everything_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "b", service=WEB, checks=[check("c", service_id="web1"), check("d")])
        await register(parts, "a")

        async def dump(method: str, request: Any) -> list[tuple[str, int, int]]:
            reply = await parts.ask(method, request)
            assert isinstance(reply, NodeDumpReply)
            return [(info.node.node, len(info.services), len(info.checks)) for info in reply.nodes]

        assert await dump("Internal.NodeDump", NodeDumpRequest()) == [("a", 0, 0), ("b", 1, 2)]
        assert await dump("Internal.NodeInfo", NodeRequest(node="B")) == [("b", 1, 2)]
        assert await dump("Internal.NodeInfo", NodeRequest(node="none")) == []
        monkeypatch.setattr(reads, "ROWS_INLINE_MAX", 1)
        assert parts.dispatcher.call("Internal.NodeInfo", NodeRequest(node="B")).nodes, "answered at once"
        kept = parts.dispatcher.call("Internal.NodeDump", NodeDumpRequest())
        assert len(kept.nodes) == 2, "what is kept need not be made"
        await register(parts, "c")
        later = parts.dispatcher.call("Internal.NodeDump", NodeDumpRequest())
        assert len((await later).nodes) == 3, "a long read is not answered at once, but the same"
        await register(parts, "d")
        stale = NodeDumpRequest(options=QueryOptions(consistency=Consistency.STALE))
        assert len((await parts.dispatcher.call("Internal.NodeDump", stale)).nodes) == 4


async def test_services_are_summed_up_with_the_checks_of_their_nodes(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        checks = [check("c", service_id="web1"), check("d")]
        await register(parts, "b", service=WEB, checks=checks)
        await register(parts, "b", service=replace(WEB, service_id="web2", tags=["b"]))
        await register(parts, "a", service=DB)
        reply = await parts.ask("Internal.ServiceSummary", NodeDumpRequest())
        assert isinstance(reply, ServiceSummaryReply)
        statuses = [each.status for each in checks]
        assert reply.services == [
            ServiceSummary(name="Web", tags=["V1", "a", "b"], nodes=["b"], passing_count=statuses.count("passing"),
                           warning_count=statuses.count("warning"), critical_count=statuses.count("critical")),
            ServiceSummary(name="db", nodes=["a"]),
        ]  # fmt: skip
        assert reply.meta.index == (await parts.ask("Internal.NodeDump", NodeDumpRequest())).meta.index
        again = await parts.ask("Internal.ServiceSummary", NodeDumpRequest())
        assert again.services is reply.services, "kept until something changes"


INDEXES = [
    ("Catalog.ListServices", ListServicesRequest()),
    ("Catalog.ServiceNodes", ServiceRequest(service="web")),
    ("Catalog.ServiceNodes", ServiceRequest(service="none")),
    ("Health.ServiceNodes", ServiceRequest(service="web")),
    ("Health.ServiceNodes", ServiceRequest(service="none")),
    ("Health.ServiceChecks", ServiceRequest(service="web")),
    ("Health.ServiceChecks", ServiceRequest(service="web", node_meta={"a": "b"})),
    ("Catalog.ListServices", ListServicesRequest(node_meta={"a": "b"})),
    ("Internal.NodeDump", NodeDumpRequest()),
]


async def test_every_answer_has_the_index_of_its_row_in_the_table(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        steps: list[Any] = [
            lambda: register(parts, "n", service=WEB),
            lambda: register(parts, "m", service=DB),
            lambda: register(parts, "m", checks=[check("c", service_id="db")]),
            lambda: register(parts, "n", checks=[check("c")]),
            lambda: register(parts, "o"),
        ]
        seen = []
        for step in steps:
            await step()
            seen.append([(await parts.ask(method, request)).meta.index for method, request in INDEXES])
        assert seen == [
            [1, 1, 1, 1, 1, 1, 1, 1, 1],
            [2, 1, 2, 1, 2, 1, 1, 2, 2],
            [2, 1, 2, 1, 3, 3, 1, 2, 3],
            [2, 4, 2, 4, 4, 4, 4, 2, 4],
            [2, 4, 5, 4, 5, 4, 4, 5, 5],
        ]


async def test_a_watcher_of_a_service_hears_of_that_service_alone(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("c"), check("s", service_id="web1")])
        await register(parts, "m", service=DB)
        other = [
            lambda: register(parts, "m", service=replace(DB, port=5)),
            lambda: register(parts, "m", address="10.0.0.7"),
            lambda: register(parts, "m", checks=[check("c")]),
            lambda: register(parts, "o", service=replace(DB, service="webs")),
            lambda: deregister(parts, "o"),
        ]
        own = [
            lambda: register(parts, "n", checks=[check("c", "warning")]),
            lambda: register(parts, "n", checks=[check("s", "warning", service_id="web1")]),
            lambda: register(parts, "n", address="10.0.0.8"),
            lambda: register(parts, "m", service=replace(WEB, service="WEB")),
            lambda: deregister(parts, "m", service_id="web1"),
        ]
        for method in ("Catalog.ServiceNodes", "Health.ServiceNodes"):
            assert await woken_by(parts, method, ServiceRequest(service="web"), *other) == [False] * len(other)
            await register(parts, "n", address="10.0.0.1", checks=[check("c"), check("s", service_id="web1")])
            assert await woken_by(parts, method, ServiceRequest(service="web"), *own) == [True] * len(own)
        gone = [lambda: deregister(parts, "n"), lambda: register(parts, "x"), lambda: register(parts, "x", service=WEB)]
        assert await woken_by(parts, "Health.ServiceNodes", ServiceRequest(service="web"), *gone) == [True, False, True]


async def test_a_watcher_of_mesh_instances_hears_of_proxies(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB)
        changes = [
            lambda: register(parts, "m", service=replace(PROXY, proxy_destination="db")),
            lambda: register(parts, "m", service=PROXY),
            lambda: register(parts, "m", checks=[check("c", service_id="p")]),
            lambda: deregister(parts, "m", service_id="p"),
        ]
        request = ServiceRequest(service="web", connect=True)
        assert await woken_by(parts, "Health.ServiceNodes", request, *changes) == [False, True, True, True]
        alone = [lambda: register(parts, "m", service=replace(PROXY, proxy_destination="alone"))]
        request = ServiceRequest(service="alone", connect=True)
        assert await woken_by(parts, "Health.ServiceNodes", request, *alone) == [True]


async def test_a_watcher_of_checks_of_a_service_hears_of_these(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("s", service_id="web1")])
        changes = [
            lambda: register(parts, "m", service=DB, checks=[check("c", service_id="db")]),
            lambda: register(parts, "n", checks=[check("s", "warning", service_id="web1")]),
            lambda: register(parts, "n", service=replace(WEB, service="other")),
            lambda: register(parts, "n", checks=[check("s", "passing", service_id="web1")]),
        ]
        request = ServiceRequest(service="web")
        # The third renames the service: its check has the old name until it is registered again, by the fourth.
        woken = await woken_by(parts, "Health.ServiceChecks", request, *changes)
        assert (woken[0], woken[1], woken[3]) == (False, True, True)
        reply = await parts.ask("Health.ServiceChecks", request)
        assert isinstance(reply, ChecksReply)
        assert reply.checks == []


async def test_a_reply_is_used_again_as_long_as_it_is_the_one_that_would_be_made(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("c")])
        first = await service_nodes(parts, "Health.ServiceNodes", "web")
        again = await service_nodes(parts, "Health.ServiceNodes", "web")
        assert again.instances is first.instances
        stale = QueryOptions(consistency=Consistency.STALE)
        other = await service_nodes(parts, "Health.ServiceNodes", "web", options=stale)
        assert other.instances is first.instances
        assert other.meta.consistency is Consistency.STALE
        await register(parts, "m", service=DB)
        assert (await service_nodes(parts, "Health.ServiceNodes", "web")).instances is first.instances
        by_token = await service_nodes(parts, "Health.ServiceNodes", "web", options=QueryOptions(token="t"))
        assert by_token.instances is not first.instances
        assert (await service_nodes(parts, "Catalog.ServiceNodes", "web")).instances is not first.instances
        await register(parts, "n", checks=[check("c", "critical")])
        changed = await service_nodes(parts, "Health.ServiceNodes", "web")
        assert changed.instances[0].checks[0].status == "critical"
        assert changed.meta.index > first.meta.index


async def test_the_bytes_of_a_reply_are_those_that_encoding_it_anew_gives(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB, checks=[check("c")])
        for consistency in (Consistency.DEFAULT, Consistency.STALE):
            request = ServiceRequest(service="web", options=QueryOptions(consistency=consistency))
            for _ in range(2):
                data = parts.dispatcher.handle("Health.ServiceNodes", codec.encode(request), REMOTE)
                assert isinstance(data, bytes)
                expected = await parts.ask("Health.ServiceNodes", request)
                assert data == codec.encode(expected)


async def test_answers_sorted_by_distance_are_never_used_again(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        for node in ("a", "b"):
            await register(parts, node, service=WEB)

        async def place(**seconds: float) -> None:
            updates = [
                NodeCoordinate(node=node, coordinate=Coordinate(vec=[at, *[0.0] * 7])) for node, at in seconds.items()
            ]
            await parts.raft.propose(encode_command(COORDINATES, CoordinateBatch(updates=updates)), timeout_s=1.0)

        near = QuerySource(datacenter="dc1", node="a")
        await place(a=0.5, b=0.1)
        assert places(await service_nodes(parts, "Health.ServiceNodes", "web", source=near))[0][0] == "a"
        near = QuerySource(datacenter="dc1", node="b")
        assert places(await service_nodes(parts, "Health.ServiceNodes", "web", source=near))[0][0] == "b"


async def test_watchers_of_one_service_share_one_reply(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "n", service=WEB)
        index = (await service_nodes(parts, "Health.ServiceNodes", "web")).meta.index
        replies: list[Any] = []

        async def watch(wait_s: float) -> None:
            options = QueryOptions(index_min=index, wait_s=wait_s)
            replies.append(await service_nodes(parts, "Health.ServiceNodes", "web", options=options))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(watch, 30.0 + number)
            await trio.testing.wait_all_tasks_blocked()
            assert parts.reads.blocking.statistics().groups_count == 1
            await register(parts, "n", service=replace(WEB, port=81))
        assert len(replies) == 20
        assert all(reply is replies[0] for reply in replies)
        assert parts.reads.blocking.statistics().woken_without_change_total == 0
