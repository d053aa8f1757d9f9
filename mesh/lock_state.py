"""Sans-IO: locks and semaphores as the servers' other clients have them: who holds what, since when, and until when.

A *lease* is a session with a time to live that is renewed. A *claim* is what is wanted with it: one key (`LockClaim`)
or a place among several (`SemaphoreClaim`, in `mesh/semaphore_state.py`). All of it is procedures (`mesh/steps.py`).
Source: command-line specification, lock; modern deltas, section 12.
"""

from typing import Protocol

import msgspec
from msgspec.structs import replace

from base.errors import MeshError, OutcomeUnknown, Refused
from mesh.errors import may_repeat
from mesh.kv import KV
from mesh.query import Read
from mesh.session import Sessions
from mesh.steps import Ask, Now, Pause, Procedure
from mesh.watch_state import Pace, next_index
from structs.query import Consistency
from structs.session import SessionBehavior

LOCK_FLAGS = 0x2DDCCBC058A50C18
"""Marks the keys of locks; whoever finds others on a key leaves it alone."""
TTL_S = 15.0
LOCK_DELAY_S = 15.0
RENEWALS_PER_TTL = 3
"""So that two may fail before the third is late."""
RETRY_S = 1.0
"""Between attempts that failed, and between attempts to take a key during its lock delay."""
WAIT_S = 15.0
"""How long one look at a key blocks."""
CALL_S = 10.0
"""One call on behalf of a lease; agents hold those without a leader for 7 s."""
CONFLICT_TEXT = "Existing key does not match lock use"
IN_USE_TEXT = "Lock in use"


class LockConflict(Refused):
    """The key is used for something else; nothing was changed."""


class LockTimeout(Refused):
    """The lock was not got in time; whatever had been begun for it was taken back."""


class LockLost(MeshError):
    """The session ended: another may hold the lock, or will soon."""

    definite = True


class Grip(msgspec.Struct, frozen=True, kw_only=True):
    """What was got. `fencing` is the number to hand to whatever the lock protects, which refuses smaller ones.

    It is the key's ModifyIndex as it was read while the lock was held: the position of a write in the servers' log. Who
    holds the lock later always has a greater one, even if the key was deleted in between.

    `lock_index` is the key's LockIndex: how often the key was taken since it was created. It counts nothing but
    acquisitions, but begins again when the key is deleted, as the lock command does with a lock that nobody uses: don't
    fence with it unless keys stay. Neither number survives that servers are restored from an older archive.
    """

    session_id: str
    fencing: int
    lock_index: int


class Lease:
    """A session while it is renewed."""

    def __init__(self, session_id: str, *, ttl_s: float, asked_at_s: float) -> None:
        self.session_id = session_id
        self.ttl_s = ttl_s
        self.renewed_at_s = asked_at_s
        self.lost_reason = ""

    @property
    def valid_until_s(self) -> float:
        """The session certainly lives until then: its time counts from when the last renewal was sent, not answered."""
        return self.renewed_at_s + self.ttl_s

    def is_valid(self, at_s: float) -> bool:
        """Whether it certainly lives."""
        return not self.lost_reason and at_s < self.valid_until_s


def leased(
    *, name: str, ttl_s: float = TTL_S, lock_delay_s: float = LOCK_DELAY_S, deletes: bool = False
) -> Procedure[Lease]:
    """Create a session."""
    asked_at_s: float = yield Now()
    behavior = SessionBehavior.DELETE if deletes else SessionBehavior.RELEASE
    call = Sessions.create(name=name, ttl_s=ttl_s, lock_delay_s=lock_delay_s, behavior=behavior)
    session_id: str = yield Ask(call)
    return Lease(session_id, ttl_s=ttl_s, asked_at_s=asked_at_s)


def renewing(lease: Lease) -> Procedure[str]:
    """Renew until the lease is lost, and return why; "" where it was stopped."""
    while True:
        now_s: float = yield Now()
        due_s = lease.renewed_at_s + lease.ttl_s / RENEWALS_PER_TTL
        if (yield Pause(max(0.0, due_s - now_s))):
            return ""
        while True:
            asked_at_s: float = yield Now()
            left_s = lease.valid_until_s - asked_at_s
            if left_s <= 0:
                return "the session was not renewed in time"
            call = replace(Sessions.renew(lease.session_id), timeout_s=min(CALL_S, left_s), attempts_max=1)
            try:
                session = yield Ask(call)
            except MeshError:
                if (yield Pause(min(RETRY_S, left_s))):
                    return ""
                continue
            if session is None:
                return "the session has ended"
            lease.renewed_at_s = asked_at_s
            break


def expiring(lease: Lease) -> Procedure[str]:
    """Wait until the lease is no more certain, and return why; "" where it was stopped. Does not ask anybody."""
    while True:
        now_s: float = yield Now()
        if now_s >= lease.valid_until_s:
            return "the session was not renewed in time"
        if (yield Pause(lease.valid_until_s - now_s)):
            return ""


def ended(lease: Lease) -> Procedure[bool]:
    """Destroy the session; returns whether that is certain. Where it is not, its time ends it."""
    try:
        yield Ask(replace(Sessions.destroy(lease.session_id), timeout_s=CALL_S, is_read=True))
    except MeshError:
        return False
    return True


class Claim(Protocol):
    """What is wanted with a lease."""

    @property
    def deletes(self) -> bool:
        """Whether what the session holds is deleted when it ends."""

    @property
    def session_name(self) -> str:
        """The usual name of its session."""

    def acquiring(self, lease: Lease, *, until_s: float | None) -> Procedure[Grip | None]:
        """Try until the monotonic time `until_s` (None: for ever), once at least; None: not got, or stopped.

        Raises LockConflict, LockLost, and MeshErrors that time does not cure.
        """

    def monitoring(self, lease: Lease, *, retries_max: int | None) -> Procedure[str]:
        """Watch until it is lost, and return why; "" where it was stopped.

        That looks fail means nothing as long as renewals succeed, unless more than `retries_max` do so in a row.
        """

    def releasing(self, lease: Lease) -> Procedure[bool]:
        """Give it back; returns whether that is certain."""

    def removing(self) -> Procedure[bool]:
        """Delete what nobody uses any more; returns whether it was."""


class Waiting:
    """How long, and with which index, the next look at a claim waits."""

    def __init__(self, lease: Lease, until_s: float | None) -> None:
        self._lease = lease
        self._until_s = until_s
        self.index = 0
        self.tries_count = 0

    def is_over(self, now_s: float) -> bool:
        """Whether there is no time for another look; raises LockLost."""
        if self._lease.lost_reason:
            raise LockLost(self._lease.lost_reason)
        return self.tries_count > 0 and self._until_s is not None and now_s >= self._until_s

    def read(self, now_s: float) -> Read:
        """The next look."""
        self.tries_count += 1
        left_s = WAIT_S if self._until_s is None else min(WAIT_S, max(0.0, self._until_s - now_s))
        # Without time left to wait it looks once, at once.
        return Read(consistency=Consistency.CONSISTENT, index=self.index if left_s > 0.001 else 0, wait_s=left_s)

    def pause_s(self, now_s: float) -> float:
        """How long to wait before another attempt."""
        return RETRY_S if self._until_s is None else min(RETRY_S, max(0.0, self._until_s - now_s))


def passes(error: MeshError) -> bool:
    """Whether an attempt to take something may be repeated: taking what one has already does no harm."""
    return may_repeat(error, is_read=True) or isinstance(error, OutcomeUnknown)


class LockClaim(msgspec.Struct, frozen=True, kw_only=True):
    """One key, for one holder."""

    key: str
    value: bytes = b""
    deletes: bool = False
    session_name: str = "Consul API Lock"

    def acquiring(self, lease: Lease, *, until_s: float | None) -> Procedure[Grip | None]:
        """See Claim."""
        waiting = Waiting(lease, until_s)
        pace = Pace()
        while True:
            now_s: float = yield Now()
            if waiting.is_over(now_s):
                return None
            try:
                answer = yield Ask(KV.read(self.key, waiting.read(now_s)))
                entry = answer.value
                if entry is not None and entry.flags != LOCK_FLAGS:
                    raise LockConflict(CONFLICT_TEXT)
                if entry is not None and entry.session == lease.session_id:
                    fencing, lock_index = entry.modify_index, entry.lock_index
                    return Grip(session_id=lease.session_id, fencing=fencing, lock_index=lock_index)
                if entry is not None and entry.session:
                    waiting.index = next_index(waiting.index, answer.index)
                    later_s: float = yield Now()
                    if (yield Pause(pace.after(is_news=False, took_s=later_s - now_s))):
                        return None
                    continue
                waiting.index = 0
                if (yield Ask(KV.acquire(self.key, self.value, lease.session_id, flags=LOCK_FLAGS))):
                    waiting.tries_count = 0  # whether it is ours is always looked up
                    continue
            except MeshError as error:
                if isinstance(error, LockConflict) or not passes(error):
                    raise
            # Refused for its lock delay, taken by another in this moment, or a failure that passes.
            now_s = yield Now()
            if (yield Pause(waiting.pause_s(now_s))):
                return None

    def monitoring(self, lease: Lease, *, retries_max: int | None) -> Procedure[str]:
        """See Claim."""
        index, failures_count, pace = 0, 0, Pace()
        while True:
            began_s: float = yield Now()
            read = Read(consistency=Consistency.CONSISTENT, index=index, wait_s=WAIT_S)
            try:
                answer = yield Ask(replace(KV.read(self.key, read), attempts_max=1))
            except MeshError as error:
                failures_count += 1
                if retries_max is not None and failures_count > retries_max:
                    return f"the lock cannot be looked at: {error}"
                if (yield Pause(RETRY_S)):
                    return ""
                continue
            failures_count = 0
            if answer.value is None or answer.value.session != lease.session_id:
                return "the lock was taken away"
            index = next_index(index, answer.index)
            now_s: float = yield Now()
            if (yield Pause(pace.after(is_news=False, took_s=now_s - began_s))):
                return ""

    def releasing(self, lease: Lease) -> Procedure[bool]:
        """See Claim."""
        call = KV.release(self.key, self.value, lease.session_id, flags=LOCK_FLAGS)
        try:
            yield Ask(replace(call, timeout_s=CALL_S))
        except MeshError:
            return False
        return True

    def removing(self) -> Procedure[bool]:
        """See Claim; raises LockConflict, Refused where somebody holds it, and other MeshErrors."""
        entry = yield Ask(KV.get(self.key, Read(consistency=Consistency.CONSISTENT)))
        if entry is None:
            return False
        if entry.flags != LOCK_FLAGS:
            raise LockConflict(CONFLICT_TEXT)
        if entry.session or not (yield Ask(KV.delete_cas(self.key, entry.modify_index))):
            raise Refused(IN_USE_TEXT)
        return True
