"""Anti-entropy: keeps the catalog's view of this node equal to what the node claims. `plan.py` decides, this acts.

One task writes, so that two writes about one thing are never under way together. A *pass* sends what the local state
remembers as changed; a *full* pass first reads what the catalog has. Full passes come at start, about once a minute
and more rarely in large clusters, and soon after a new leader is heard of; a pass that failed is followed by a full
one. Whoever changed something and wants it in the catalog waits for a pass that began after the change: many wait
for one.

A write that the servers refuse rests until the next full pass and does not keep the others from being sent.
Source: agent specification, section 5.
"""

import math
import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import trio

from agent.local.plan import CatalogView, NodeInfo, Write, carried_out, compare, rests, writes
from agent.local.state import LocalState
from base.codec import Record
from base.errors import InvalidRequest, MeshError, NotFound, PermissionDenied, Refused, TooLarge
from base.log import get_logger
from structs.catalog import (
    ChecksReply,
    DeregisterRequest,
    NodeRequest,
    NodeServicesReply,
    RegisterCommand,
    RegisterRequest,
)
from structs.cluster import Empty
from structs.query import QueryOptions, WriteOptions

FULL_INTERVAL_S: Final = 60.0
RETRY_S: Final = 15.0
SERVER_UP_S_MAX: Final = 3.0
NODES_UNSCALED_MAX: Final = 128
DEBOUNCE_S: Final = 0.02
"""Changes that come together travel together; nobody waits longer than this for company."""
WRITES_AT_ONCE: Final = 64
"""The log takes what comes together in one round: with few at once, many services would wait for many rounds."""
WAIT_S_MAX: Final = 30.0
"""How long whoever changed something waits for the catalog to hear of it."""
_REFUSALS = (Refused, InvalidRequest, NotFound, TooLarge)

_log = get_logger("agent")
Reply = TypeVar("Reply", bound=Record)


class Asker(Protocol):
    """Who passes calls on to the servers."""

    def call(self, method: str, request: Record, reply: type[Reply]) -> Reply | Awaitable[Reply]:
        """Return the reply; raises MeshErrors."""
        ...


def scale_of(nodes_count: int) -> int:
    """Return by how much everything is slower in a cluster of this size: log2 beyond 128 nodes."""
    if nodes_count <= NODES_UNSCALED_MAX:
        return 1
    return math.ceil(math.log2(nodes_count) - math.log2(NODES_UNSCALED_MAX)) + 1


class AntiEntropy:
    """`run` is its only task."""

    def __init__(
        self,
        *,
        state: LocalState,
        info: NodeInfo,
        delegate: Asker,
        nodes_count: Callable[[], int],
        rng: random.Random,
        monotonic_s: Callable[[], float] = trio.current_time,
    ) -> None:
        """`nodes_count`: how many nodes there are, as far as is known."""
        self.info = info
        self._state = state
        self._delegate = delegate
        self._nodes_count = nodes_count
        self._rng = rng
        self._now = monotonic_s
        self._woken = trio.Event()
        self._pauses_count = 0
        self._is_running = False
        self._wanted = False
        self._full_at_s = 0.0
        self._waiting_count = 0
        self._begun_count = 0
        self._ended_count = 0
        self._ended = trio.Event()
        self.writes_total = 0
        """Calls that were answered; for tests and statistics."""

    # Told

    def trigger(self) -> None:
        """Something has changed: the catalog shall hear of it soon."""
        self._wanted = True
        self._woken.set()

    def server_up(self) -> None:
        """There is a server again, or another leader: compare everything, but not all agents in one moment."""
        at_s = self._now() + self._rng.random() * SERVER_UP_S_MAX * self._scale()
        if at_s < self._full_at_s:
            self._full_at_s = at_s
            self._woken.set()

    def look_again(self) -> None:
        """The time of something has changed (`LocalState.next_due_s`)."""
        self._woken.set()

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Send nothing while the block lasts; a pass follows."""
        self._pauses_count += 1
        try:
            yield
        finally:
            self._pauses_count -= 1
            self.trigger()

    async def settle(self) -> None:
        """Wait for a pass that begins from now on, whatever comes of it, but no longer than WAIT_S_MAX."""
        if not self._is_running or self._pauses_count or not self._state.is_dirty:
            self.trigger()
            return
        number = self._begun_count + 1
        self._waiting_count += 1
        self.trigger()
        try:
            with trio.move_on_after(WAIT_S_MAX):
                while self._ended_count < number and self._is_running:
                    await self._ended.wait()
        finally:
            self._waiting_count -= 1

    # Acts

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the catalog in step until cancelled."""
        self._is_running = True
        self._full_at_s = self._now()
        task_status.started()
        try:
            while True:
                await self._rest()
                await self._pass(full=self._now() >= self._full_at_s)
        finally:
            self._is_running = False
            self._ended.set()

    async def _rest(self) -> None:
        """Return when a pass is due."""
        while True:
            now_s = self._now()
            if self._state.release_outputs(now_s):
                self._wanted = True
            if not self._pauses_count and (self._wanted or now_s >= self._full_at_s):
                break
            due_s = self._state.next_due_s()
            deadline_s = self._full_at_s if due_s is None else min(due_s, self._full_at_s)
            self._woken = trio.Event()
            if self._pauses_count:
                await self._woken.wait()
            else:
                with trio.move_on_after(max(deadline_s - now_s, 0.0)):
                    await self._woken.wait()
        if not self._waiting_count:
            await trio.sleep(DEBOUNCE_S)

    async def _pass(self, *, full: bool) -> None:
        self._wanted = False
        self._begun_count += 1
        try:
            if full:
                await self._read()
            await self._push()
        except MeshError as error:
            _log.warn("the catalog could not be brought in step with this node", error=str(error), full=full)
            self._full_at_s = self._now() + RETRY_S + self._rng.random() * RETRY_S * self._scale()
        else:
            if full:
                self._full_at_s = self._now() + FULL_INTERVAL_S + self._rng.random() * FULL_INTERVAL_S * self._scale()
        finally:
            self._ended_count = self._begun_count
            self._ended.set()
            self._ended = trio.Event()

    def _scale(self) -> int:
        return scale_of(self._nodes_count())

    async def _read(self) -> None:
        request = NodeRequest(node=self.info.node, options=QueryOptions(token=self.info.node_token))
        services = await self._ask("Catalog.NodeServices", request, NodeServicesReply)
        checks = await self._ask("Health.NodeChecks", request, ChecksReply)
        is_mine = services.node is not None and services.node.node.lower() == self.info.node.lower()
        view = CatalogView(
            node=services.node if is_mine else None,
            services=services.services if is_mine else [],
            checks=checks.checks,
        )
        compare(self._state, self.info, view)

    async def _push(self) -> None:
        for stage in writes(self._state, self.info):
            await self._send_all(stage)

    async def _send_all(self, stage: list[Write]) -> None:
        """Send writes, some at once; raises the first error that will meet the others, too."""
        left = iter(stage)
        failures: list[MeshError] = []

        async def sender() -> None:
            for write in left:
                if failures:
                    return
                try:
                    await self._send(write)
                except MeshError as error:
                    failures.append(error)
                    return

        if len(stage) == 1:
            await sender()
        else:
            async with trio.open_nursery() as nursery:
                for _ in range(min(WRITES_AT_ONCE, len(stage))):
                    nursery.start_soon(sender)
        if failures:
            raise failures[0]

    async def _send(self, write: Write) -> None:
        command, options = write.command, WriteOptions(token=write.token)
        try:
            if isinstance(command, RegisterCommand):
                await self._ask("Catalog.Register", RegisterRequest(command=command, options=options), Empty)
            else:
                await self._ask("Catalog.Deregister", DeregisterRequest(command=command, options=options), Empty)
        except MeshError as error:
            if isinstance(error, PermissionDenied) or "Permission denied" in str(error):
                _log.warn("a change of the catalog is blocked by ACLs", **_about(write))
            elif isinstance(error, _REFUSALS):
                _log.error("the servers refuse a change of the catalog", reason=str(error), **_about(write))
            else:
                raise
            rests(self._state, write)
            return
        self.writes_total += 1
        carried_out(self._state, write)
        _log.debug("the catalog is in step", **_about(write))

    async def _ask(self, method: str, request: Record, reply: type[Reply]) -> Reply:
        answer: Any = self._delegate.call(method, request, reply)
        if not isinstance(answer, reply):
            answer = await answer
        assert isinstance(answer, reply)
        return answer


def _about(write: Write) -> dict[str, object]:
    return {
        "action": "register" if isinstance(write.command, RegisterCommand) else "deregister",
        "services": ",".join(write.services),
        "checks": ",".join(write.checks),
    }
