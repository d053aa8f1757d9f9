"""Writes collected positions down, through the log, once a period. What is collected is coordinate_batches.py's."""

import trio

from base.errors import MeshError
from base.log import get_logger
from fsm.commands.registry import COORDINATES, encode_command
from server.consensus import Consensus
from server.coordinate_batches import CoordinateCollector

PERIOD_S = 5.0
PROPOSE_TIMEOUT_S = 30.0

_log = get_logger("server.leader")


class CoordinateDuty:
    """One leader's writer of positions; `period_s` is an argument for tests."""

    def __init__(self, raft: Consensus, collector: CoordinateCollector, *, period_s: float = PERIOD_S) -> None:
        self._raft = raft
        self._collector = collector
        self._period_s = period_s

    async def run(self) -> None:
        """Write what was collected until cancelled."""
        self._collector.clear()  # left over from the last time this server led, and old by now
        while True:
            await trio.sleep(self._period_s)
            batches, dropped_count = self._collector.take()
            if dropped_count:
                _log.warn("too many coordinates in one period", dropped=dropped_count)
            for batch in batches:
                try:
                    await self._raft.propose(encode_command(COORDINATES, batch), timeout_s=PROPOSE_TIMEOUT_S)
                except MeshError as error:
                    _log.warn("cannot write coordinates", count=len(batch.updates), error=str(error))
