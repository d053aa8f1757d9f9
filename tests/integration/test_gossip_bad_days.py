"""Bad days of gossip with real processes: each ends as it should, with a clear line in a log and no traceback."""

import random
import socket
from pathlib import Path

import pytest

from jepsen.cluster import Cluster, Node
from jepsen.network.choosing import opened
from jepsen.network.network import count
from tests.fakes.foreign_gossip import ForeignMember, client_tags
from tests.fakes.foreign_site import beside
from tests.integration.gossip_story import (
    ALIVE,
    CALM,
    FAILED,
    OPTIONS,
    Story,
    assert_no_tracebacks,
    end_badly,
    lone,
    mesh,
    names,
    statuses,
    until,
    wait_for,
    wait_members,
    write,
)
from tests.integration.test_tls_cluster import block, certificates

KEY = "AQEBAQEBAQEBAQEBAQEBAQ=="
LOST_COUNT = 200
"""That takes some ten seconds, which are twice as many rounds of probes as at the usual pace."""


def alone(folder: Path, *options: str) -> Node:
    """An agent that knows nobody."""
    return Node(program="mesh-agent", name="agent-1", folder=folder / "agent-1", options=[*OPTIONS, *options])


# Who is not who he says


async def test_a_second_member_with_a_name_goes_and_the_first_one_stays(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=2, options=OPTIONS) as cluster:
        story = Story(cluster)
        await story.agrees()
        seeds = ("-retry-join", cluster.servers[0].gossip_address)
        twin = Node(
            program="mesh-agent", name=cluster.agents[0].name, folder=tmp_path / "twin", options=[*OPTIONS, *seeds]
        )
        other = Node(
            program="mesh-server", name=cluster.servers[1].name, folder=tmp_path / "other", options=[*OPTIONS, *seeds]
        )
        try:
            twin.start()
            places = f"known={cluster.agents[0].gossip_address} other={twin.gossip_address}"
            await cluster.servers[0].wait_log(f"two members have the same name pool=lan name={twin.name} {places}")
            other.start()
            text = f"==> another member has the name '{twin.name}', and the others side with it"
            assert text in await end_badly(twin)
            await other.wait_log("our name is used by another member")
            for node in cluster.nodes:
                assert node.running, node.log_tail()
            other.kill()
            await story.agrees()
        finally:
            twin.close()
            other.close()
        assert_no_tracebacks(cluster.nodes)


async def test_a_copied_node_id_is_refused_by_its_second_holder_or_at_the_latest_by_the_catalog(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=1, options=OPTIONS) as cluster:
        story = Story(cluster)
        await story.agrees()
        (server,), (agent,) = cluster.servers, cluster.agents
        node_id = (agent.data_dir / "node-id").read_text(encoding="ascii").strip()
        copy = lone("mesh-agent", "copy", cluster, "-node-id", node_id, "-retry-join", server.gossip_address)
        try:
            copy.start()
            await copy.wait_log(f"Member '{agent.name}' has conflicting node ID '{node_id}' with this agent's ID")
            assert await statuses(copy) == {"copy": ALIVE}
            await story.agrees()  # nobody has heard of it
        finally:
            copy.close()
        tags = {**client_tags(), "id": node_id}
        with ForeignMember("careless", tags) as careless:  # does not mind
            await beside(careless.join, server.gossip_address)
            await server.wait_log(f'node \\"careless\\" aliases existing node \\"{agent.name}\\"')
        await wait_members([server], {**story.statuses, "careless": FAILED})
        await mesh(server, "force-leave", "-prune", "careless")
        await story.agrees()


async def test_a_member_of_another_datacenter_stays_outside(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=1, options=OPTIONS) as cluster:
        story = Story(cluster)
        await story.agrees()
        (server,) = cluster.servers
        stranger = lone("mesh-agent", "stranger", cluster, "-datacenter", "dc2", "-retry-join", server.gossip_address)
        try:
            stranger.start()
            await stranger.wait_log(f"Member '{server.name}' part of wrong datacenter 'dc1'")
            assert await statuses(stranger) == {"stranger": ALIVE}
            await story.agrees()
        finally:
            stranger.close()


async def test_who_claims_to_be_a_server_without_a_servers_certificate_is_a_node_like_any_other(tmp_path: Path) -> None:
    made = certificates(tmp_path / "tls")
    cluster = Cluster(tmp_path, servers=3, agents=1, options=OPTIONS)
    for node in cluster.nodes:
        node.options += block(made, "server" if node in cluster.servers else "client")
    impostor = lone("mesh-server", "impostor", cluster, *block(made, "client"))
    impostor.options += ["-retry-join", cluster.servers[0].gossip_address]
    try:
        async with cluster:
            story = Story(cluster)
            await story.agrees()
            impostor.start()
            leader = await cluster.leader()
            await leader.wait_log(f"no answer from a server server={impostor.name} address={impostor.rpc_address}")
            assert "certificate verify failed: Hostname mismatch" in leader.log_text()
            story.statuses[impostor.name] = ALIVE
            await story.agrees()

            async def services(name: str) -> list[str]:
                found = (await leader.request("GET", f"/v1/catalog/node/{name}")).json()
                return sorted(found["Services"])

            assert await services(impostor.name) == []
            assert await services(leader.name) == ["consul"]
            health = (await leader.request("GET", "/v1/operator/autopilot/health")).json()
            assert sorted(row["Name"] for row in health["Servers"]) == sorted(story.voters)
            for number in range(20):  # the agent turns to it as well, and finds out
                await write(cluster.agents[0], f"k{number}")
            await wait_members([impostor], story.statuses)
            assert (await impostor.request("GET", "/v1/status/peers")).json() == []
            assert_no_tracebacks([*cluster.nodes, impostor])
    finally:
        impostor.close()


# Networks


async def test_half_of_all_packets_lost_and_a_partition_that_heals_leave_everybody_alive(tmp_path: Path) -> None:
    seed = 4
    async with opened("links", random.Random(seed)) as network:
        cluster = Cluster(tmp_path, servers=3, agents=2, network=network, options=CALM)
        async with cluster:
            story = Story(cluster)
            await story.agrees()
            everywhere = [
                (one.name, other.name) for one in cluster.nodes for other in cluster.nodes if one is not other
            ]
            await network.lose(everywhere, share=0.5)

            async def lost_count() -> int:
                return count(await network.effects(), ["lost"])

            await wait_for("lost packets", lost_count, lambda seen: seen >= LOST_COUNT)
            print(f"{await lost_count()} packets were lost")
            await network.heal()
            await story.agrees()
            far = [cluster.servers[0], cluster.agents[0]]
            near = [node for node in cluster.nodes if node not in far]
            cut = [(one.name, other.name) for one in far for other in near]
            await network.cut([*cut, *((other, one) for one, other in cut)])
            await wait_members(near, {**story.statuses, **dict.fromkeys(names(far), FAILED)})
            await wait_members(far, {**story.statuses, **dict.fromkeys(names(near), FAILED)})
            await network.heal()
            # They would find each other within a minute or so; an operator need not wait.
            await mesh(far[0], "join", near[0].gossip_address)
            await story.agrees()
            assert_no_tracebacks(cluster.nodes)


# Files


async def test_a_damaged_snapshot_stops_nobody(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=1, options=OPTIONS) as cluster:
        story = Story(cluster)
        await story.agrees()
        (agent,) = cluster.agents
        snapshot = agent.data_dir / "serf" / "local.snapshot"
        agent.kill()
        snapshot.write_bytes(b"alive: \xff\xfe nowhere\n" + random.Random(5).randbytes(100_000))
        agent.start()
        await story.became(ALIVE, agent)
        agent.kill()
        snapshot.unlink()
        snapshot.mkdir()
        agent.start()
        await agent.wait_log("members of before are not known")
        await story.became(ALIVE, agent)
        await agent.wait_log("cannot write a file of gossip")
        assert_no_tracebacks(cluster.nodes)


async def test_a_damaged_keyring_refuses_the_start_and_is_named(tmp_path: Path) -> None:
    agent = alone(tmp_path, "-encrypt", KEY)
    keyring = agent.data_dir / "serf" / "local.keyring"
    keyring.parent.mkdir(parents=True)
    keyring.write_text('["AQEBAQ')
    try:
        agent.start()
        assert f"==> {keyring}: a keyring file must be a JSON list of keys" in await end_badly(agent)
        assert keyring.read_text() == '["AQEBAQ'
    finally:
        agent.close()


async def test_a_full_disk_costs_gossip_its_memory_and_nothing_else(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=2, options=[*OPTIONS, "-encrypt", KEY]) as cluster:
        story = Story(cluster)
        await story.agrees()
        agent = cluster.agents[0]
        snapshot = agent.data_dir / "serf" / "local.snapshot"
        await until("its memory", snapshot.exists)  # the disk's own thread writes it in its own time
        snapshot.unlink()
        snapshot.symlink_to("/dev/full")
        cluster.agents[1].kill()
        await story.became(FAILED, cluster.agents[1])
        await agent.wait_log("No space left on device")
        cluster.agents[1].start()
        await story.became(ALIVE, cluster.agents[1])
        assert agent.log_text().count("cannot write a file of gossip") == 1
        snapshot.unlink()
        await mesh(agent, "event", "-name=anything")
        await agent.wait_log("a file of gossip is written again")
        assert_no_tracebacks(cluster.nodes)


# Addresses


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
async def test_a_gossip_port_in_use_is_named_when_the_start_fails(tmp_path: Path, kind: socket.SocketKind) -> None:
    agent = alone(tmp_path)
    with socket.socket(socket.AF_INET, kind) as taken:
        if kind == socket.SOCK_STREAM:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", agent.gossip_port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        try:
            agent.start()
            said = await end_badly(agent)
        finally:
            agent.close()
    assert f"==> cannot listen for gossip on {agent.gossip_address}: Address already in use" in said


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["-join"], "cannot join the LAN: {nowhere}: "),
        (
            ["-retry-max", "2", "-retry-interval", "10ms", "-retry-join"],
            "max join LAN retry exhausted, exiting: {nowhere}: ",
        ),
    ],
    ids=["start_join", "retry_join"],
)
async def test_who_must_join_and_finds_nobody_ends_with_the_reason(
    tmp_path: Path, options: list[str], text: str
) -> None:
    nobody = alone(tmp_path / "nobody")
    agent = alone(tmp_path, *options, nobody.gossip_address)
    try:
        agent.start()
        said = await end_badly(agent)
    finally:
        agent.close()
        nobody.close()
    assert text.format(nowhere=nobody.gossip_address) in said
    assert "onnection refused" in said
