"""Processes that die without a word: killed by us, or by themselves at a named place of their code."""

import random
from collections.abc import Sequence
from typing import ClassVar

import trio

from base.failpoints import ENVIRONMENT_VARIABLE
from jepsen.cluster import POLL_INTERVAL_S, Cluster, Node
from jepsen.nemesis import targets
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.nemesis.processes import KILLED, RECOVERY_S, down, kill_at_once, require_silent, start_all
from jepsen.nemesis.strike import Strike
from jepsen.nemesis.targets import Share

LATE_S = (1.0, 4.0)
"""How much later the late one starts: the others have elected a leader by then, or just not."""
DEATH_TIMEOUT_S = 4.0
"""How much longer than the hold a server is given to reach the place where it must die."""


class Kill(Strike):
    """Base: some servers are killed at once, and all that are down are started again."""

    package = "kill"
    blow = "SIGKILL"

    def strike(self, victims: Sequence[Node]) -> None:
        kill_at_once(victims)

    async def evidence(self, cluster: Cluster) -> str:
        for node in self._victims:
            if node.exit_code != KILLED:
                raise NotInjected(f"{node.name} has exit code {node.exit_code}, not {KILLED}")
        await require_silent(self._victims)
        if not self._victims:
            raise NotInjected("nobody was killed")
        return f"exit code {KILLED}, no answer: {targets.names(self._victims)}"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        await start_all(down(cluster))


class KillOne(Kill):
    name = "kill-one"
    description = "kill -9 of one server, started again later"


class KillMinority(Kill):
    name = "kill-minority"
    description = "kill -9 of as many servers as the cluster must bear"
    servers_min = 3
    share = Share.MINORITY


class KillMajority(Kill):
    name = "kill-majority"
    description = "kill -9 of a majority at once: nothing may be acknowledged until it is back"
    servers_min = 3
    share = Share.MAJORITY


class KillAll(Kill):
    name = "kill-all"
    description = "kill -9 of all servers at once; one is started later than the others"
    hold_s = (0.5, 3.0)
    share = Share.ALL

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        servers = [node for node in down(cluster) if node in cluster.servers]
        if len(servers) > 1:
            late = targets.choose(servers, 1, rng)[0]
            late_s = rng.uniform(*LATE_S)
            for server in servers:
                if server is not late:
                    server.start()
            await trio.sleep(late_s)
        await start_all(servers)
        await start_all(down(cluster))


class KillLeader(Kill):
    name = "kill-leader"
    description = "kill -9 of the leader"
    servers_min = 3

    async def choose(self, cluster: Cluster, rng: random.Random) -> list[Node]:
        return [await targets.the_leader(cluster)]


class KillAgent(Kill):
    name = "kill-agent"
    agents_min = 1
    description = "kill -9 of a client agent: its clients lose it, nobody else anything"

    async def choose(self, cluster: Cluster, rng: random.Random) -> list[Node]:
        return [targets.an_agent(cluster, rng)]


class KillFailpoint(Fault):
    """One server is restarted so that it kills itself at a drawn place of its code, at the N-th pass."""

    name = "kill-failpoint"
    package = "kill"
    description = "one server kills itself before or after a write or a sync of its log, at a drawn pass"
    hold_s = (3.0, 6.0)
    recovery_s = RECOVERY_S
    places: ClassVar[tuple[str, ...]] = (
        "driver.after_sync",
        "driver.before_sync",
        "journal.after_sync",
        "journal.after_write",
        "journal.before_sync",
        "journal.before_write",
    )
    """Places that every write passes."""
    pass_number_max: ClassVar[int] = 60
    """Some passes belong to the start; under load there are dozens a second."""

    def __init__(self) -> None:
        self._victim: Node | None = None
        self._pid = 0
        self._place = ""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._victim = None
        place, number = rng.choice(self.places), rng.randint(1, self.pass_number_max)
        victim = targets.some(cluster, Share.ONE, rng)[0]
        victim.kill()
        specification = f"{place}=exit@{number}"
        victim.start(environment={ENVIRONMENT_VARIABLE: specification})
        self._victim, self._pid, self._place = victim, victim.pid, place
        return Injection(what=f"{victim.name} restarted with {specification}", nodes=[victim.name])

    async def evidence(self, cluster: Cluster) -> str:
        victim = self._victim
        if victim is None:
            raise NotInjected("no server was armed")
        with trio.move_on_after(DEATH_TIMEOUT_S):
            while victim.running:  # noqa: ASYNC110  another process cannot set an event of ours
                await trio.sleep(POLL_INTERVAL_S)
        if victim.pid != self._pid:
            raise NotInjected(f"{victim.name} was started again by somebody else")
        if victim.running:
            raise NotInjected(f"{victim.name} never came to {self._place} often enough")
        if victim.exit_code != KILLED:
            raise NotInjected(f"{victim.name} has exit code {victim.exit_code}, not {KILLED}")
        return f"{victim.name} died by itself at {self._place}, exit code {KILLED}"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        victim, self._victim = self._victim, None
        if victim is not None and victim.running and victim.pid == self._pid:
            victim.kill()  # it is still armed
        await start_all(down(cluster))
