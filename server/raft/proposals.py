"""What became of a proposal: committed, refused or unknown, each with a deadline.

Theory of operation. A proposal is a slot: the driver's loop settles it when the library has applied its entry
(`committed`, with the handler's result), when another term's entry was applied at its place in the log
(`refused`: it certainly never happens), or when its deadline passes (`unknown`: the entry may be committed
yet). Losing the leadership settles nothing by itself, for the next leader may commit the entry.

Deadlines are swept by the driver ten times a second rather than kept by a timer a proposal: a write costs one
task wake-up and nothing else.

Source: DESIGN hazard H17; `docs/internals/consensus.md`.
"""

from collections.abc import Callable
from typing import Any

import trio

from base.errors import MeshError, NoLeader, OutcomeUnknown, RateLimited
from base.telemetry import TELEMETRY, counter, samples

_applies = counter("raft.apply")
_commit_ms = samples("raft.commitTime")
PROPOSALS_PENDING_MAX = 16_384
"""Writes in flight at one leader. At 512 KiB each they would still be refused long before memory ends, since
the driver bounds the bytes as well."""
PROPOSAL_BYTES_PENDING_MAX = 256 * 1024 * 1024


class Proposal:
    """One write on its way. Awaited by exactly one task."""

    __slots__ = ("_error", "_result", "_settled", "_task", "begun_s", "bytes_count", "command", "deadline_s")

    def __init__(self, command: bytes, deadline_s: float) -> None:
        self.command = command
        self.bytes_count = len(command)
        self.deadline_s = deadline_s
        self.begun_s = TELEMETRY.now_s()
        self._settled = False
        self._result: object = None
        self._error: MeshError | None = None
        self._task: trio.lowlevel.Task | None = None

    def settle(self, result: object, error: MeshError | None) -> None:
        """Say how it ended; the second and later calls change nothing."""
        if self._settled:
            return
        self._settled = True
        self._result = result
        self._error = error
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    @property
    def settled(self) -> bool:
        """Whether the outcome is known (or known to be unknowable)."""
        return self._settled

    async def wait(self) -> object:
        """Return the handler's result; raises NoLeader or Refused (definite) or OutcomeUnknown."""
        if not self._settled:
            self._task = trio.lowlevel.current_task()

            def abort(_: Callable[[], Any]) -> trio.lowlevel.Abort:
                self._task = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        if self._error is not None:
            raise self._error
        return self._result


class Proposals:
    """All proposals of one server that are not settled yet."""

    def __init__(self) -> None:
        self._pending: set[Proposal] = set()
        self._bytes_pending = 0
        self.unknown_total = 0
        self.discarded_total = 0

    def open(self, command: bytes, deadline_s: float) -> Proposal:
        """Return a new slot; raises RateLimited when too much is in flight (nothing was proposed)."""
        if len(self._pending) >= PROPOSALS_PENDING_MAX or self._bytes_pending >= PROPOSAL_BYTES_PENDING_MAX:
            raise RateLimited(f"too many writes in flight ({len(self._pending)}): try again later")
        proposal = Proposal(command, deadline_s)
        self._pending.add(proposal)
        self._bytes_pending += proposal.bytes_count
        _applies.increment()
        return proposal

    def committed(self, proposal: Proposal, result: object) -> None:
        """Its entry was committed and applied."""
        self._close(proposal)
        _commit_ms.since(proposal.begun_s)
        proposal.settle(result, None)

    def refused(self, proposal: Proposal, error: MeshError) -> None:
        """It never entered the log, or its place in the log went to another entry: it never happens."""
        self._close(proposal)
        proposal.settle(None, error)

    def discarded(self, proposal: Proposal) -> None:
        """Another term's entry was applied at its index."""
        self.discarded_total += 1
        self.refused(proposal, NoLeader("leadership lost: the write was discarded and will not happen"))

    def sweep(self, now_s: float) -> None:
        """Give up on those whose deadline has passed: their outcome is unknown."""
        for proposal in [p for p in self._pending if p.deadline_s <= now_s]:
            self.unknown_total += 1
            self._close(proposal)
            proposal.settle(None, OutcomeUnknown("timed out while committing: the write may or may not have happened"))

    def abandon_all(self, text: str) -> None:
        """The server stops: every outcome is unknown."""
        for proposal in list(self._pending):
            self._close(proposal)
            proposal.settle(None, OutcomeUnknown(text))

    @property
    def pending_count(self) -> int:
        """Proposals in flight."""
        return len(self._pending)

    def _close(self, proposal: Proposal) -> None:
        if proposal in self._pending:
            self._pending.discard(proposal)
            self._bytes_pending -= proposal.bytes_count
