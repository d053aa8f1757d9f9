"""A cluster of a few up to thousands of real gossip machines that has been together for a while, and its ledger.

It is not joined member by member, which would take longer than all that is to be seen in it: everybody is given the
records that it would have in the end. Everything is decided by the seed, whatever PYTHONHASHSEED is.
"""

import copy
import heapq
import random
from collections.abc import Callable, Sequence
from typing import Final

from gossip.config import LAN, Timing
from gossip.exchanges import interval_of
from gossip.instructions import Log, MembersChanged
from gossip.layers import Node, State
from gossip.roster import Known
from tests.sim.gossip.ledger import Ledger
from tests.sim.gossip.links import Links
from tests.sim.gossip_world import GossipWorld, SimMember

TAGS: Final = {
    "role": "node",
    "dc": "dc1",
    "id": "adf4238a-882b-9ddc-4a9d-5b6758e4159e",
    "build": "1.2.1:39f93f01",
    "vsn": "2",
    "vsn_min": "2",
    "vsn_max": "3",
    "segment": "",
}
"""What an agent says of itself; one id for all, so that the bytes are as many as in real life and can be shared."""
STALL_S_MIN, STALL_S_MAX = 0.5, 10.0
"""How long a slow member stands still, and how long it runs in between: both drawn evenly from this."""
STEP_S: Final = 0.1


class Crowd(GossipWorld):
    """See the module. Members are "n0", "n1" and so on."""

    def __init__(
        self,
        *,
        seed: int,
        nodes_count: int,
        lifeguard: bool = True,
        timing: Timing = LAN,
        loss: float = 0.0,
        slow_share: float = 0.0,
        deaf: bool = False,
        formed: bool = True,
    ) -> None:
        """`slow_share` of the members stall again and again or, if `deaf`, hear everything late.

        `formed` False: nobody runs yet, and nobody knows anybody else.
        """
        super().__init__(seed=seed, timing=timing, keeps_heard=False)
        self.born_s = self.now_s
        self.chance = random.Random(f"{seed}/plan")
        self.links = Links(seed, loss)
        self.latency_s = self.links.latency_s
        self.stream_delay_s = self.links.stream_delay_s
        self.lost = self.links.lost
        self.lifeguard = lifeguard
        self._plan: list[tuple[float, int, Callable[[], None]]] = []
        names = [f"n{number}" for number in range(nodes_count)]
        slow = self.chance.sample(names, round(nodes_count * slow_share))
        self.ledger = Ledger(frozenset(slow))
        self._actions[Log] = lambda member, log: self.ledger.logged(self.now_s, member, log)
        self._actions[MembersChanged] = lambda member, change: self.ledger.changed(self.now_s, member, change)
        for name in names:
            self.enter(name, starts=formed)
        if formed:
            form(list(self.members.values()), self.now_s, self.chance)
        if deaf:
            self.links.deaf = dict.fromkeys(slow)
        else:
            for name in slow:
                self._run_slowly(self.members[name])

    def enter(self, name: str, *, starts: bool = True) -> SimMember:
        """Put another member there, which knows nobody."""
        return self.add(name, tags=TAGS, lifeguard=self.lifeguard, starts=starts)

    def living(self) -> list[SimMember]:
        """Return everybody that runs."""
        return [member for member in self.members.values() if member.running]

    def healthy(self) -> list[SimMember]:
        """Return everybody that runs and is not slow."""
        return [member for member in self.living() if member.name not in self.ledger.slow]

    # What happens when

    def plan(self, at_s: float, action: Callable[[], None]) -> None:
        """Do something at that time."""
        self._number += 1
        heapq.heappush(self._plan, (at_s, self._number, action))

    def run_to(self, end_s: float) -> None:
        """Let time pass, and do what was planned meanwhile."""
        while self._plan and self._plan[0][0] <= end_s:
            at_s, _, action = heapq.heappop(self._plan)
            self._run_to(max(at_s, self.now_s))
            action()
        self._run_to(end_s)

    def run(self, seconds: float) -> None:
        """See run_to."""
        self.run_to(self.now_s + seconds)

    def seconds_until(self, condition: Callable[[], bool], *, within_s: float) -> float | None:
        """Let time pass until `condition` holds; return how long that took, None if it never did."""
        began_s = self.now_s
        while not condition():
            if self.now_s - began_s >= within_s:
                return None
            self.run(STEP_S)
        return self.now_s - began_s

    def kill_one(self) -> None:
        """End one healthy member without a word."""
        member = self.chance.choice(self.healthy())
        self.kill(member)
        self.ledger.killed(self.now_s, member.name)

    def _run_slowly(self, member: SimMember) -> None:
        running_s = self.chance.uniform(STALL_S_MIN, STALL_S_MAX)
        stalled_s = self.chance.uniform(STALL_S_MIN, STALL_S_MAX)

        def begin() -> None:
            if member.running:
                self.stall(member, stalled_s)
                self._run_slowly(member)

        self.plan(max(self.now_s, member.stalled_until_s) + running_s, begin)

    # What is believed

    def knows_all(self, member: SimMember) -> bool:
        """Whether it knows as many as there are."""
        return len(nodes_of(member)) >= len(self.members)

    def disagreements(self, viewers: Sequence[SimMember] | None = None) -> list[str]:
        """Return in what records of the living are not what those say of themselves; of some viewers, or of all."""
        living = self.living()
        found = []
        for about in living:
            own = nodes_of(about)[about.name]
            for viewer in living if viewers is None else viewers:
                seen = nodes_of(viewer).get(about.name)
                if seen is None or seen.state is not State.ALIVE or seen.incarnation != own.incarnation:
                    state = "unknown" if seen is None else f"{seen.state.name.lower()} {seen.incarnation}"
                    found.append(f"{viewer.name}: {about.name} {state} instead of alive {own.incarnation}")
        return found


def nodes_of(member: SimMember) -> dict[str, Node]:
    """Return a member's records, by name."""
    return member.machine._swim._members.nodes


def form(members: list[SimMember], now_s: float, rng: random.Random) -> None:
    """Give everybody the records of all, as if they had joined one after the other long ago."""
    records = [nodes_of(member)[member.name] for member in members]
    for member in members:
        swim, serf = member.machine._swim, member.machine._serf
        table, roster = swim._members, serf.roster
        for time, record in enumerate(records, start=1):
            node = table.local if record.name == member.name else copy.copy(record)
            table.nodes[record.name] = node
            known = roster.known[record.name] = Known(node)
            known.status_time = time
            serf._snapshotter._alive[record.name] = record.address
        table._order = list(table.nodes.values())
        rng.shuffle(table._order)
        table.alive_count = len(records)
        serf._clock.witness(len(records))
        # The first exchange was set for a lone member, who compares tables more often.
        interval_s = interval_of(member.settings.timing.push_pull_interval_s, len(records))
        swim._timers.set("push_pull", now_s + rng.random() * interval_s, swim._exchange)
        roster._members = None
