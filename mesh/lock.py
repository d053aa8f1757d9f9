"""Lock and Semaphore: mutual exclusion by a session, for programs with threads; `mesh/trio_lock.py` is for trio.

    with Lock(client, "service/app/leader") as held:
        while not held.lost.is_set():
            write(fencing=held.fencing)

A lock is *advisory*: a program that was stopped for longer than its session lives does not know, when it goes on, that
another has the lock. What must not be done twice has to be fenced: hand `held.fencing` to what the lock protects, and
let it refuse smaller numbers; or write keys in a transaction with `Operation.check_session(key, held.session_id)`.
See `mesh.lock_state.Grip` for which number to use and why.

Keys, flags and values are those of other clients, which may contend for the same lock. Who waits for a key during its
lock delay (another's session ended without releasing it) waits until that is over.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from base.elapsed import elapsed_s
from base.errors import InvalidRequest, MeshError
from mesh.lock_state import (
    LOCK_DELAY_S,
    TTL_S,
    Claim,
    Grip,
    Lease,
    LockClaim,
    LockTimeout,
    ended,
    expiring,
    leased,
    renewing,
)
from mesh.semaphore_state import SemaphoreClaim
from mesh.steps import Ask, Pause, Procedure

if TYPE_CHECKING:
    from mesh.client import Client

T = TypeVar("T")
LossCallback = Callable[[str], None]
"""Told why, once, in a thread of the lock's."""


class Held:
    """What was got, as long as it lasts."""

    def __init__(self, grip: Grip, lease: Lease, lost: threading.Event) -> None:
        self.session_id = grip.session_id
        self.fencing = grip.fencing
        self.lock_index = grip.lock_index
        self.lost = lost
        """Set when it is known that, or no more certain whether, it is held; not when it was given back."""
        self._lease = lease

    def is_certain(self) -> bool:
        """Whether it was certainly held a moment ago, even if no thread could run for long, or the machine slept."""
        return not self.lost.is_set() and self._lease.is_valid(elapsed_s())

    @property
    def lost_reason(self) -> str:
        """Why it was lost, "" while it is not."""
        return self._lease.lost_reason


class Holder:
    """What locks and semaphores have in common. One holder at a time: `acquire` again only after `release`."""

    def __init__(
        self,
        client: "Client",
        claim: Claim,
        *,
        session_name: str = "",
        ttl_s: float = TTL_S,
        lock_delay_s: float = LOCK_DELAY_S,
        on_lost: LossCallback | None = None,
        monitor_retries_max: int | None = None,
    ) -> None:
        self._client = client
        self._claim = claim
        self._session_name = session_name or claim.session_name
        self._ttl_s = ttl_s
        self._lock_delay_s = lock_delay_s
        self._on_lost = on_lost
        self._monitor_retries_max = monitor_retries_max
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._told = threading.Lock()
        self._lease: Lease | None = None

    def __enter__(self) -> Held:
        held = self.acquire()
        assert held is not None, "without a time-out it is got, or an error raised"
        return held

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, timeout_s: float | None = None) -> Held | None:
        """Return what was got, or None if `timeout_s` (0: one attempt) ran out or `stop` was called.

        Raises LockConflict, LockLost (the session ended while waiting) and MeshErrors that time does not cure.
        """
        if self._lease is not None:
            raise InvalidRequest("it is held already")
        self._stop, self._lost = threading.Event(), threading.Event()
        until_s = None if timeout_s is None else elapsed_s() + timeout_s
        stop = self._stop
        lease = self._run(
            leased(
                name=self._session_name,
                ttl_s=self._ttl_s,
                lock_delay_s=self._lock_delay_s,
                deletes=self._claim.deletes,
            ),
            stop,
        )
        self._lease = lease
        self._watch("renew", lease, renewing(lease))
        self._watch("time", lease, expiring(lease))
        try:
            grip = self._run(self._claim.acquiring(lease, until_s=until_s), stop)
        except BaseException:
            self.release()
            raise
        if grip is None:
            self.release()
            if until_s is None and not stop.is_set():
                raise LockTimeout("not acquired")
            return None
        self._watch("monitor", lease, self._claim.monitoring(lease, retries_max=self._monitor_retries_max))
        return Held(grip, lease, self._lost)

    def stop(self) -> None:
        """Make an `acquire` that waits in another thread give up, at the latest when its look at the key ends."""
        self._stop.set()

    def release(self) -> bool:
        """Give back what is held and destroy the session; returns whether both certainly happened. No error if not."""
        lease, self._lease = self._lease, None
        if lease is None:
            return False
        self._stop.set()
        never = threading.Event()
        released = self._run(self._claim.releasing(lease), never)
        return self._run(ended(lease), never) and released

    def remove(self) -> bool:
        """Delete the keys where nobody uses them any more; raises Refused where somebody does."""
        return self._run(self._claim.removing(), threading.Event())

    def _watch(self, what: str, lease: Lease, procedure: Procedure[str]) -> None:
        thread = threading.Thread(
            target=partial(self._until_lost, lease, procedure, self._stop, self._lost),
            name=f"mesh-lock-{what}",
            daemon=True,
        )
        thread.start()

    def _until_lost(
        self, lease: Lease, procedure: Procedure[str], stop: threading.Event, lost: threading.Event
    ) -> None:
        try:
            reason = self._run(procedure, stop)
        except MeshError as error:
            reason = str(error)
        with self._told:
            if not reason or stop.is_set() or lost.is_set():
                return
            lease.lost_reason = reason
            lost.set()
        if self._on_lost is not None:
            self._on_lost(reason)

    def _run(self, procedure: Procedure[T], stop: threading.Event) -> T:
        """Carry out a procedure in this thread."""
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
                    given = self._client.carry(step.call)
                except MeshError as error:
                    failure = error
            elif isinstance(step, Pause):
                given = stop.wait(step.seconds)
            else:
                given = elapsed_s()


class Lock(Holder):
    """One key for one holder. `on_lost` is called when it is lost; `held.lost` is set before."""

    def __init__(self, client: "Client", key: str, *, value: bytes = b"", **options: Any) -> None:
        """Options are those of Holder. `value` is what the key holds meanwhile."""
        super().__init__(client, LockClaim(key=key, value=value), **options)


class Semaphore(Holder):
    """One of `limit` places under a prefix; all contenders must give the same limit."""

    def __init__(self, client: "Client", prefix: str, limit: int, *, value: bytes = b"", **options: Any) -> None:
        """Options are those of Holder. Raises InvalidRequest for a limit below 1."""
        if limit < 1:
            raise InvalidRequest("a semaphore has one place at least")
        super().__init__(client, SemaphoreClaim(prefix=prefix, limit=limit, value=value), **options)
