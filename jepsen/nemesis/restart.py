"""Restarts as an upgrade makes them: one server after the other, told to stop and started again, the leader too."""

import random

import trio

from jepsen.cluster import Cluster, Node
from jepsen.nemesis import peers, targets
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.nemesis.processes import KILLED, RECOVERY_S, down, start_all

CAUGHT_UP_TIMEOUT_S = 10.0
"""The next server's turn comes when the last one has what the leader had, at the latest after so long."""
POLL_S = 0.1


class RestartRolling(Fault):
    """All servers in a drawn order; the next one's turn comes when the last one has caught up."""

    name = "restart-rolling"
    package = "restart"
    description = "one server after the other is stopped (SIGTERM) and started again, the leader among them"
    hold_s = (0.5, 1.5)
    recovery_s = RECOVERY_S

    def __init__(self) -> None:
        self._restarted: dict[str, tuple[int, int, int]] = {}
        """Name -> pid before, exit code, pid after."""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._restarted = {}
        leader = await targets.find_leader(cluster)
        order = rng.sample(cluster.servers, len(cluster.servers))
        for server in order:
            if not targets.healthy([server]):
                raise NotInjected(f"{server.name} does not run")
            pid = server.pid
            code = await server.stop()
            server.start()
            await server.wait_answering()
            await self._wait_caught_up(cluster, server)
            self._restarted[server.name] = (pid, code, server.pid)
        leads = f", which began with {leader.name} as leader" if leader is not None else ""
        return Injection(
            what=f"{targets.names(order)} restarted one after the other{leads}",
            nodes=[server.name for server in order],
        )

    async def _wait_caught_up(self, cluster: Cluster, server: Node) -> None:
        """Wait until it has what the leader had in the beginning; raises NotInjected."""
        wanted_index = None
        with trio.move_on_after(CAUGHT_UP_TIMEOUT_S):
            while True:
                rows = await peers.configuration(cluster)
                if wanted_index is None and any(row.leader for row in rows):
                    wanted_index = max(row.last_index for row in rows)
                row = peers.at(rows, server)
                if wanted_index is not None and row is not None and row.last_index >= wanted_index:
                    return
                await trio.sleep(POLL_S)
        raise NotInjected(f"{server.name} did not catch up within {CAUGHT_UP_TIMEOUT_S:g} s")

    async def evidence(self, cluster: Cluster) -> str:
        for name, (before, code, after) in self._restarted.items():
            if before == after or code == KILLED:
                raise NotInjected(f"{name} was not stopped in good order: exit code {code}")
        if len(self._restarted) != len(cluster.servers):
            raise NotInjected("not every server was restarted")
        return "new pids: " + ", ".join(f"{name} {after}" for name, (_, _, after) in self._restarted.items())

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        await start_all(down(cluster))
