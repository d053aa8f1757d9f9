"""PreparedQuery.* on one server: what is found, in which order, how fresh, and where else. State store, section 12."""

import random
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base import codec
from base.errors import MeshError, NoLeader, NotFound, Refused, Unreachable
from fsm.commands.registry import COORDINATES, encode_command
from rpc.caller import Caller
from server.dispatch import split_mark
from server.prepared_queries import failover, steps
from structs.catalog import (
    CONNECT_PROXY,
    HealthCheck,
    Node,
    NodeService,
    QuerySource,
    RegisterCommand,
    RegisterRequest,
    ServiceInstance,
)
from structs.coordinate import Coordinate, CoordinateBatch, NodeCoordinate
from structs.prepared_query import (
    ExecuteRemoteRequest,
    ExecuteReply,
    ExecuteRequest,
    ListPreparedQueriesRequest,
    PreparedQuery,
    PreparedQueryApplyRequest,
    PreparedQueryOp,
    PreparedQueryRequest,
    QueryFailover,
    QueryTemplate,
    ServiceQuery,
)
from structs.query import Consistency, QueryOptions
from tests.fakes.members import server as server_member
from tests.fakes.server_parts import ServerParts, server_parts

CREATE, UPDATE, DELETE = PreparedQueryOp
WEB = PreparedQuery(name="web", service=ServiceQuery(service="web"))


async def apply(parts: ServerParts, op: PreparedQueryOp, query: PreparedQuery) -> str:
    reply = await parts.ask("PreparedQuery.Apply", PreparedQueryApplyRequest(op=op, query=query))
    return str(reply.query_id)


async def execute(parts: ServerParts, name: str = "web", **fields: Any) -> ExecuteReply:
    reply = await parts.ask("PreparedQuery.Execute", ExecuteRequest(name=name, **fields))
    assert isinstance(reply, ExecuteReply)
    return reply


def hosts(reply: ExecuteReply) -> list[str]:
    return [instance.node.node for instance in reply.instances]


async def register(parts: ServerParts, node: str, *checks: HealthCheck, **fields: Any) -> None:
    service = NodeService(service_id="web", service="web", **fields.pop("service", {}))
    command = RegisterCommand(node=node, service=service, checks=list(checks), **{"address": "10.0.0.1", **fields})
    await parts.ask("Catalog.Register", RegisterRequest(command=command))


def check(status: str, check_id: str = "c", service_id: str = "web") -> HealthCheck:
    return HealthCheck(node="", check_id=check_id, status=status, service_id=service_id)


async def test_a_query_is_created_read_listed_replaced_and_deleted(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        query_id = await apply(parts, CREATE, WEB)
        listed = await parts.ask("PreparedQuery.List", ListPreparedQueriesRequest())
        assert [(query.query_id, query.name) for query in listed.queries] == [(query_id, "web")]
        found = await parts.ask("PreparedQuery.Get", PreparedQueryRequest(query_id=query_id.upper()))
        assert found.queries == listed.queries
        assert found.meta.index == listed.meta.index == found.queries[0].modify_index
        woken: list[Any] = []

        async def wait() -> None:
            options = QueryOptions(index_min=found.meta.index, wait_s=60.0)
            woken.append(await parts.ask("PreparedQuery.Get", PreparedQueryRequest(query_id=query_id, options=options)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert await apply(parts, UPDATE, replace(WEB, query_id=query_id.upper(), dns_ttl="5s")) == query_id
        assert woken[0].queries[0].dns_ttl == "5s"
        assert await apply(parts, DELETE, PreparedQuery(query_id=query_id)) == query_id
        assert (await parts.ask("PreparedQuery.Get", PreparedQueryRequest(query_id=query_id))).queries == []


@pytest.mark.parametrize(
    ("op", "query", "text"),
    [
        (CREATE, replace(WEB, query_id="x"), "ID must be empty when creating a new prepared query"),
        (CREATE, replace(WEB, session="s"), 'invalid session "s"'),
        (CREATE, replace(WEB, service=ServiceQuery()), "Invalid prepared query: Must provide a Service name to query"),
        (UPDATE, replace(WEB, query_id="X"), "Cannot modify non-existent prepared query: 'x'"),
        (DELETE, PreparedQuery(query_id="x"), "Cannot modify non-existent prepared query: 'x'"),
    ],
)
async def test_what_cannot_be_is_refused(tmp_path: Path, op: PreparedQueryOp, query: PreparedQuery, text: str) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused) as caught:
            await apply(parts, op, query)
        assert str(caught.value) == text


async def test_only_instances_that_are_healthy_and_meant_are_found(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "good", check("passing"), service={"tags": ["V1", "main"]}, node_meta={"rack": "a"})
        await register(parts, "soso", check("warning"), service={"tags": ["v1", "Canary"]}, node_meta={"rack": "a"})
        await register(parts, "bad", check("critical"), service={"tags": ["v1"]})
        await register(parts, "down", check("critical", "serfHealth", ""), service={"tags": ["v1"]})
        await parts.ask(
            "Catalog.Register",
            RegisterRequest(
                command=RegisterCommand(
                    node="proxy",
                    address="10.0.0.9",
                    service=NodeService(
                        service_id="p", service="p", kind=CONNECT_PROXY, proxy_destination="web", port=1
                    ),
                )
            ),
        )

        async def found(**fields: Any) -> list[str]:
            query_id = await apply(
                parts, CREATE, PreparedQuery(name="q", service=ServiceQuery(service="WEB", **fields))
            )
            reply = await execute(parts, "q")
            await apply(parts, DELETE, PreparedQuery(query_id=query_id))
            assert (reply.service, reply.datacenter, reply.failovers) == ("WEB", "dc1", 0)
            return sorted(hosts(reply))

        assert await found() == ["good", "soso"]
        assert await found(only_passing=True) == ["good"]
        assert await found(ignore_check_ids=["c"]) == ["bad", "good", "soso"]
        assert await found(ignore_check_ids=["C"]) == ["good", "soso"]
        assert await found(node_meta={"rack": "a"}, tags=["MAIN"]) == ["good"]
        assert await found(tags=["v1", "!canary"]) == ["good"]
        assert await found(tags=["!V1"]) == []
        assert await found(node_meta={"rack": "b"}) == []
        assert await found(connect=True) == ["proxy"]
        await apply(parts, CREATE, WEB)
        assert hosts(await execute(parts, connect=True)) == ["proxy"]
        limited = await execute(parts, limit=1)
        assert len(limited.instances) == 1


async def test_the_nearest_come_first_and_the_callers_own_node_before_them(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        places = {"here": 0.0, "near": 0.01, "far": 0.5}
        for number, name in enumerate(places):
            await register(parts, name, address=f"10.0.0.{number}")
        updates = [
            NodeCoordinate(node=name, coordinate=Coordinate(vec=[away_s] + [0.0] * 7))
            for name, away_s in places.items()
        ]
        await parts.raft.propose(encode_command(COORDINATES, CoordinateBatch(updates=updates)), timeout_s=1.0)
        await apply(parts, CREATE, WEB)
        await apply(parts, CREATE, PreparedQuery(name="agents", service=ServiceQuery(service="web", near="_agent")))
        await apply(parts, CREATE, PreparedQuery(name="address", service=ServiceQuery(service="web", near="_ip")))
        agent = QuerySource(datacenter="dc1", node="far")
        order = ["here", "near", "far"]
        for _ in range(5):
            assert hosts(await execute(parts, source=QuerySource(node="here"), agent=agent)) == order
            assert hosts(await execute(parts, source=QuerySource(node="far"), agent=agent)) == order[::-1]
            assert hosts(await execute(parts, "agents", agent=agent)) == order[::-1]
            assert hosts(await execute(parts, "agents", source=QuerySource(node="here"), agent=agent)) == order
            assert (
                hosts(await execute(parts, "address", source=QuerySource(address="10.0.0.2"), agent=agent))
                == order[::-1]
            )
        for source in (
            QuerySource(node="here", datacenter="dc2"),
            QuerySource(node="unknown"),
            QuerySource(node="_ip", address="192.0.2.1"),
            QuerySource(node="_ip"),
            QuerySource(),
        ):
            seen = {tuple(hosts(await execute(parts, agent=agent, source=source))) for _ in range(40)}
            assert len(seen) > 2, "nothing is near: chance decides"


async def test_a_node_without_coordinates_that_is_the_callers_own_comes_first(tmp_path: Path) -> None:
    instances = [
        ServiceInstance(node=Node(node=f"n{number}"), service=NodeService(service_id="s", service="s"))
        for number in range(20)
    ]
    assert [each.node.node for each in steps.own_first(instances, "n9")][:2] == ["n9", "n1"]
    assert steps.own_first(instances, "n10") == instances
    mixed = steps.shuffled(instances, random.Random(1))
    assert mixed != instances
    assert sorted(each.node.node for each in mixed) == sorted(each.node.node for each in instances)


async def test_names_lead_to_queries_and_templates_in_their_order(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        plain_id = await apply(parts, CREATE, WEB)
        template = QueryTemplate(kind="name_prefix_match", regexp="^db-(.*)$")
        template_id = await apply(
            parts,
            CREATE,
            PreparedQuery(
                name="DB-", template=template, service=ServiceQuery(service="${match(1)}", tags=["${name.full}"])
            ),
        )

        async def explained(name: str) -> PreparedQuery:
            reply = await parts.ask("PreparedQuery.Explain", ExecuteRequest(name=name))
            found = reply.query
            assert isinstance(found, PreparedQuery)
            return found

        assert (await explained(plain_id.upper())).name == (await explained("WEB")).name == "web"
        rendered = await explained("db-main")
        assert (rendered.query_id, rendered.service.service, rendered.service.tags) == (
            template_id,
            "main",
            ["db-main"],
        )
        assert (await execute(parts, "db-main")).service == "main"
        with pytest.raises(Refused, match="prepared query templates can only be resolved up by name, not by ID"):
            await explained(template_id)
        for name in ("unknown", "", "db", "00000000-0000-0000-0000-000000000000"):
            for call in (explained, lambda name: execute(parts, name)):
                with pytest.raises(NotFound, match=r"^Query not found$"):
                    await call(name)


async def test_a_server_that_does_not_lead_answers_only_what_may_be_stale(tmp_path: Path) -> None:
    async with server_parts(tmp_path, hold_s=0.1) as parts:
        await register(parts, "n1")
        await apply(parts, CREATE, WEB)
        parts.raft.change_leader(None)
        reply = await execute(parts, options=QueryOptions(consistency=Consistency.STALE))
        assert hosts(reply) == ["n1"]
        assert (reply.meta.known_leader, reply.meta.consistency) == (False, Consistency.STALE)
        with pytest.raises(NoLeader):
            await execute(parts)


@pytest.mark.parametrize(
    ("nearest", "named", "expected"),
    [
        (0, None, []),
        (2, None, ["b", "a"]),
        (9, [], ["b", "a", "c"]),
        (1, ["c", "b", "C", "nowhere", "a", "dc1"], ["b", "c", "a"]),
        (0, ["c", "c"], ["c"]),
    ],
)
def test_the_nearest_are_asked_and_then_the_named_nobody_twice(
    nearest: int, named: list[str] | None, expected: list[str]
) -> None:
    assert failover.plan(QueryFailover(nearest_n=nearest, datacenters=named), ["b", "a", "c"]) == expected


async def never() -> bytes:
    await trio.sleep_forever()


def far(parts: ServerParts, answers: dict[str, Any]) -> list[ExecuteRemoteRequest]:
    """Other datacenters, each with one server that answers like this: an error, nodes, or None for never."""
    asked: list[ExecuteRemoteRequest] = []
    members = []
    for number, (datacenter, answer) in enumerate(answers.items()):
        address = f"10.0.{number + 1}.1"
        members.append(replace(server_member(f"s1.{datacenter}"), address=address))
        members[-1].tags.update(dc=datacenter, port="8300")

        def handle(name: str, body: bytes, caller: Caller, answer: Any = answer, datacenter: str = datacenter) -> Any:
            assert split_mark(name) == ("@", "PreparedQuery.ExecuteRemote")
            asked.append(codec.decode(ExecuteRemoteRequest, body))
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                return never()
            instances = [
                ServiceInstance(node=Node(node=node), service=NodeService(service_id="web", service="web"))
                for node in answer
            ]
            return codec.encode(ExecuteReply(service="web", instances=instances, datacenter=datacenter))

        parts.pool.handlers[members[-1].rpc_address] = handle
    parts.router.update(members)
    return asked


async def test_other_datacenters_are_asked_until_one_has_somebody(tmp_path: Path, autojump_clock: Any) -> None:
    async with server_parts(tmp_path) as parts:
        answers = {"dc2": Unreachable("gone"), "dc3": [], "dc4": None, "dc5": ["far1"], "dc6": ["never asked"]}
        asked = far(parts, answers)
        named = ServiceQuery(service="web", failover=QueryFailover(datacenters=["nowhere", "dc1", *answers]))
        await apply(parts, CREATE, PreparedQuery(name="web", service=named, dns_ttl="7s"))
        begun_s = trio.current_time()
        reply = await execute(parts, limit=3, connect=True, options=QueryOptions(token="t"))
        assert (hosts(reply), reply.datacenter, reply.failovers) == (["far1"], "dc5", 4)
        assert [request.options.datacenter for request in asked] == ["dc2", "dc3", "dc4", "dc5"]
        assert {(r.limit, r.connect, r.options.token, r.query.name) for r in asked} == {(3, True, "t", "web")}
        assert trio.current_time() - begun_s <= parts.config.rpc_hold_timeout_s

        await register(parts, "n1", service={"tags": []})
        asked.clear()
        assert hosts(await execute(parts)) == ["n1"]
        assert asked == [], "whoever is healthy here comes first"


async def test_an_answer_without_anybody_says_how_many_were_asked(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        far(parts, {"dc2": MeshError("odd"), "dc3": []})
        nearest = ServiceQuery(service="web", failover=QueryFailover(nearest_n=5))
        await apply(parts, CREATE, PreparedQuery(name="web", service=nearest))
        reply = await execute(parts)
        assert (reply.instances, reply.datacenter, reply.failovers) == ([], "dc1", 2)


async def test_a_query_of_another_datacenter_is_executed_and_passed_on_to_nobody(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        asked = far(parts, {"dc2": ["n"]})
        await register(parts, "n1", check("passing"))
        await register(parts, "n2", check("critical"))
        query = replace(WEB, service=replace(WEB.service, failover=QueryFailover(nearest_n=1), tags=["v1"]))
        reply = await parts.ask("PreparedQuery.ExecuteRemote", ExecuteRemoteRequest(query=WEB, limit=5))
        assert (hosts(reply), reply.datacenter) == (["n1"], "dc1")
        reply = await parts.ask("PreparedQuery.ExecuteRemote", ExecuteRemoteRequest(query=query))
        assert (hosts(reply), reply.failovers, asked) == ([], 0, [])
