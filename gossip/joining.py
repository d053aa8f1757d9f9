"""Sans-IO: how we get in: through addresses that we are told, or through those of an earlier life.

Source: wire format, sections 8.1 and 8.7; gossip specification, section 10.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from gossip.context import Context
from gossip.instructions import Address, Finished, JoinResult
from gossip.roster import Roster
from gossip.snapshot import Snapshotter, address_text

EXCHANGES_AT_ONCE_MAX = 4
"""One address that does not answer takes seconds: the others need not wait for it, nor need all be asked at once."""
REJOIN_PAUSE_S = 0.1
"""Between two members of an earlier life. There may be thousands, and none of them there any more."""


class _Join:
    """One operation."""

    def __init__(self, operation: int, addresses: list[Address]) -> None:
        self.operation = operation
        self.waiting = deque(dict.fromkeys(addresses))
        self.under_way_count = 0
        self.contacted_count = 0
        self.errors: dict[str, str] = {}
        self.starting = False


class Joining:
    """Joins under way. `announce` tells everybody that we are here to stay."""

    def __init__(
        self, context: Context, roster: Roster, snapshotter: Snapshotter, announce: Callable[[float], None]
    ) -> None:
        self._context = context
        self._roster = roster
        self._snapshotter = snapshotter
        self._announce = announce
        self.under_way_count = 0
        """Joins that were asked for; while there are any, user events of before are not delivered."""
        self._previous: list[tuple[str, Address]] = []
        self._untried: list[tuple[str, Address]] = []
        self._swept = False
        """All members of the earlier life were tried once."""

    def join(self, now_s: float, operation: int, addresses: list[Address]) -> None:
        """Exchange tables with whoever is at each of these addresses."""
        join = _Join(operation, addresses)
        if self._roster.leaving:
            join.errors = {address_text(address): "this member is leaving" for address in join.waiting}
            join.waiting.clear()
        self.under_way_count += 1
        self._go_on(now_s, join)

    def _go_on(self, now_s: float, join: _Join) -> None:
        if join.starting:
            return  # an exchange that failed at once: the loop below goes on by itself
        join.starting = True
        while join.waiting and join.under_way_count < EXCHANGES_AT_ONCE_MAX:
            address = join.waiting.popleft()
            join.under_way_count += 1
            done = partial(self._exchanged, join, address)
            self._context.lower.push_pull(now_s, address, join=True, done=done)
        join.starting = False
        if not join.under_way_count:
            self.under_way_count -= 1
            result = JoinResult(contacted_count=join.contacted_count, errors=join.errors)
            self._context.out.append(Finished(operation=join.operation, result=result))

    def _exchanged(self, join: _Join, address: Address, now_s: float, error: str) -> None:
        join.under_way_count -= 1
        if error:
            join.errors[address_text(address)] = error
        else:
            join.contacted_count += 1
            if join.contacted_count == 1:
                self._announce(now_s)
        self._go_on(now_s, join)

    # Back into the cluster of an earlier life

    def rejoin(self, now_s: float, previous: dict[str, Address]) -> None:
        """Try the members that a snapshot lists, in random order, until one answers.

        If none does, one of them is tried now and then for as long as we are alone: they may be starting, too.
        """
        local = self._context.lower.local
        self._previous = [
            (name, address) for name, address in previous.items() if name != local.name and address != local.address
        ]
        self._start_over()
        if self._untried:
            self._try_previous(now_s)

    def _start_over(self) -> None:
        self._untried = list(self._previous)
        self._context.rng.shuffle(self._untried)

    def _try_previous(self, now_s: float) -> None:
        if self._roster.leaving or self._context.lower.alive_count > 1:
            return  # an operator's join was faster
        if not self._untried:
            self._start_over()
        name, address = self._untried.pop()
        done = partial(self._tried, name, address)
        self._context.lower.push_pull(now_s, address, join=True, done=done)

    def _tried(self, name: str, address: Address, now_s: float, error: str) -> None:
        if not error:
            self._context.log("info", "rejoined", member=name, address=address_text(address))
            self._announce(now_s)
            self._snapshotter.keep_only(now_s, self._context.lower.nodes)
            return
        self._context.log("debug", "not rejoined", member=name, address=address_text(address), why=error)
        if not self._untried and not self._swept:
            self._swept = True
            self._context.log("warn", "none of the members known before could be reached")
        pause_s = self._context.settings.timing.reconnect_interval_s if self._swept else REJOIN_PAUSE_S
        self._context.timers.set("rejoin", now_s + pause_s, self._try_previous)
