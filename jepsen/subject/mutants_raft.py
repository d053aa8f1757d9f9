"""Mutants that lead, read or follow wrongly."""

from collections.abc import Callable
from typing import Any

from jepsen.subject.mutants_disk import guards_without
from jepsen.subject.patching import require_source, wrap_method
from server.raft.core import Core
from server.raft.node import RaftNode
from server.raft.pysyncobj_seams import LEADER
from server.raft.replica import Replica

Method = Callable[..., Any]


def stale_read_without_lease() -> None:
    """See mutants.py."""
    guards_without("h8_lease")


def consistent_without_round() -> None:
    """See mutants.py."""

    def make(confirm_leadership: Method) -> Method:
        async def at_once(self: Any, *, timeout_s: float) -> None:
            if not (self.is_leader() and self.ready):
                await confirm_leadership(self, timeout_s=timeout_s)

        return at_once

    wrap_method(RaftNode, "confirm_leadership", make)


def leader_reads_at_once() -> None:
    """See mutants.py."""

    def is_new(replica: Any) -> bool:
        return bool(replica._library.state == LEADER and not replica.ready)

    def lease_of(lease_valid: Method) -> Method:
        return lambda self, now: is_new(self) or lease_valid(self, now)

    def confirmed_of(confirmed_at: Method) -> Method:
        return lambda self, now: now if is_new(self) else confirmed_at(self, now)

    require_source(Replica.lease_valid, "not self.ready")
    require_source(Replica.confirmed_at, "not self.ready")
    wrap_method(Replica, "lease_valid", lease_of)
    wrap_method(Replica, "confirmed_at", confirmed_of)


def skip_prevote() -> None:
    """See mutants.py."""
    guards_without("h7_prevote")


def truncate_acked() -> None:
    """See mutants.py."""

    def make(begin_prevote: Method) -> Method:
        def cut_first(self: Any) -> None:
            log = self._log
            first_index = max(self._library.commit_index, log.getRaftCommitIndex(), log.first_index) + 1
            while log.term_at(first_index) == 0:
                first_index += 1  # the first configuration: without it nobody would ever be elected
            if first_index <= log.last_index:
                self._configurations.cut_from(first_index)
                log.deleteEntriesFrom(first_index - log.first_index)
                self._verified_index = min(self._verified_index, log.last_index)
            begin_prevote(self)

        return cut_first

    require_source(Core._begin_prevote, "self._prevote.begin(")
    wrap_method(Core, "_begin_prevote", make)


def one_is_enough() -> None:
    """See mutants.py."""

    def make(consider_election: Method) -> Method:
        def counting_itself(self: Any) -> None:
            library, last_index = self._library, self._log.last_index
            if library.state == LEADER and self._log.term_at(last_index) == library.term:
                commit_index = max(library.commit_index, last_index)
                library.set_positions(applied_index=library.applied_index, commit_index=commit_index)
            consider_election(self)

        return counting_itself

    require_source(Core.tick, "self._consider_election()\n        library.step()")
    wrap_method(Core, "_consider_election", make)
