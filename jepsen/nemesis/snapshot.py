"""Snapshots taken and installed all the time, with thresholds so small that the log hardly reaches back.

Servers take one at most once a second. A leader that has sent one takes none for half a minute, because the
receiver will ask for the log behind it; so the leadership is handed on before the next follower is left behind.
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
from jepsen.nemesis.processes import KILLED, LogMark, down, is_stopped, start_all, wait_all_answering

TRAILING_COUNT = 16
OPTIONS = (
    "-hcl",
    f'raft_snapshot_threshold = 32 raft_trailing_logs = {TRAILING_COUNT} raft_snapshot_interval = "100ms"',
)
TAKEN = "snapshot taken"
INSTALLED = "snapshot installed"
"""As the servers' logs say it."""
PASS_TIMEOUT_S = 15.0
"""Under load the leader takes a snapshot every second or two."""
INSTALL_TIMEOUT_S = 10.0
POLL_S = 0.1


class SnapshotForced(Fault):
    """Nothing is broken: servers take snapshots and cut their logs as often as they can."""

    name = "snapshot-forced"
    package = "snapshot"
    description = "servers take a snapshot every second and cut their log right behind it"
    options = OPTIONS
    hold_s = (3.0, 6.0)
    recovery_s = 2.0

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
    hold_s = (1.0, 3.0)
    is_killed: ClassVar[bool] = True
    """Or stopped: then it still holds what it knew."""
    places: ClassVar[tuple[str, ...]] = ()
    """Where it must die by itself while it installs; at none of them by default."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._mark: LogMark | None = None
        self._pid = 0
        self._sender_id = ""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._mark = None
        node = self._node = await self._choose(cluster, rng)
        if self.is_killed:
            node.kill()
        else:
            node.pause()
        row = peers.at(await peers.configuration(cluster), node)
        index = await self._wait_passed(cluster, row.last_index if row is not None else 0)
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

    async def _choose(self, cluster: Cluster, rng: random.Random) -> Node:
        """A follower; the leader then is one that has not sent a snapshot the last time."""
        rows = await peers.configuration(cluster)
        leads = next((row for row in rows if row.leader), None)
        others = [row for row in rows if not row.leader]
        if leads is None or not others or len(rows) < 3:
            raise NotInjected("nobody leads, or no follower can be spared")
        if leads.server_id == self._sender_id:
            chosen = rng.choice(others)
            if not await peers.transfer_leader(cluster, chosen.server_id):
                raise NotInjected(f"{leads.name} did not hand over the leadership")
            leads = chosen
        self._sender_id = leads.server_id
        rest = [server for server in targets.healthy(cluster.servers) if server.rpc_address != leads.address]
        return targets.choose(rest, 1, rng)[0]

    async def _wait_passed(self, cluster: Cluster, follower_index: int) -> int:
        """Wait until the leader has cut its log behind `follower_index`; returns its snapshot's index."""
        snapshot_index = 0
        with trio.move_on_after(PASS_TIMEOUT_S):
            while snapshot_index - TRAILING_COUNT <= follower_index:
                await trio.sleep(POLL_S)
                snapshot_index = await _snapshot_index(await targets.the_leader(cluster))
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


async def _snapshot_index(server: Node) -> int:
    """The index of the server's newest snapshot, 0 where it does not say."""
    try:
        reply = await server.request("GET", "/v1/agent/self", timeout_s=2.0)
    except (NotSent, NotAnswered):
        return 0
    return int(reply.json()["Stats"]["raft"]["last_snapshot_index"]) if reply.status == 200 else 0
