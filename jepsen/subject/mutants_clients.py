"""Mutants that answer, wake or apply wrongly."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import delegate
from base.errors import OutcomeUnknown, Refused
from fsm.commands import txn
from fsm.machine import Machine
from fsm.store.store import Savepoint
from fsm.watch import WatchRegistry
from jepsen.subject.page import PAGE_VARIABLE
from jepsen.subject.patching import replace_name, require_source, wrap_method
from server import forwarding
from server.raft.interfaces import Outbox, RoleChange
from server.raft.node import RaftNode

Method = Callable[..., Any]
WAKEUPS_LOST_EVERY = 4
ENTRIES_TWICE_EVERY = 40
ENTRIES_SKIPPED_EVERY = 200


def retry_unknown_write() -> None:
    """See mutants.py."""
    may_repeat: Method = forwarding.may_repeat
    replace_name(
        forwarding,
        "may_repeat",
        lambda error, kind: isinstance(error, OutcomeUnknown) or may_repeat(error, kind),
    )
    agents_may_repeat: Method = delegate._may_repeat
    replace_name(
        delegate,
        "_may_repeat",
        lambda error, *, reads: isinstance(error, OutcomeUnknown) or agents_may_repeat(error, reads=reads),
    )


def lost_leadership_refuses() -> None:
    """See mutants.py."""

    def make(on_round: Method) -> Method:
        def refusing(self: Any, outbox: Outbox) -> None:
            if outbox.became is RoleChange.FOLLOWER:
                proposals = self._driver.proposals
                for proposal in list(proposals._pending):
                    proposals.refused(proposal, Refused("leadership lost: the write will not happen"))
            on_round(self, outbox)

        return refusing

    wrap_method(RaftNode, "_on_round", make)


def lost_wakeup() -> None:
    """See mutants.py."""
    batches = 0

    def make(fire: Method) -> Method:
        def sometimes(self: Any, *arguments: Any) -> int:
            nonlocal batches
            batches += 1
            return 0 if batches % WAKEUPS_LOST_EVERY == 0 else int(fire(self, *arguments))

        return sometimes

    wrap_method(WatchRegistry, "fire", make)


def apply_twice() -> None:
    """See mutants.py."""

    def make(apply: Method) -> Method:
        def again(self: Any, raft_index: int, term: int, command: bytes) -> object:
            result = apply(self, raft_index, term, command)
            if raft_index % ENTRIES_TWICE_EVERY == 0:
                self.raft_index_applied -= 1
                result = apply(self, raft_index, term, command)
            return result

        return again

    wrap_method(Machine, "apply", make)


def one_replica_skips() -> None:
    """See mutants.py."""
    if not Path(os.environ.get(PAGE_VARIABLE, "")).parent.name.endswith("2"):
        return  # the others are as they should be

    def make(apply: Method) -> Method:
        def skipping(self: Any, raft_index: int, term: int, command: bytes) -> object:
            if raft_index % ENTRIES_SKIPPED_EVERY == 0:
                self.skip(raft_index, term)
                return None
            return apply(self, raft_index, term, command)

        return skipping

    wrap_method(Machine, "apply", make)


def txn_in_pieces() -> None:
    """See mutants.py."""
    require_source(txn.apply, "savepoint.roll_back()")
    wrap_method(Savepoint, "roll_back", lambda roll_back: Savepoint.keep)
