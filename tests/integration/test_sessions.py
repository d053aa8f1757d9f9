"""Sessions and locks on whole servers: TTLs over a change of leader, lock delays, and foreign agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from jepsen.cluster import Cluster
from jepsen.http_client import NotAnswered, NotSent, Reply
from structs.catalog import RegisterCommand, RegisterRequest
from structs.kv import KVApplyRequest, KVCommand, KVGetRequest, KVVerb
from structs.query import Consistency, QueryOptions
from structs.session import ListSessionsRequest, Session, SessionApplyRequest, SessionRequest, SessionVerb
from tests.fakes.foreign_wire import dial
from tests.integration.server_group import RunningServer, ServerGroup, server_group, wait_until
from tests.integration.test_foreign_rpc import SECOND, apply, asked, one_server

LOOKS_MAX = 120
"""Each waits a second where nothing changes."""
TTL_S = 1.0


async def call(via: RunningServer, method: str, request: Any) -> Any:
    answer = via.server.dispatcher.call(method, request)
    return await answer if hasattr(answer, "__await__") else answer


async def create(via: RunningServer, *, ttl_s: float = 0.0, lock_delay_ns: int = 0) -> str:
    wanted = Session(session_id="", node="n", ttl=f"{ttl_s}s" if ttl_s else "", lock_delay_ns=lock_delay_ns)
    reply = await call(via, "Session.Apply", SessionApplyRequest(verb=SessionVerb.CREATE, session=wanted))
    return str(reply.session_id)


async def locked(via: RunningServer, key: str, session_id: str) -> bool:
    command = KVCommand(verb=KVVerb.LOCK, key=key, value=b"v", session=session_id)
    return bool((await call(via, "KVS.Apply", KVApplyRequest(command=command))).ok)


def known(server: RunningServer) -> set[str]:
    """The sessions that this server has, however old its state is."""
    options = QueryOptions(consistency=Consistency.STALE)
    reply = server.server.dispatcher.call("Session.List", ListSessionsRequest(options=options))
    return {each.session_id for each in reply.sessions}


async def ready(group: ServerGroup) -> RunningServer:
    """A leader, and a node without a check."""
    await group.wait_voters("s1", "s2", "s3")
    leader = await group.wait_leader()
    await call(leader, "Catalog.Register", RegisterRequest(command=RegisterCommand(node="n", address="10.9.9.9")))
    return leader


async def test_over_a_change_of_leader_no_session_ends_early_and_an_unrenewed_one_ends(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group, trio.open_nursery() as nursery:
        leader = await ready(group)
        others = [server for server in group.servers if server is not leader]
        renewed, forgotten = await create(others[0], ttl_s=TTL_S), await create(others[0], ttl_s=TTL_S)
        assert await locked(others[0], "k", forgotten)
        missing: list[float] = []

        async def renew() -> None:
            while True:
                reply = await call(others[1], "Session.Renew", SessionRequest(session_id=renewed))
                if not reply.sessions:
                    missing.append(trio.current_time())
                await trio.sleep(TTL_S / 5)

        nursery.start_soon(renew)
        await wait_until(lambda: known(others[1]) == {renewed, forgotten}, "the sessions are not everywhere")
        stopped_s = trio.current_time()
        await leader.stop()
        while forgotten in known(others[0]):
            await trio.sleep(0.01)
            assert trio.current_time() - stopped_s < 30.0, "nobody ends it"
        # The one who led could no longer end it, and who leads now gave it all its time.
        assert trio.current_time() - stopped_s >= 2 * TTL_S
        assert missing == []
        assert renewed in known(others[0])
        nursery.cancel_scope.cancel()


async def test_a_lock_is_handed_over_after_its_delay_and_never_during_it(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        leader = await ready(group)
        via = next(server for server in group.servers if server is not leader)
        first = await create(via, ttl_s=TTL_S, lock_delay_ns=SECOND)
        second = await create(via)
        assert await locked(via, "k", first)
        assert not await locked(via, "k", second)
        await wait_until(lambda: first not in known(leader), "it is not ended")
        ended_s = trio.current_time()
        entry = (await call(via, "KVS.Get", KVGetRequest(key="k"))).entry
        assert (entry.session, entry.lock_index) == ("", 1)
        while not await locked(via, "k", second):
            await trio.sleep(0.01)
            assert trio.current_time() - ended_s < 30.0, "nobody gets it"
        # What was polled may have ended up to one poll before.
        assert trio.current_time() - ended_s >= 0.9
        entry = (await call(via, "KVS.Get", KVGetRequest(key="k"))).entry
        assert (entry.session, entry.lock_index) == (second, 2)


async def test_a_lock_that_was_lost_stays_free_over_a_change_of_leader(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        leader = await ready(group)
        others = [server for server in group.servers if server is not leader]
        first, second = await create(leader, lock_delay_ns=60 * SECOND), await create(leader)
        assert await locked(leader, "k", first)
        destroy = SessionApplyRequest(verb=SessionVerb.DESTROY, session=Session(session_id=first))
        await call(leader, "Session.Apply", destroy)
        await wait_until(lambda: all(first not in known(server) for server in others), "not everybody knows")
        await leader.stop()
        await wait_until(lambda: group.leader() is not None, "nobody leads")
        assert not await locked(others[0], "k", second)
        assert await locked(others[0], "other", second)


async def test_a_foreign_agent_has_sessions_and_locks(tmp_path: Path) -> None:
    async with one_server(tmp_path) as node:
        await trio.to_thread.run_sync(foreign_sessions, node.rpc_address)


def foreign_sessions(address: str) -> None:
    line = dial(address).open()
    index = 0
    for _ in range(LOOKS_MAX):  # the leader has just begun to fill the catalog
        found = asked(line, "Health.NodeChecks", Node="server-1", MinQueryIndex=index, MaxQueryTime=SECOND)
        index = found["Index"]
        if [check for check in found["HealthChecks"] or [] if check["CheckID"] == "serfHealth"]:
            break
    (member,) = asked(line, "Catalog.ListNodes", NodeMetaFilters=None)["Nodes"]

    def create_one(**fields: Any) -> tuple[str, Any]:
        wanted = {
            "ID": "", "Name": "", "Node": member["Node"], "Checks": ["serfHealth"], "LockDelay": 15 * SECOND,
            "Behavior": "release", "TTL": "", "CreateIndex": 0, "ModifyIndex": 0,
        }  # fmt: skip
        argument = {"Datacenter": "dc1", "Op": "create", "Session": {**wanted, **fields}, "Token": ""}
        return line.call("Session.Apply", argument)

    error, session_id = create_one(TTL="10s")
    assert error == ""
    assert create_one(Checks=["none"])[0] == "Missing check 'none' registration"
    assert create_one(TTL="1s")[0].startswith("Invalid Session TTL '1000000000'")
    assert create_one(Behavior="x")[0] == "Invalid Behavior setting 'x'"
    found = asked(line, "Session.Get", Session=session_id)
    (session,) = found["Sessions"]
    assert {name: session[name] for name in ("ID", "Node", "Checks", "LockDelay", "Behavior", "TTL")} == {
        "ID": session_id, "Node": member["Node"], "Checks": ["serfHealth"], "LockDelay": 15 * SECOND,
        "Behavior": "release", "TTL": "10s",
    }  # fmt: skip
    assert found["Index"] == session["ModifyIndex"] == session["CreateIndex"] > 0
    assert asked(line, "Session.List")["Sessions"] == [session]
    assert asked(line, "Session.NodeSessions", Node=member["Node"])["Sessions"] == [session]
    renewed = asked(line, "Session.Renew", Session=session_id)
    assert (renewed["Sessions"], renewed["Index"], renewed["KnownLeader"]) == ([session], session["ModifyIndex"], False)
    nobody = "00000000-0000-4000-8000-000000000000"
    gone = asked(line, "Session.Renew", Session=nobody, AllowStale=True)
    assert (gone["Sessions"], gone["Index"]) == (None, 0)
    assert apply(line, "lock", "f/lock", b"v", Session=session_id) is True
    (entry,) = asked(line, "KVS.Get", Key="f/lock")["Entries"]
    assert (entry["Session"], entry["LockIndex"]) == (session_id, 1)
    assert apply(line, "unlock", "f/lock", b"v", Session=nobody) is False
    assert apply(line, "unlock", "f/lock", b"v", Session=session_id) is True
    destroy = {"Datacenter": "dc1", "Op": "destroy", "Session": {"ID": session_id}, "Token": ""}
    assert line.call("Session.Apply", destroy) == ("", "")
    assert asked(line, "Session.List")["Sessions"] is None
    line.session.close()


async def test_when_the_leader_is_killed_sessions_live_on_and_die_by_their_ttl(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1, options=("-hcl", 'session_ttl_min = "1s"')) as cluster:
        await cluster.wait_ready()
        agent = cluster.agents[0]

        async def told(method: str, path: str, body: bytes = b"") -> Reply:
            """What this ends with that is no trouble of finding a leader."""
            with trio.fail_after(60.0):
                while True:
                    try:
                        reply = await agent.request(method, path, body)
                    except (NotSent, NotAnswered):
                        reply = None
                    if reply is not None and reply.status != 500:
                        return reply
                    await trio.sleep(0.05)

        async def made(body: bytes) -> str:
            return str((await told("PUT", "/v1/session/create", body)).json()["ID"])

        kept = await made(b'{"Checks":[],"TTL":"2s","LockDelay":"0s"}')
        forgotten = await made(b'{"Checks":[],"TTL":"2s","LockDelay":"0s","Behavior":"delete"}')
        assert (await told("PUT", f"/v1/kv/kept?acquire={kept}", b"v")).body == b"true"
        assert (await told("PUT", f"/v1/kv/forgotten?acquire={forgotten}", b"v")).body == b"true"
        (await cluster.leader()).kill()
        with trio.fail_after(60.0):
            while (await told("GET", "/v1/kv/forgotten?consistent")).status == 200:
                assert (await told("PUT", f"/v1/session/renew/{kept}")).status == 200
                await trio.sleep(0.1)
        assert (await told("PUT", f"/v1/session/renew/{kept}")).status == 200
        assert (await told("PUT", f"/v1/session/renew/{forgotten}")).status == 404
        assert (await told("GET", "/v1/kv/kept")).json()[0]["Session"] == kept
