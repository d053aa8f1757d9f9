"""Forgets old deletions, through the log.

Every GRANULARITY_S the duty notes which index the state has reached. What was deleted up to an index may be
forgotten once that note is TTL_S old: by then every watcher has seen a higher index. A new leader notes the index it
begins with, so what earlier leaders left is forgotten one TTL_S later.

Source: state store specification, section 4.
"""

from collections import deque

import trio

from base.errors import MeshError
from base.log import get_logger
from fsm.commands.registry import TOMBSTONE, encode_command
from fsm.machine import Machine
from fsm.store import tombstones
from server.consensus import Consensus
from structs.kv import ReapReply, TombstoneCommand

TTL_S = 15 * 60.0
GRANULARITY_S = 30.0
PROPOSE_TIMEOUT_S = 30.0
NOTES_MAX = int(TTL_S / GRANULARITY_S) + 2

_log = get_logger("server.leader")


class TombstoneDuty:
    """One leader's reaper; `ttl_s` and `granularity_s` are arguments for tests."""

    def __init__(
        self, raft: Consensus, machine: Machine, *, ttl_s: float = TTL_S, granularity_s: float = GRANULARITY_S
    ) -> None:
        self._raft = raft
        self._machine = machine
        self._ttl_s = ttl_s
        self._granularity_s = granularity_s

    async def run(self) -> None:
        """Note and reap until cancelled."""
        notes: deque[tuple[float, int]] = deque(maxlen=NOTES_MAX)
        while True:
            now_s = trio.current_time()
            notes.append((now_s, self._machine.index_applied))
            due_index = 0
            while notes and notes[0][0] + self._ttl_s <= now_s:
                due_index = notes.popleft()[1]
            if due_index:
                await self._reap(due_index)
            await trio.sleep(self._granularity_s)

    async def _reap(self, index: int) -> None:
        while self._has_any(index):
            try:
                reply = await self._raft.propose(
                    encode_command(TOMBSTONE, TombstoneCommand(index=index)), timeout_s=PROPOSE_TIMEOUT_S
                )
            except MeshError as error:
                _log.warn("cannot reap tombstones", index=index, error=str(error))
                return
            if not isinstance(reply, ReapReply) or not reply.more:
                return

    def _has_any(self, index: int) -> bool:
        with self._machine.read() as view:
            oldest = tombstones.oldest_index(view)
        return 0 < oldest <= index
