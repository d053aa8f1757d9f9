"""Handlers that are run when a view of the cluster changes, one task a watch.

A watch waits for its handler before it looks again: a slow handler misses states in between, never piles up. One that
takes too long is ended, with all processes of its group. Source: agent specification, section 10.
"""

import os
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from agent.checks.script import Program
from agent.http.inside import InsideAnswer
from agent.watch_plan import WatchDefinition, WatchProgress
from base.errors import InvalidRequest, InvariantBroken
from base.lazily import imported
from base.log import get_logger, trace_of
from base.tasks import started_in

HANDLER_S_MAX: Final = 600.0
"""A program may run so long."""
OUTPUT_BYTES_MAX: Final = 4096
ANSWER_BYTES_MAX: Final = 64 * 1024
PAUSE_S: Final = 0.1
"""After an answer that brought nothing new: an endpoint that does not block must not make the loop spin."""

_log = get_logger("agent.watches")


class Reader(Protocol):
    """Who answers reads; agent.http.inside.InsideClient."""

    async def get(self, target: str, *, token: str = "") -> InsideAnswer:
        """Return the answer to GET `target`."""
        ...


class _Watch:
    __slots__ = ("definition", "scope")

    def __init__(self, definition: WatchDefinition) -> None:
        self.definition = definition
        self.scope = trio.CancelScope()


class Watches:
    """All watches of an agent; `run` owns their tasks."""

    def __init__(self, reader: Reader, definitions: Sequence[WatchDefinition] = ()) -> None:
        self._reader = reader
        self._watches = [_Watch(definition) for definition in definitions]
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; handlers under way are then ended."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for watch in self._watches:
                    nursery.start_soon(self._keep, watch)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def replace(self, definitions: Sequence[WatchDefinition]) -> None:
        """Watch these from now on. One that was there before goes on as if nothing had happened."""
        gone = list(self._watches)
        kept: list[_Watch] = []
        new: list[_Watch] = []
        for definition in definitions:
            found = next((watch for watch in gone if watch.definition == definition), None)
            if found is None:
                new.append(_Watch(definition))
            else:
                gone.remove(found)
                kept.append(found)
        for watch in gone:
            watch.scope.cancel()
        self._watches = kept + new
        for watch in new:
            started_in(self._nursery, self._keep, watch)

    async def _keep(self, watch: _Watch) -> None:
        definition = watch.definition
        progress = WatchProgress(definition)
        with watch.scope:
            while True:
                try:
                    answer = await self._reader.get(progress.target(), token=definition.token)
                    result = progress.answered(answer.status, answer.index, answer.body)
                except InvariantBroken:
                    raise
                except Exception as error:  # the border: one watch's defect must not end the others
                    pause_s = progress.failed()
                    trace = "" if isinstance(error, InvalidRequest) else trace_of(error)
                    _log.error("watch errored", type=definition.kind, error=str(error), retry_s=pause_s, trace=trace)
                    await trio.sleep(pause_s)
                    continue
                if result is None:
                    await trio.sleep(PAUSE_S)
                    continue
                try:
                    await handle(definition, answer.index, result)
                except InvariantBroken:
                    raise
                except Exception as error:  # the border: one handler's defect must not end the other watches
                    _log.error("watch handler failed", error=repr(error), trace=trace_of(error))


async def handle(definition: WatchDefinition, index: int, result: bytes) -> None:
    """Run a watch's handler once; what goes wrong is logged."""
    if definition.http is not None:
        await (await imported("agent.watch_request")).ask(definition.http, index, result)
    else:
        await _execute(definition, index, result)


async def _execute(definition: WatchDefinition, index: int, result: bytes) -> None:
    shell = os.environ.get("SHELL") or "/bin/sh"
    args = list(definition.args) or [shell, "-c", definition.shell]
    program = Program(OUTPUT_BYTES_MAX)
    try:
        await program.run(args, HANDLER_S_MAX, environment={"CONSUL_INDEX": str(index)}, stdin=result)
    except (OSError, ValueError) as error:
        _log.error("watch handler did not start", handler=args[0], error=str(error))
        return
    output = program.tail.program_text()
    if program.exit_code is None:
        _log.error("watch handler was ended, it took too long", handler=args[0], limit_s=HANDLER_S_MAX, output=output)
    elif program.exit_code:
        _log.error("watch handler failed", handler=args[0], code=program.exit_code, output=output)
    else:
        _log.debug("watch handler done", handler=args[0], output=output)
