"""Sans-IO: a place among a limited number: who holds one is written in `<prefix>/.lock`, changed by compare-and-set.

Every contender has a key `<prefix>/<session>`, locked by its session and deleted with it: who has none any more has
died, and whoever comes next strikes it off. Source: command-line specification, lock.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from base.errors import InvalidRequest, MeshError, Refused
from mesh.kv import KV
from mesh.lock_state import CALL_S, RETRY_S, WAIT_S, Grip, Lease, LockConflict, LockLost, Waiting, passes
from mesh.query import Read
from mesh.steps import Ask, Now, Pause, Procedure
from mesh.watch_state import Pace, next_index
from structs.kv import KVEntry
from structs.query import Consistency

SEMAPHORE_FLAGS = 0xE0F69A2BAA414DE0
"""Marks the keys of semaphores."""
LOCK_NAME = ".lock"
CONFLICT_TEXT = "Existing key does not match semaphore use"
IN_USE_TEXT = "Semaphore in use"
CAS_ATTEMPTS_MAX = 64
"""Of striking oneself off: each fails only because another contender came first."""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What `.lock` says, without those that have died. `modify_index` 0: there is no such key."""

    limit: int
    holders: tuple[str, ...]
    modify_index: int
    lock_index: int

    def written(self, holders: Sequence[str]) -> bytes:
        """Return the value of the key with other holders."""
        return json.dumps({"Limit": self.limit, "Holders": dict.fromkeys(sorted(holders), True)}).encode()


def board_of(entries: Sequence[KVEntry], lock_key: str, limit: int) -> Board:
    """Return who holds places; raises LockConflict for keys of another meaning, InvalidRequest for another limit."""
    found = next((entry for entry in entries if entry.key == lock_key), None)
    if found is None:
        return Board(limit=limit, holders=(), modify_index=0, lock_index=0)
    if found.flags != SEMAPHORE_FLAGS:
        raise LockConflict(CONFLICT_TEXT)
    try:
        value: Any = json.loads(found.value) if found.value else {}
        known_limit, known = int(value.get("Limit") or limit), dict(value.get("Holders") or {})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LockConflict(f"{CONFLICT_TEXT}: {error}") from error
    if known_limit != limit:
        raise InvalidRequest(f"semaphore limit conflict (lock: {known_limit}, local: {limit})")
    alive = {entry.session for entry in entries if entry.session and entry.key != lock_key}
    holders = tuple(sorted(str(name) for name in known if name in alive))
    return Board(limit=limit, holders=holders, modify_index=found.modify_index, lock_index=found.lock_index)


class SemaphoreClaim(msgspec.Struct, frozen=True, kw_only=True):
    """One of `limit` places under a prefix.

    The fencing number is the ModifyIndex of `.lock` as it was read when we were in: no holder that had come before has
    a greater one. Holders at the same time may have the same.
    """

    prefix: str
    limit: int
    value: bytes = b""
    session_name: str = "Consul API Semaphore"

    @property
    def deletes(self) -> bool:
        """See Claim."""
        return True

    @property
    def _folder(self) -> str:
        return self.prefix.rstrip("/") + "/"

    @property
    def _lock_key(self) -> str:
        return self._folder + LOCK_NAME

    def acquiring(self, lease: Lease, *, until_s: float | None) -> Procedure[Grip | None]:
        """See Claim."""
        waiting, pace = Waiting(lease, until_s), Pace()
        contender = KV.acquire(self._folder + lease.session_id, self.value, lease.session_id, flags=SEMAPHORE_FLAGS)
        stands = False
        while True:
            now_s: float = yield Now()
            if waiting.is_over(now_s):
                return None
            try:
                if not stands:
                    stands = yield Ask(contender)
                    if not stands:
                        raise LockLost("failed to make contender entry")
                answer = yield Ask(KV.read_list(self._folder, waiting.read(now_s)))
                board = board_of(answer.value, self._lock_key, self.limit)
                me = lease.session_id
                if me in board.holders:  # a write whose outcome was not known
                    return Grip(session_id=me, fencing=board.modify_index, lock_index=board.lock_index)
                if len(board.holders) < self.limit:
                    waiting.index, waiting.tries_count = 0, 0
                    value = board.written((*board.holders, me))
                    yield Ask(KV.cas(self._lock_key, value, board.modify_index, flags=SEMAPHORE_FLAGS))
                    continue
                waiting.index = next_index(waiting.index, answer.index)
                later_s: float = yield Now()
                if (yield Pause(pace.after(is_news=False, took_s=later_s - now_s))):
                    return None
            except MeshError as error:
                if isinstance(error, LockConflict | LockLost) or not passes(error):
                    raise
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
                answer = yield Ask(replace(KV.read_list(self._folder, read), attempts_max=1))
                holders = board_of(answer.value, self._lock_key, self.limit).holders
            except (LockConflict, InvalidRequest) as error:
                return str(error)
            except MeshError as error:
                failures_count += 1
                if retries_max is not None and failures_count > retries_max:
                    return f"the semaphore cannot be looked at: {error}"
                if (yield Pause(RETRY_S)):
                    return ""
                continue
            failures_count = 0
            if lease.session_id not in holders:
                return "the place was taken away"
            index = next_index(index, answer.index)
            now_s: float = yield Now()
            if (yield Pause(pace.after(is_news=False, took_s=now_s - began_s))):
                return ""

    def releasing(self, lease: Lease) -> Procedure[bool]:
        """See Claim."""
        try:
            for _ in range(CAS_ATTEMPTS_MAX):
                entries = yield Ask(KV.list(self._folder, Read(consistency=Consistency.CONSISTENT)))
                board = board_of(entries, self._lock_key, self.limit)
                if lease.session_id not in board.holders:
                    break
                value = board.written([name for name in board.holders if name != lease.session_id])
                if (yield Ask(KV.cas(self._lock_key, value, board.modify_index, flags=SEMAPHORE_FLAGS))):
                    break
            yield Ask(replace(KV.delete(self._folder + lease.session_id), timeout_s=CALL_S))
        except MeshError:
            return False
        return True

    def removing(self) -> Procedure[bool]:
        """See Claim; raises LockConflict, Refused where somebody holds a place, and other MeshErrors."""
        entries = yield Ask(KV.list(self._folder, Read(consistency=Consistency.CONSISTENT)))
        board = board_of(entries, self._lock_key, self.limit)
        if not board.modify_index:
            return False
        if board.holders or not (yield Ask(KV.delete_cas(self._lock_key, board.modify_index))):
            raise Refused(IN_USE_TEXT)
        return True
