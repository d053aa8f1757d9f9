"""Snapshots taken and installed all the time, with thresholds so small that the log hardly reaches back.

Servers take one at most once a second. A leader that has sent one takes none for half a minute, because the
receiver will ask for the log behind it; where that stands in the way, the leadership is handed on.
"""

import random
from typing import ClassVar

import trio

from base.failpoints import ENVIRONMENT_VARIABLE
from jepsen.cluster import Cluster, Node
from jepsen.http_client import NotAnswered, NotSent
from jepsen.nemesis import peers, targets
from jepsen.nemesis.kill import KillFailpoint
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.nemesis.processes import KILLED, RECOVERY_S, LogMark, down, is_stopped, start_all, wait_all_answering

TRAILING_COUNT = 16
OPTIONS = (
    "-hcl",
    f'raft_snapshot_threshold = 32 raft_trailing_logs = {TRAILING_COUNT} raft_snapshot_interval = "100ms"',
)
TAKEN = "snapshot taken"
INSTALLED = "snapshot installed"
"""As the servers' logs say it."""
PASS_TIMEOUT_S = 25.0
"""Under load a server takes a snapshot every second or two, unless it has sent one lately."""
LINK_DEAD_S = 7.0
"""Servers give up a silent link after 6 s; until then entries gather in the kernel's buffers of one that is stopped."""
INSTALL_TIMEOUT_S = 10.0
STUCK_S = 3.0
"""A leader that has taken none for so long has sent one lately."""
POLL_S = 0.1


class SnapshotForced(Fault):
    """Nothing is broken: servers take snapshots and cut their logs as often as they can."""

    name = "snapshot-forced"
    package = "snapshot"
    description = "servers take a snapshot every second and cut their log right behind it"
    options = OPTIONS
    hold_s = (3.0, 6.0)
    recovery_s = 1.0
    """Nobody is disturbed."""

    def __init__(self) -> None:
        self._marks: list[LogMark] = []

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._marks = [LogMark(server) for server in cluster.servers]
        names = [server.name for server in cluster.servers]
        return Injection(what=f"{', '.join(names)} take snapshots all the time", nodes=names)

    async def evidence(self, cluster: Cluster) -> str:
        counts = {mark.node.name: mark.count(TAKEN) for mark in self._marks}
        if not any(counts.values()):
            raise NotInjected("nobody took a snapshot")
        return "snapshots taken: " + ", ".join(f"{name} {count}" for name, count in counts.items())

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        """Nothing is broken."""


class SnapshotKilled(KillFailpoint):
    """See KillFailpoint."""

    name = "snapshot-killed"
    package = "snapshot"
    description = "a server kills itself in the middle of taking a snapshot"
    options = OPTIONS
    hold_s = (3.0, 5.0)
    places = (
        "snapshot.after_meta",
        "snapshot.after_rename",
        "snapshot.after_state_sync",
        "snapshot.before_rename",
        "snapshot.before_state_sync",
        "snapshot.copied",
    )
    pass_number_max = 2


class SnapshotInstall(Fault):
    """A follower is away until the leader's log has passed it; back again it must fetch a snapshot, under load."""

    name = "snapshot-install"
    package = "snapshot"
    description = "a follower is killed until the leader's log has passed it: it must fetch a snapshot"
    options = OPTIONS
    servers_min = 3
    hold_s = (1.0, 3.0)
    recovery_s = RECOVERY_S
    is_killed: ClassVar[bool] = True
    """Or stopped: then it still holds what it knew."""
    places: ClassVar[tuple[str, ...]] = ()
    """Where it must die by itself while it installs; at none of them by default."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._mark: LogMark | None = None
        self._pid = 0

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._mark = None
        if len(targets.healthy(cluster.servers)) < self.servers_min:
            raise NotInjected("no follower can be spared")
        node = self._node = await targets.a_follower(cluster, rng)
        if self.is_killed:
            node.kill()
        else:
            node.pause()
            await trio.sleep(LINK_DEAD_S)
        rows = await peers.configuration(cluster)
        if not rows:
            raise NotInjected("nobody says how far the log has come")
        index = await self._wait_passed(cluster, max(row.last_index for row in rows))
        self._mark = LogMark(node)
        place = rng.choice(self.places) if self.places else ""
        if self.is_killed:
            node.start(environment={ENVIRONMENT_VARIABLE: f"{place}=exit"} if place else {})
        else:
            node.resume()
        self._pid = node.pid
        how = "killed" if self.is_killed else "stopped"
        armed = f", to die at {place}" if place else ""
        what = f"{node.name} {how} until the leader's log began at {index - TRAILING_COUNT}, then brought back{armed}"
        return Injection(what=what, nodes=[node.name])

    async def _wait_passed(self, cluster: Cluster, follower_index: int) -> int:
        """Wait until the leader has cut its log above `follower_index`; returns its snapshot's index."""
        snapshot_index, stuck_since_s = 0, trio.current_time()
        with trio.move_on_after(PASS_TIMEOUT_S):
            while snapshot_index - TRAILING_COUNT <= follower_index:
                await trio.sleep(POLL_S)
                leader = await targets.the_leader(cluster)
                now_index = await _snapshot_index(leader)
                if now_index != snapshot_index:
                    snapshot_index, stuck_since_s = now_index, trio.current_time()
                elif trio.current_time() - stuck_since_s > STUCK_S:
                    await _hand_over(cluster, leader)
                    stuck_since_s = trio.current_time()
            return snapshot_index
        raise NotInjected(
            f"the leader's snapshot at {snapshot_index} did not pass {follower_index} within {PASS_TIMEOUT_S:g} s"
        )

    async def evidence(self, cluster: Cluster) -> str:
        node, mark = self._node, self._mark
        if node is None or mark is None:
            raise NotInjected("nobody was left behind")
        with trio.move_on_after(INSTALL_TIMEOUT_S):
            while not self._is_over(node, mark):  # noqa: ASYNC110  another process cannot set an event of ours
                await trio.sleep(POLL_S)
        if node.pid != self._pid or not self._is_over(node, mark):
            raise NotInjected(f"{node.name} did not come to the end of an installation")
        if self.places:
            return f"{node.name} died by itself while it installed a snapshot, exit code {KILLED}"
        return f"{node.name} installed {mark.count(INSTALLED)} snapshot(s)"

    def _is_over(self, node: Node, mark: LogMark) -> bool:
        return node.exit_code == KILLED if self.places else mark.count(INSTALLED) > 0

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        if is_stopped(node):
            node.resume()
        if self.places and node.running:
            node.kill()  # it may still be armed
        await start_all(down(cluster))
        await wait_all_answering([node])


class SnapshotInstallPaused(SnapshotInstall):
    name = "snapshot-install-paused"
    description = "a follower is stopped (SIGSTOP) until the leader's log has passed it: it must fetch a snapshot"
    is_killed = False


class SnapshotInstallKilled(SnapshotInstall):
    name = "snapshot-install-killed"
    description = "a follower that must fetch a snapshot kills itself in the middle of installing it"
    places = (
        "snapshot.after_meta",
        "snapshot.after_rename",
        "snapshot.after_state_sync",
        "snapshot.before_rename",
        "snapshot.before_state_sync",
        "snapshot.prepared",
    )


async def _hand_over(cluster: Cluster, leader: Node) -> None:
    """Give the leadership to another server that runs, if there is one and it takes it."""
    running = {server.rpc_address for server in targets.healthy(cluster.servers) if server is not leader}
    for row in await peers.configuration(cluster):
        if row.address in running and await peers.transfer_leader(cluster, row.server_id):
            return


async def _snapshot_index(server: Node) -> int:
    """The index of the server's newest snapshot, 0 where it does not say."""
    try:
        reply = await server.request("GET", "/v1/agent/self", timeout_s=2.0)
    except (NotSent, NotAnswered):
        return 0
    return int(reply.json()["Stats"]["raft"]["last_snapshot_index"]) if reply.status == 200 else 0
