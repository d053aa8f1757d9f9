"""Foreign members in our clusters, ours in theirs, and the mixture that is refused. Doubles stand in for theirs."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path

import msgpack
import trio

from jepsen.cluster import Cluster, Node
from tests.fakes.foreign_gossip import ForeignMember, client_tags
from tests.fakes.foreign_packing import KEY_REQUEST, PING, SUSPECT, fields_of, message
from tests.fakes.foreign_servers import ForeignServer, ForeignStore
from tests.fakes.foreign_site import beside
from tests.fakes.foreign_wire import Line
from tests.integration.datacenter_story import Datacenter, datacenters
from tests.integration.foreign_story import (
    OPTIONS as QUERY_OPTIONS,
)
from tests.integration.foreign_story import (
    asked,
    begins_to_wait,
    line_to_a_server,
    reads_and_writes,
    refusal,
    running,
    settles_in,
)
from tests.integration.gossip_story import (
    ALIVE,
    FAILED,
    LEFT,
    OPTIONS,
    assert_no_tracebacks,
    catalog_nodes,
    mesh,
    names,
    serf_health,
    statuses,
    until,
    voters,
    wait_for,
    wait_health,
    wait_members,
)

OLD, NEW = (bytes([number]) * 32 for number in (1, 2))
"""Keys of gossip."""
NOTICED_S_MAX = 10.0
"""A death is suspected within a second of this pace and certain half a second later; a busy machine takes its time."""


def text_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


# Foreign client agents, our servers


async def test_foreign_client_agents_live_in_our_cluster(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1, options=OPTIONS) as cluster:
        (agent,) = cluster.agents
        wanted = {**dict.fromkeys(names(cluster.nodes), ALIVE), "stayer": ALIVE, "mover": ALIVE}
        with ForeignMember("stayer", client_tags()) as stayer, ForeignMember("mover", client_tags()) as mover:
            for member, contact in ((stayer, cluster.servers[0]), (mover, agent)):
                await beside(member.join, contact.gossip_address)
            await wait_members(cluster.nodes, wanted)
            await wait_health(agent, dict.fromkeys(wanted, "passing"))
            for member in (stayer, mover):
                await until("what it knows", member.statuses, dict.fromkeys(wanted, "alive"))

            async with line_to_a_server(stayer) as line:
                await beside(settles_in, line, stayer)
                await beside(reads_and_writes, line, stayer)
                await a_write_wakes_its_read(line, agent)
            await what_it_registered_is_seen(agent, stayer)
            await events_go_both_ways(cluster, stayer)
            await its_packets_are_answered(stayer, agent)
            await who_is_suspected_says_otherwise(cluster, stayer)

            await beside(mover.leave)
            await wait_members(cluster.nodes, {**wanted, "mover": LEFT})
            await until("the farewell", stayer.statuses, lambda seen: seen["mover"] == "left")
            await wait_for("the catalog", partial(catalog_nodes, agent), lambda seen: "mover" not in seen)

            leader = await cluster.leader()
            before = len(stayer.events)
            leader.kill()
            follower = await cluster.leader()
            heard = ("consul:new-leader", follower.name.encode())
            await until("the new leader", lambda: heard in stayer.events[before:])
            await until("the death", stayer.statuses, lambda seen: seen[leader.name] == "failed")
            assert_no_tracebacks(cluster.nodes)
        killed_s = trio.current_time()
        await wait_for("its health", partial(serf_health, agent), lambda seen: seen["stayer"] == "critical")
        took_s = trio.current_time() - killed_s
        print(f"critical {took_s:.1f} s after its death")
        assert took_s < NOTICED_S_MAX
        await wait_members([agent], {**wanted, "mover": LEFT, "stayer": FAILED, leader.name: FAILED})


async def a_write_wakes_its_read(line: Line, writer: Node) -> None:
    await beside(begins_to_wait, line, "woken")
    assert (await writer.request("PUT", "/v1/kv/woken", b"up")).status == 200
    error, body = await beside(line.answer, 9)
    assert (error, body["Entries"][0]["Value"]) == ("", "up")


async def what_it_registered_is_seen(node: Node, member: ForeignMember) -> None:
    services = (await node.request("GET", f"/v1/catalog/node/{member.name}")).json()
    assert services["Node"]["Meta"] == {"consul-network-segment": "", "made": "elsewhere"}
    assert services["Services"]["web1"]["Tags"] == ["a", "b"]
    checks = (await node.request("GET", f"/v1/health/node/{member.name}")).json()
    assert {check["CheckID"]: check["Status"] for check in checks} == {
        "serfHealth": "passing",
        "service:web1": "passing",
    }
    assert (await node.request("GET", "/v1/kv/abroad?raw")).body == b"\x00\xff"

    async def places() -> set[str]:
        return {row["Node"] for row in (await node.request("GET", "/v1/coordinate/nodes")).json() or []}

    await wait_for("its place in the network", places, lambda seen: member.name in seen)


async def events_go_both_ways(cluster: Cluster, member: ForeignMember) -> None:
    (agent,) = cluster.agents
    assert (await agent.request("PUT", "/v1/event/fire/ours", b"payload")).status == 200
    await until(
        "our event", lambda: [each for each in member.events if each[0] == "consul:event:ours"], lambda seen: seen
    )
    (carried,) = [msgpack.unpackb(payload, raw=True) for name, payload in member.events if name == "consul:event:ours"]
    assert (carried[b"n"], carried[b"p"], carried[b"v"]) == (b"ours", b"payload", 1)
    theirs = {"ID": "11111111-2222-4333-8444-555555555555", "n": "theirs", "p": b"x", "v": 1}
    member.fire("consul:event:theirs", msgpack.packb(theirs, use_bin_type=False))
    for node in cluster.nodes:

        async def listed(node: Node = node) -> list[str]:
            return [row["ID"] for row in (await node.request("GET", "/v1/event/list?name=theirs")).json()]

        await wait_for(f"their event at {node.name}", listed, ["11111111-2222-4333-8444-555555555555"])


async def its_packets_are_answered(member: ForeignMember, agent: Node) -> None:
    """Acks carry coordinates; pings over a stream and through third members are answered, and nobody is made up."""
    others = set(member.statuses()) - {member.name}
    await until("coordinates", lambda: set(member.coordinates) >= others)
    assert all(len(found["Vec"]) == 8 for found in member.coordinates.values())
    answer = await beside(member.asked_by_stream, agent.name, message(PING, {"SeqNo": 7, "Node": agent.name}))
    assert answer.value() == {"SeqNo": 7, "Payload": None}
    nowhere = ("127.0.0.1", 9)
    member.indirect_ping(agent.name, nowhere, "nobody")
    await until("a nack", lambda: member.counts["nacks"] > 0)
    assert (await beside(partial(member.ask, "_serf_ping", b""))).acks == {*others, member.name}


async def who_is_suspected_says_otherwise(cluster: Cluster, member: ForeignMember) -> None:
    """Somebody says that a foreign member and one of ours do not answer: both refute, and soon nobody believes it."""
    (agent,) = cluster.agents
    before = member.members[agent.name].incarnation
    for name, incarnation in ((agent.name, before), (member.name, member.me.incarnation)):
        fields = {"Incarnation": incarnation, "Node": name, "From": "rumour"}
        for seen in member.servers():
            member.send(seen.address, message(SUSPECT, fields))
    await until("our refutation", lambda: member.members[agent.name].incarnation > before)
    await until("its refutation", lambda: member.counts.get("refutations", 0) > 0)
    for node in cluster.nodes:
        await wait_for(f"peace at {node.name}", partial(statuses, node), lambda seen: set(seen.values()) == {ALIVE})


async def test_foreign_client_agents_use_and_change_our_keys(tmp_path: Path) -> None:
    options = [*OPTIONS, "-encrypt", text_of(OLD)]
    async with Cluster(tmp_path, servers=3, agents=0, options=options) as cluster:
        server = cluster.servers[0]
        wanted = {**dict.fromkeys(names(cluster.nodes), ALIVE), "foreign": ALIVE}
        with ForeignMember("foreign", client_tags(), keys=[OLD]) as member:
            for keys in ([NEW], []):
                with ForeignMember("stranger", client_tags(), keys=keys) as stranger:
                    assert await beside(refusal, stranger, server.gossip_address)
                    assert stranger.heard == set()
            await server.wait_log("no installed key opens it")
            await beside(member.join, server.gossip_address)
            await wait_members(cluster.nodes, wanted)
            await wait_health(server, dict.fromkeys(wanted, "passing"))
            await keys_are(server, {OLD: 4})
            for verb, keys in (("-install", [OLD, NEW]), ("-use", [NEW, OLD])):
                await mesh(server, "keyring", f"{verb}={text_of(NEW)}")
                assert member.keys == keys
            await keys_are(server, {NEW: 4, OLD: 4})
            await mesh(server, "keyring", f"-remove={text_of(OLD)}")
            assert member.keys == [NEW]
            answers = await beside(partial(member.ask, "_serf_list-keys", bytes((KEY_REQUEST, 0x80))))
            assert answers.acks == set(answers.payloads) == set(wanted)
            assert all(fields_of(each)["Keys"] == [text_of(NEW).encode()] for each in answers.payloads.values())
            answers = await beside(partial(member.ask, "_serf_conflict", b"server-1"))
            assert {fields_of(each)["Port"] for each in answers.payloads.values()} == {server.gossip_port}
            assert set(answers.payloads) == set(wanted) - {"server-1"}
            await beside(member.leave)
            await wait_members(cluster.nodes, {**wanted, "foreign": LEFT})
        assert_no_tracebacks(cluster.nodes)


async def keys_are(server: Node, counts: dict[bytes, int]) -> None:
    (pool,) = (await server.request("GET", "/v1/operator/keyring")).json()
    assert (pool["Keys"], pool["NumNodes"]) == ({text_of(key): count for key, count in counts.items()}, 4)
    listing = (await mesh(server, "keyring", "-list", "-relay-factor=2")).out
    for key, count in counts.items():
        assert f"{text_of(key)} [{count}/4]" in listing


# Our client agents, foreign servers


async def test_our_agent_lives_in_a_foreign_cluster(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, servers=0, agents=0)
    store = ForeignStore()
    with ForeignServer("theirs-1", store) as first, ForeignServer("theirs-2", store) as second:
        await beside(second.gossip.join, first.gossip.gossip_address)
        async with running("mesh-agent", "ours", cluster, "-retry-join", first.gossip.gossip_address) as agent:
            wanted = {"theirs-1": ALIVE, "theirs-2": ALIVE, "ours": ALIVE}
            await wait_members([agent], wanted)
            for server in (first, second):
                await until("our agent", server.gossip.statuses, dict.fromkeys(wanted, "alive"))
            assert first.gossip.members["ours"].tags["role"] == "node"
            await keys_are_used_through_it(agent, store)
            await what_is_refused_there_is_refused_here(agent, store, tmp_path)

            first.kill()
            store.leader_address = second.rpc.address
            second.gossip.fire("consul:new-leader", b"theirs-2")
            for number in range(4):
                assert (await agent.request("PUT", f"/v1/kv/after/{number}", b"x")).status == 200
                assert (await agent.request("GET", f"/v1/kv/after/{number}?raw")).body == b"x"
            assert len(second.asked("KVS.Apply")) >= 4
            assert (await agent.request("GET", "/v1/status/leader")).json() == second.rpc.address
            await wait_members([agent], {**wanted, "theirs-1": FAILED})
            await until("the death", second.gossip.statuses, lambda seen: seen["theirs-1"] == "failed")

            await mesh(agent, "leave")
            assert await agent.wait_exit() == 0
            await until("its farewell", second.gossip.statuses, lambda seen: seen["ours"] == "left")
            assert_no_tracebacks([agent])


async def keys_are_used_through_it(agent: Node, store: ForeignStore) -> None:
    assert (await agent.request("GET", "/v1/status/leader")).json() == store.leader_address
    assert (await agent.request("PUT", "/v1/kv/a?flags=7", b"one\x00")).json() is True
    reply = await agent.request("GET", "/v1/kv/a")
    (row,) = reply.json()
    assert (base64.b64decode(row["Value"]), row["Flags"]) == (b"one\x00", 7)
    assert (await agent.request("PUT", "/v1/kv/a?cas=1", b"no")).json() is False
    assert (await agent.request("PUT", f"/v1/kv/a?cas={row['ModifyIndex']}", b"two")).json() is True
    index = (await agent.request("GET", "/v1/kv/a")).headers["x-consul-index"]
    woken: list[bytes] = []

    async def wait() -> None:
        woken.append((await agent.request("GET", f"/v1/kv/a?raw&index={index}&wait=30s", timeout_s=40.0)).body)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await until("a read that waits", lambda: store.waiting_count == 1)
        assert (await agent.request("PUT", "/v1/kv/a", b"three")).json() is True
    assert woken == [b"three"]


async def what_is_refused_there_is_refused_here(agent: Node, store: ForeignStore, folder: Path) -> None:
    reply = await agent.request("PUT", "/v1/kv/forbidden", b"x")
    assert (reply.status, reply.body) == (403, b"rpc error making call: Permission denied")
    operation = b'[{"KV": {"Verb": "get", "Key": "a"}}]'
    reply = await agent.request("PUT", "/v1/txn", operation)
    assert (reply.status, reply.body) == (500, b"rpc error making call: rpc: can't find method Txn.Read")
    said = await mesh(agent, "snapshot", "save", str(folder / "archive"), expect=1)
    assert "the server is of another system" in said.err
    assert not (folder / "archive").exists()
    assert (await agent.request("GET", "/v1/operator/keyring")).status == 500


# Servers of both


async def test_servers_of_two_systems_never_share_a_pool(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=1, options=OPTIONS) as cluster:
        (server,), (agent,) = cluster.servers, cluster.agents
        everybody = dict.fromkeys(names(cluster.nodes), ALIVE)
        await wait_members(cluster.nodes, everybody)
        with ForeignServer("theirs", ForeignStore()) as theirs:
            address = theirs.gossip.gossip_address
            other_system = "Member 'theirs' is a server of another system"
            tie = "Members 'server-1' and 'theirs' are servers of two systems, which never share a LAN pool"
            for node, text in ((server, other_system), (agent, tie)):
                assert text in (await mesh(node, "join", address, expect=1)).err
                assert text in await beside(refusal, theirs.gossip, node.gossip_address)
                await node.wait_log(f"not merged: {text}")
            for node in (server, agent):  # as if somebody were a member of both pools
                theirs.gossip.send(("127.0.0.1", node.gossip_port), theirs.gossip.claim_of(theirs.gossip.me))
                await node.wait_log("an alive message is refused: Member")
            assert theirs.gossip.heard == set(), "they would take our servers for peers of their own"

            joins = [word for each in (server.gossip_address, address) for word in ("-retry-join", each)]
            async with running("mesh-agent", "undecided", cluster, *joins) as undecided:
                await wait_for("a choice", partial(statuses, undecided), lambda seen: len(seen) > 1)
                assert set(await statuses(undecided)) in ({"undecided", "theirs"}, {"undecided", *everybody})
            assert theirs.gossip.heard <= {"undecided"}

            async with running("mesh-agent", "their-agent", cluster, "-retry-join", address) as theirs_agent:
                await wait_for("their pool", partial(statuses, theirs_agent), lambda seen: "theirs" in seen)
                said = await mesh(theirs_agent, "join", server.gossip_address, expect=1)
                assert "which never share a LAN pool" in said.err
                said = await mesh(server, "join", theirs_agent.gossip_address, expect=1)
                assert other_system in said.err

            assert {"server-1", "agent-1"}.isdisjoint(theirs.gossip.heard)
            assert theirs.rpc.first_bytes.count(b"\x01") == 0
            assert await voters(server) == {server.name}
            assert {"theirs", "their-agent"}.isdisjoint(await statuses(server))
        assert_no_tracebacks(cluster.nodes)


# Datacenters of both


async def test_a_foreign_datacenter_is_asked_over_the_wan(tmp_path: Path) -> None:
    ours = Datacenter(tmp_path, "dc1", servers=1, agents=1, options=("-encrypt", text_of(OLD)))
    store = ForeignStore()
    async with datacenters(ours):
        (server,), agent = ours.servers, ours.agent
        with ForeignServer("far.dc2", store, datacenter="dc2", keys=[OLD]) as far:
            await mesh(server, "join", "-wan", far.gossip.gossip_address)
            await wait_members([server], {f"{server.name}.dc1": ALIVE, "far.dc2": ALIVE}, wan=True)
            await until("our server", far.gossip.statuses, {f"{server.name}.dc1": "alive", "far.dc2": "alive"})
            for node in (server, agent):
                assert (await node.request("GET", "/v1/catalog/datacenters")).json() == ["dc1", "dc2"]
                assert (await node.request("PUT", f"/v1/kv/{node.name}?dc=dc2", b"far")).json() is True
                assert (await node.request("GET", f"/v1/kv/{node.name}?raw&dc=dc2")).body == b"far"
                assert (await node.request("GET", f"/v1/kv/{node.name}?raw")).status == 404
            (asked_there, _) = far.asked("KVS.Get")
            assert {**QUERY_OPTIONS, "Datacenter": "dc2", "Key": server.name}.items() <= asked_there.items()
            assert set(far.rpc.first_bytes) == {b"\x04"}
            assert (await server.request("PUT", "/v1/kv/forbidden?dc=dc2", b"x")).status == 403

            await agent.request("PUT", "/v1/kv/near", b"here")
            operation = {"Operation": "list", "Key": "", "Forwarded": True, "RelayFactor": 0}
            async with line_to_a_server(far.gossip) as line:
                found = await beside(partial(asked, line, "KVS.Get", Key="near"))
                told = await beside(partial(asked, line, "Internal.KeyringOperation", **operation))
            assert found["Entries"][0]["Value"] == "here"
            (pool,) = told["Responses"]
            assert (pool["WAN"], pool["Datacenter"], pool["Keys"], pool["NumNodes"]) == (
                False,
                "dc1",
                {text_of(OLD): 2},
                2,
            )
            listed = (await server.request("GET", "/v1/operator/keyring")).json()
            keys = {(row["WAN"], row["Datacenter"]): row["Keys"] for row in listed}
            both, one = {text_of(OLD): 2}, {text_of(OLD): 1}
            assert keys == {(True, "dc1"): both, (False, "dc1"): both, (False, "dc2"): one}
            await beside(far.leave)
            await wait_members([server], {f"{server.name}.dc1": ALIVE, "far.dc2": LEFT}, wan=True)
            reply = await agent.request("GET", "/v1/kv/x?dc=dc2")
            assert (reply.status, reply.body) == (500, b"No path to datacenter")
            assert (await agent.request("GET", "/v1/catalog/datacenters")).json() == ["dc1", "dc2"]
        assert_no_tracebacks(ours.cluster.nodes)
