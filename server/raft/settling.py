"""Sans-IO: applies committed entries in order, once each, and says how each proposal ended."""

from typing import Any

from base.errors import InvariantBroken, require
from server.raft.interfaces import Applier, Log, Outcome
from server.raft.membership import MEMBERSHIP, NO_OP, REGULAR
from server.raft.timings import APPLY_BATCH_BYTES, APPLY_BATCH_COUNT_MAX

_DISCARDED = Outcome(True, None)


class Settling:
    """Proposals that are in the log but not decided, by index.

    Losing the leadership decides nothing: the next leader may commit the entry. An entry that was cut from our log
    may still be committed by a server that kept it. Only what is applied at an index says what became of a proposal.
    """

    def __init__(self, log: Log, applier: Applier) -> None:
        self._log = log
        self._applier = applier
        self._waiting: dict[int, tuple[int, Any, Any]] = {}
        self.results: list[tuple[Any, Outcome]] = []

    @property
    def waiting_count(self) -> int:
        """Indexes at which somebody waits."""
        return len(self._waiting)

    def expect(self, index: int, term: int, token: Any) -> None:
        """The proposal `token` was appended at (index, term). One of an earlier term may wait there already."""
        self._waiting[index] = (term, token, self._waiting.get(index))

    def discard(self, token: Any) -> None:
        """The proposal never entered the log."""
        self.results.append((token, _DISCARDED))

    def forget_through(self, index: int) -> None:
        """A snapshot took the place of the entries up to `index`: how proposals there ended is not known here."""
        for known in [known for known in self._waiting if known <= index]:
            del self._waiting[known]

    def take_results(self) -> list[tuple[Any, Outcome]]:
        """What was settled since the last call."""
        results, self.results = self.results, []
        return results

    def apply(self, applied_index: int, commit_index: int) -> int:
        """Apply a bounded number of entries up to `commit_index`; returns the new applied index."""
        if commit_index <= applied_index:
            return applied_index
        log, apply, waiting = self._log, self._applier.apply, self._waiting
        until = min(commit_index, applied_index + APPLY_BATCH_COUNT_MAX)
        first = log.first_index
        bytes_left = APPLY_BATCH_BYTES
        require(first <= applied_index, "entries to apply are missing from the log", applied_index, first)
        for command, index, term in log[applied_index + 1 - first : until + 1 - first]:
            if index != applied_index + 1:
                raise InvariantBroken(f"the log has a hole: {index} follows {applied_index}")
            kind = command[0]
            if kind == REGULAR:
                result = apply(index, term, command[1:])
            else:
                # The configuration changed when the entry entered the log; see `membership.py`.
                if kind not in (NO_OP, MEMBERSHIP):
                    raise InvariantBroken(f"an entry of unknown type {kind} in the log at {index}")
                result = None
            applied_index = index
            bytes_left -= len(command)
            waiter = waiting.pop(index, None) if waiting else None
            while waiter is not None:
                own = waiter[0] == term
                self.results.append((waiter[1], Outcome(False, result) if own else _DISCARDED))
                waiter = waiter[2]
            if bytes_left <= 0:
                break
        return applied_index
