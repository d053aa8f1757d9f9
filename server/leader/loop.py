"""gained -> own entry applied -> duties -> lost. Terms never overlap: all duties of one end before the next begins."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from base.errors import MeshError
from base.log import get_logger
from server.consensus import Consensus

READY_TIMEOUT_S = 120.0
READY_RETRY_S = 0.1

Duty = Callable[[], Awaitable[None]]
"""Runs until cancelled. Losing the leadership in the middle is normal: a duty that meets it just goes on or waits."""

_log = get_logger("server.leader")


class Leadership:
    """Runs the duties while this server leads."""

    def __init__(
        self, raft: Consensus, duties: Sequence[Duty], *, on_gained: Callable[[], None] = lambda: None
    ) -> None:
        """`on_gained` is called at the head of each term of leadership, before anything is known to be applied."""
        self._raft = raft
        self._duties = duties
        self._on_gained = on_gained
        self.established = False
        """Whether the duties of the present term run."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the leadership until cancelled."""
        task_status.started()
        while True:
            if self._raft.is_leader():
                _log.info("cluster leadership acquired")
                self._on_gained()
                await self._lead()
                _log.info("cluster leadership lost")
            else:
                await self._raft.wait_leadership_change()

    async def _lead(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._establish)
            while self._raft.is_leader():
                await self._raft.wait_leadership_change()
            self.established = False
            nursery.cancel_scope.cancel()

    async def _establish(self) -> None:
        while True:
            try:
                await self._raft.confirm_leadership(timeout_s=READY_TIMEOUT_S)
                break
            except MeshError as error:
                _log.debug("leadership not confirmed yet", error=str(error))
            await trio.sleep(READY_RETRY_S)
        self.established = True
        async with trio.open_nursery() as nursery:
            for duty in self._duties:
                nursery.start_soon(duty)
