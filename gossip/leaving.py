"""Sans-IO: how somebody goes: we ourselves with farewells, or another one that is told to be gone.

Source: wire format, sections 8.1 and 9.6.
"""

from gossip.clocks import LamportClock
from gossip.context import Context
from gossip.instructions import Finished, Status
from gossip.passing_on import Lane, PassingOn
from gossip.roster import Roster
from gossip.serf_messages import LeaveIntent, encode
from gossip.snapshot import Snapshotter


class Leaving:
    """Farewells of ours, and what an operator says of others."""

    def __init__(
        self, context: Context, roster: Roster, passing_on: PassingOn, clock: LamportClock, snapshotter: Snapshotter
    ) -> None:
        self._context = context
        self._roster = roster
        self._passing_on = passing_on
        self._clock = clock
        self._snapshotter = snapshotter
        self._operations: list[int] = []
        self._left = False
        self._over = False

    def leave(self, now_s: float, operation: int) -> None:
        """Tell everybody that we go, then that we are gone; each is sent its full count, or for a limited time."""
        if self._over:
            self._context.out.append(Finished(operation=operation, result=None))
            return
        self._operations.append(operation)
        if self._roster.leaving:
            return
        self._snapshotter.leave(now_s)
        self._roster.leaving = True
        name = self._context.settings.name
        intent = LeaveIntent(lamport_time=self._clock.stamp(), node=name)
        self._roster.leave_intent(now_s, intent.lamport_time, name)
        if self._context.lower.alive_count <= 1:
            self._be_gone(now_s)
            return
        timeout_s = self._context.settings.timing.broadcast_timeout_s
        self._context.timers.set("leave", now_s + timeout_s, self._give_up)
        self._passing_on.put(now_s, Lane.INTENTS, encode(intent), self._told)

    def _give_up(self, now_s: float) -> None:
        self._context.log("warn", "timeout while waiting for graceful leave")
        self._be_gone(now_s)

    def _told(self, now_s: float) -> None:
        self._context.timers.cancel("leave")
        self._be_gone(now_s)

    def _be_gone(self, now_s: float) -> None:
        if not self._left:
            self._left = True
            self._context.lower.leave(now_s, self._finish)

    def _finish(self, now_s: float) -> None:
        self._over = True
        operations, self._operations = self._operations, []
        self._context.out.extend(Finished(operation=operation, result=None) for operation in operations)

    def force(self, now_s: float, operation: int, name: str, *, prune: bool) -> None:
        """Turn a failed member into one that left, everywhere; with `prune`, forget it here at once.

        A member that is alive will say so itself, and stays.
        """
        known = self._roster.known.get(name)
        if known is not None:
            intent = LeaveIntent(lamport_time=self._clock.stamp(), node=name)
            self._roster.leave_intent(now_s, intent.lamport_time, name)
            if name != self._context.settings.name and self._context.lower.alive_count > 1:
                self._passing_on.put(now_s, Lane.INTENTS, encode(intent))
            if prune and known.status in (Status.LEFT, Status.FAILED):
                self._roster.forget(name)
        self._context.out.append(Finished(operation=operation, result=known is not None))
