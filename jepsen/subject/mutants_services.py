"""Mutants that are wrong about sessions, locks and services."""

from collections.abc import Callable
from typing import Any

from fsm.store import catalog, kv, services, session
from fsm.store.kv_rows import session_of
from fsm.store.tables import KVS
from jepsen.subject.patching import replace_name, require_source, wrap_method
from server.leader.expiring import SessionExpiry
from server.leader.sessions import SessionTimers

Method = Callable[..., Any]
WRONG_EVERY = 5
"""Of the entries of the log, which all servers count alike."""


def _strikes(batch: Any) -> bool:
    return bool(batch.index % WRONG_EVERY == 0)


def lock_without_delay() -> None:
    """See mutants.py."""
    wrap_method(SessionExpiry, "may_lock", lambda may_lock: lambda self, key: True)


def renewal_ignored() -> None:
    """See mutants.py."""

    def make(arm: Method) -> Method:
        def once(self: Any, key: bytes, ttl_s: float, now_s: float) -> None:
            if not self.is_armed(key):
                arm(self, key, ttl_s, now_s)

        return once

    require_source(SessionExpiry.renew, "self._arm(key, found")
    wrap_method(SessionTimers, "arm", make)


def lock_stolen() -> None:
    """See mutants.py."""
    lock: Method = kv.lock

    def stealing(batch: Any, key: bytes, value: bytes, flags: int, session_id: str, old_row: bytes | None) -> Any:
        if old_row is not None and _strikes(batch) and session_of(old_row) not in ("", session_id):
            kv.release(batch, key, old_row)
            old_row = batch.get(KVS, key)
        return lock(batch, key, value, flags, session_id, old_row)

    replace_name(kv, "lock", stealing)


def keys_kept() -> None:
    """See mutants.py."""
    release: Method = kv.release
    require_source(session.destroy, "kv.release(batch, held, held_row)")
    replace_name(kv, "release", lambda batch, *words: None if _strikes(batch) else release(batch, *words))


def deregistered_stays() -> None:
    """See mutants.py."""
    deregister: Method = catalog.deregister
    replace_name(catalog, "deregister", lambda batch, *words: None if _strikes(batch) else deregister(batch, *words))


def service_index_kept() -> None:
    """See mutants.py."""
    bump: Method = services.bump
    require_source(services.ensure, "bump(batch, service)")
    replace_name(services, "bump", lambda batch, service: None if _strikes(batch) else bump(batch, service))
