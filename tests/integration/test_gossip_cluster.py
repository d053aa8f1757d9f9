"""Real servers and agents: deaths, returns, farewells and keys, and everybody agrees each time."""

import base64
from functools import partial
from pathlib import Path

import trio

from jepsen.cluster import Cluster, Node
from tests.integration.gossip_story import (
    ALIVE,
    CALM,
    FAILED,
    LEFT,
    OPTIONS,
    STATUS_WORDS,
    Story,
    assert_no_tracebacks,
    keyring_file,
    listed,
    lone,
    mesh,
    names,
    statuses,
    wait_for,
    write,
)

DEAD_STAY = ("-hcl", "autopilot { cleanup_dead_servers = false }")
"""So that a story says itself when a dead server is to be forgotten."""

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
"""Keys of gossip."""


def without_joins(options: list[str]) -> list[str]:
    """The options of a node that is told of nobody."""
    kept = list(options)
    while "-retry-join" in kept:
        position = kept.index("-retry-join")
        del kept[position : position + 2]
    return kept


async def test_who_dies_fails_everywhere_and_who_returns_or_is_forced_out_is_seen_everywhere(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=5, agents=5, options=[*OPTIONS, *DEAD_STAY]) as cluster:
        story = Story(cluster)
        agent, other = cluster.agents[0], cluster.agents[1]
        await story.agrees()

        agent.kill()
        await story.became(FAILED, agent)
        follower = await story.another_server()
        follower.kill()
        await story.became(FAILED, follower)
        words = {name: STATUS_WORDS[status] for name, status in story.statuses.items()}
        assert await listed(other) == words
        assert set(await listed(other, "-status=failed")) == {agent.name, follower.name}

        agent.options, before = without_joins(agent.options), agent.options
        agent.start()  # finds its way back by its snapshot alone
        follower.start()
        await story.became(ALIVE, agent, follower)
        agent.options = before

        leader = await cluster.leader()
        leader.kill()
        await write(other, "without-the-leader")
        await story.became(FAILED, leader)
        leader.start()
        await story.became(ALIVE, leader)

        agent.kill()
        dead = await story.another_server(leader)
        dead.kill()
        await story.became(FAILED, agent, dead)
        assert (await mesh(other, "force-leave", agent.name)).out == ""
        story.voters.discard(dead.name)
        await mesh(await story.another_server(), "force-leave", dead.name)
        await story.became(LEFT, agent, dead)
        agent.start()
        dead.start()
        story.voters.add(dead.name)
        await story.became(ALIVE, agent, dead)

        await distances_are_known(leader, other)
        assert_no_tracebacks(cluster.nodes)


async def distances_are_known(one: Node, other: Node) -> None:
    """The command line can tell how far two nodes are, once both have sent where they are."""

    async def asked() -> str:
        said = await mesh(other, "rtt", one.name, expect=None)
        return said.out if said.code == 0 else said.err

    await wait_for("a round trip", asked, lambda seen: seen.startswith(f"Estimated {one.name} <-> {other.name} rtt: "))


async def test_who_leaves_is_gone_from_catalog_and_group_and_comes_back_from_the_same_disk(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=5, agents=5, options=[*OPTIONS, *DEAD_STAY]) as cluster:
        story = Story(cluster)
        await story.agrees()
        leaver, follower = cluster.agents[0], await story.another_server()
        async with trio.open_nursery() as nursery:
            for node in (leaver, follower):
                nursery.start_soon(leave, node)
        story.voters.discard(follower.name)
        await story.became(LEFT, leaver, follower)

        leader = await cluster.leader()
        await leave(leader)
        assert "leaving anyway" not in leader.log_text() + follower.log_text()
        story.voters.discard(leader.name)
        await story.became(LEFT, leader)
        assert (await cluster.leader()) is not leader

        for node in (leaver, follower, leader):
            node.start()
        story.voters |= {follower.name, leader.name}
        await story.became(ALIVE, leaver, follower, leader)
        await everybody_hears(cluster, "back")
        assert_no_tracebacks(cluster.nodes)


async def leave(node: Node) -> None:
    assert (await mesh(node, "leave")).out == "Graceful leave complete\n"
    assert await node.wait_exit() == 0


async def everybody_hears(cluster: Cluster, name: str) -> None:
    """A user event of the command line reaches all nodes, once."""
    await mesh(cluster.agents[0], "event", f"-name={name}", "payload")

    async def heard(node: Node) -> list[str]:
        reply = await node.request("GET", f"/v1/event/list?name={name}")
        return [base64.b64decode(row["Payload"]).decode() for row in reply.json()]

    for node in cluster.nodes:
        await wait_for(f"the event at {node.name}", partial(heard, node), ["payload"])


class Watch:
    """Looks at member lists and writes all the while, and keeps what should not have been."""

    def __init__(self, cluster: Cluster, excused: Node) -> None:
        self._cluster = cluster
        self._excused = excused.name
        """It is restarted meanwhile."""
        self.bad: list[str] = []
        self.looks_count = 0
        self.writes_count = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        expected = set(names(self._cluster.nodes))
        task_status.started()
        while True:
            for node in self._cluster.nodes:
                if node.name == self._excused:
                    continue
                seen = await statuses(node)
                wrong = {name: status for name, status in seen.items() if status != ALIVE and name != self._excused}
                if wrong or expected - set(seen):
                    self.bad.append(f"at {node.name}: {seen}")
                self.looks_count += 1
                if (await node.request("PUT", "/v1/kv/load", b"x")).status != 200:
                    self.bad.append(f"no write through {node.name}")
                self.writes_count += 1
            await trio.sleep(0.02)


async def wait_keys(cluster: Cluster, *keys: str) -> None:
    """Wait until the keyring file of every node holds these, primary first, for nobody else to read."""

    async def files() -> list[list[str]]:
        return [keyring_file(node) for node in cluster.nodes]

    await wait_for("the keyring files", files, [list(keys)] * len(cluster.nodes))
    for node in cluster.nodes:
        path = node.data_dir / "serf" / "local.keyring"
        assert path.stat().st_mode & 0o777 == 0o600, path


async def test_keys_are_changed_under_load_and_nobody_drops_out(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=2, options=[*CALM, "-encrypt", OLD]) as cluster:
        story = Story(cluster)
        await story.agrees()
        await wait_keys(cluster, OLD)
        restarted = cluster.agents[1]
        server = await story.another_server()
        watch = Watch(cluster, restarted)
        joiner = lone("mesh-agent", "joiner", cluster, "-encrypt", NEW)
        outdated = lone("mesh-agent", "outdated", cluster, "-encrypt", OLD, "-retry-join", server.gossip_address)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(watch.run)
                await mesh(server, "keyring", f"-install={NEW}")
                await wait_keys(cluster, OLD, NEW)
                restarted.kill()
                await mesh(server, "keyring", f"-use={NEW}", expect=None)  # an error as long as it counts as alive
                assert keyring_file(restarted) == [OLD, NEW]
                restarted.start()
                await use_everywhere(cluster, server, NEW, OLD)
                await join(joiner, server)
                await mesh(server, "keyring", f"-remove={OLD}")
                await wait_keys(cluster, NEW)
                nursery.cancel_scope.cancel()
            assert watch.bad == []
            print(f"watched {watch.looks_count} member lists and {watch.writes_count} writes")
            cluster.agents.append(joiner)
            story.statuses[joiner.name] = ALIVE
            await story.agrees()
            listing = (await mesh(server, "keyring", "-list")).out
            assert listing.split() == f"==> Gathering installed encryption keys... dc1 (LAN): {NEW} [6/6]".split()
            await a_node_with_only_the_old_key_stays_outside(story, outdated, server)
            assert_no_tracebacks(cluster.nodes)
        finally:
            joiner.close()
            outdated.close()


async def use_everywhere(cluster: Cluster, server: Node, key: str, *others: str) -> None:
    """Ask until every node has done it: who is away at that time is not missed where it counts as dead."""

    async def primary_keys() -> list[str]:
        said = await mesh(server, "keyring", f"-use={key}", expect=None)
        assert said.code == 0 or "nodes reported success" in said.err, said
        return [keyring_file(node)[0] for node in cluster.nodes]

    await wait_for("that all use it", primary_keys, [key] * len(cluster.nodes))
    await wait_keys(cluster, key, *others)


async def join(node: Node, member: Node) -> None:
    """Start a node that knows nobody, and make it join through a member."""
    node.start()
    await wait_for("its own member list", partial(statuses, node), {node.name: ALIVE})
    said = await mesh(node, "join", member.gossip_address)
    assert said.out == "Successfully joined cluster by contacting 1 nodes.\n"


async def a_node_with_only_the_old_key_stays_outside(story: Story, outdated: Node, server: Node) -> None:
    outdated.start()
    await outdated.wait_log("join failed")
    await server.wait_log("no installed key opens it")
    said = await mesh(outdated, "join", server.gossip_address, expect=1)
    assert "Error joining address" in said.err
    assert await statuses(outdated) == {outdated.name: ALIVE}
    await story.agrees()
    assert "Traceback" not in outdated.log_text()
