"""The reaper's command: forget tombstones up to an index. The leader decides when (server/leader/tombstones.py)."""

from fsm.store import tombstones
from fsm.store.store import Batch
from structs.kv import ReapReply, TombstoneCommand

REAPED_MAX = 20_000
"""Tombstones one command forgets: about 0.1 s of work. The reply says whether to send another."""


def apply(batch: Batch, command: TombstoneCommand) -> ReapReply:
    """Forget the oldest tombstones whose index is at most the command's. No counter moves and nobody is woken."""
    count, more = tombstones.reap(batch, command.index, REAPED_MAX)
    return ReapReply(count=count, more=more)
