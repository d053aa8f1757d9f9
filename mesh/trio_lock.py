"""Locks and semaphores for trio: what `mesh/lock.py` says of them holds here.

    async with lock_in_trio(client, "service/app/leader") as held:
        await serve(fencing=held.fencing)          # cancelled when the lock is lost

The body is cancelled when the lock is lost, and LockLost raised where it ends; with `cancels=False` it goes on, and
`held.lost` tells.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from base.elapsed import elapsed_s
from base.errors import InvalidRequest, MeshError
from mesh.lock_state import (
    LOCK_DELAY_S,
    TTL_S,
    Claim,
    Grip,
    Lease,
    LockClaim,
    LockLost,
    LockTimeout,
    ended,
    expiring,
    leased,
    renewing,
)
from mesh.semaphore_state import SemaphoreClaim
from mesh.steps import Ask, Pause, Procedure

if TYPE_CHECKING:
    from mesh.trio_client import TrioClient

T = TypeVar("T")
FAREWELL_S = 10.0
"""For giving a lock back when its body has ended or was cancelled; the session's time does it otherwise."""


class TrioHeld:
    """What was got, as long as it lasts."""

    def __init__(self, grip: Grip, lease: Lease, lost: trio.Event) -> None:
        self.session_id = grip.session_id
        self.fencing = grip.fencing
        self.lock_index = grip.lock_index
        self.lost = lost
        """Set when it is known that, or no more certain whether, it is held; not when it was given back."""
        self._lease = lease

    def is_certain(self) -> bool:
        """Whether it was certainly held a moment ago, even if no task could run for long, or the machine slept."""
        return not self.lost.is_set() and self._lease.is_valid(elapsed_s())

    @property
    def lost_reason(self) -> str:
        """Why it was lost, "" while it is not."""
        return self._lease.lost_reason


class LeaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Of the session behind a lock. `timeout_s` None: wait for ever; 0: one attempt."""

    timeout_s: float | None = None
    session_name: str = ""
    ttl_s: float = TTL_S
    lock_delay_s: float = LOCK_DELAY_S
    cancels: bool = True
    monitor_retries_max: int | None = None


@asynccontextmanager
async def lock_in_trio(
    client: "TrioClient", key: str, *, value: bytes = b"", **options: Any
) -> AsyncGenerator[TrioHeld, None]:
    """Hold a lock while the block runs; options are those of LeaseOptions.

    Raises LockTimeout, LockConflict, LockLost and MeshErrors that time does not cure.
    """
    async with _held(client, LockClaim(key=key, value=value), LeaseOptions(**options)) as held:
        yield held


@asynccontextmanager
async def semaphore_in_trio(
    client: "TrioClient", prefix: str, limit: int, *, value: bytes = b"", **options: Any
) -> AsyncGenerator[TrioHeld, None]:
    """Hold one of `limit` places under a prefix while the block runs; see `lock_in_trio`.

    Raises InvalidRequest, too, for a limit below 1.
    """
    if limit < 1:
        raise InvalidRequest("a semaphore has one place at least")
    claim = SemaphoreClaim(prefix=prefix, limit=limit, value=value)
    async with _held(client, claim, LeaseOptions(**options)) as held:
        yield held


@asynccontextmanager
async def _held(client: "TrioClient", claim: Claim, options: LeaseOptions) -> AsyncGenerator[TrioHeld, None]:
    until_s = None if options.timeout_s is None else elapsed_s() + options.timeout_s
    procedure = leased(
        name=options.session_name or claim.session_name,
        ttl_s=options.ttl_s,
        lock_delay_s=options.lock_delay_s,
        deletes=claim.deletes,
    )
    lease = await _run(client, procedure)
    lost = trio.Event()
    failure: Exception | None = None
    body = trio.CancelScope()

    async def watch(watched: Procedure[str]) -> None:
        try:
            reason = await _run(client, watched)
        except MeshError as error:
            reason = str(error)
        if reason and not lost.is_set():
            lease.lost_reason = reason
            lost.set()
            if options.cancels:
                body.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, renewing(lease))
            nursery.start_soon(watch, expiring(lease))
            try:
                grip = await _run(client, claim.acquiring(lease, until_s=until_s))
                if grip is None:
                    raise LockTimeout("not acquired in time")
                nursery.start_soon(watch, claim.monitoring(lease, retries_max=options.monitor_retries_max))
                with body:
                    yield TrioHeld(grip, lease, lost)
            except (
                Exception
            ) as error:  # the border to the block's author: raised again below, without the nursery's group
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(FAREWELL_S, shield=True):
            await _run(client, claim.releasing(lease))
            await _run(client, ended(lease))
    if failure is not None:
        raise failure
    if body.cancelled_caught:
        raise LockLost(lease.lost_reason)


async def _run(client: "TrioClient", procedure: Procedure[T]) -> T:
    """Carry out a procedure in this task; a pause ends with its time or by cancellation."""
    given: Any = None
    failure: MeshError | None = None
    while True:
        try:
            step = procedure.send(given) if failure is None else procedure.throw(failure)
        except StopIteration as done:
            result: T = done.value
            return result
        given, failure = None, None
        if isinstance(step, Ask):
            try:
                given = await client.carry(step.call)
            except MeshError as error:
                failure = error
        elif isinstance(step, Pause):
            await trio.sleep(step.seconds)
            given = False
        else:
            given = elapsed_s()
