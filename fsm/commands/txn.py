"""Applies transactions: operations in order, each seeing the earlier ones, all or nothing.

Source: state store specification, section 6; modern deltas, section 7. Every operation is attempted and every one
that fails is reported. The verbs on keys stand in a table, those on nodes, services and checks in txn_catalog.py.
"""

from collections.abc import Callable
from typing import Any

from fsm.commands import txn_catalog
from fsm.commands.kv import FLAGS_MAX, NO_KEY, NO_SESSION, lock_complaint
from fsm.commands.txn_catalog import CatalogFailed
from fsm.digest import DIGEST_BYTES
from fsm.store import keys, kv, session
from fsm.store.names import lower
from fsm.store.store import Batch, View
from fsm.store.tables import KVS
from structs.kv import KVEntry, KVVerb
from structs.txn import TxnCommand, TxnError, TxnOp, TxnOutcome, TxnResult


class _Failed(Exception):
    """One operation failed; the text is its `What`."""


_Results = list[TxnResult]


def _stored(key: str, body: bytes) -> TxnResult:
    return TxnResult(entry=kv.entry_of(key, body + bytes(DIGEST_BYTES)))


def _set(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    return [_stored(op.key, kv.write(batch, key, op.value, op.flags, batch.get(KVS, key)))]


def _cas(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    old_row = batch.get(KVS, key)
    if not kv.cas_matches(old_row, op.index):
        raise _Failed(f'failed to set key "{op.key}", index is stale')
    return [_stored(op.key, kv.write(batch, key, op.value, op.flags, old_row))]


def _delete(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    old_row = batch.get(KVS, key)
    if old_row is not None:
        kv.delete(batch, key, old_row)
    return []


def _delete_cas(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    old_row = batch.get(KVS, key)
    if old_row is None:
        return []
    if kv.modify_index_of(old_row) != op.index:
        raise _Failed(f'failed to delete key "{op.key}", index is stale')
    kv.delete(batch, key, old_row)
    return []


def _delete_tree(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    kv.delete_tree(batch, key)
    return []


def _lock(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    holder = session.get(batch, op.session)
    if holder is None:
        raise _Failed(lock_complaint(op.session))
    body = kv.lock(batch, key, op.value, op.flags, holder.session_id, batch.get(KVS, key))
    if body is None:
        raise _Failed(f'failed to lock key "{op.key}", lock is already held')
    return [_stored(op.key, body)]


def _unlock(batch: Batch, op: TxnOp, key: bytes) -> _Results:
    if not op.session:
        raise _Failed(NO_SESSION)
    body = kv.unlock(batch, key, op.value, op.flags, lower(op.session), batch.get(KVS, key))
    if body is None:
        raise _Failed(f'failed to unlock key "{op.key}", lock isn\'t held, or is held by another session')
    return [_stored(op.key, body)]


def _get(view: View, op: TxnOp, key: bytes) -> _Results:
    row = view.get(KVS, key)
    if row is None:
        raise _Failed(f'key "{op.key}" doesn\'t exist')
    return [TxnResult(entry=kv.entry_of(op.key, row), with_value=True)]


def _get_or_empty(view: View, op: TxnOp, key: bytes) -> _Results:
    row = view.get(KVS, key)
    if row is None:
        return [TxnResult(entry=KVEntry(key=op.key))]
    return [TxnResult(entry=kv.entry_of(op.key, row), with_value=True)]


def _get_tree(view: View, op: TxnOp, key: bytes) -> _Results:
    rows = keys.scan(view.txn, view.handles.kvs, key)
    return [TxnResult(entry=kv.entry_of(name.decode(), row), with_value=True) for name, row in rows]


def _check_session(view: View, op: TxnOp, key: bytes) -> _Results:
    row = view.get(KVS, key)
    if row is None:
        raise _Failed(f'failed to check session, key "{op.key}" doesn\'t exist')
    entry = kv.entry_of(op.key, row)
    if entry.session != lower(op.session):
        raise _Failed(f'failed session check for key "{op.key}", current session "{entry.session}" != "{op.session}"')
    return [TxnResult(entry=entry)]


def _check_index(view: View, op: TxnOp, key: bytes) -> _Results:
    row = view.get(KVS, key)
    if row is None:
        raise _Failed(f'failed to check index, key "{op.key}" doesn\'t exist')
    entry = kv.entry_of(op.key, row)
    if entry.modify_index != op.index:
        raise _Failed(f'failed index check for key "{op.key}", current modify index {entry.modify_index} != {op.index}')
    return [TxnResult(entry=entry)]


def _check_not_exists(view: View, op: TxnOp, key: bytes) -> _Results:
    if view.get(KVS, key) is not None:
        raise _Failed(f'key "{op.key}" exists')
    return []


READ_VERBS: dict[str, Callable[[Any, TxnOp, bytes], _Results]] = {
    KVVerb.GET: _get,
    KVVerb.GET_OR_EMPTY: _get_or_empty,
    KVVerb.GET_TREE: _get_tree,
    KVVerb.CHECK_SESSION: _check_session,
    KVVerb.CHECK_INDEX: _check_index,
    KVVerb.CHECK_NOT_EXISTS: _check_not_exists,
}
WRITE_VERBS: dict[str, Callable[[Any, TxnOp, bytes], _Results]] = {
    KVVerb.SET: _set,
    KVVerb.CAS: _cas,
    KVVerb.DELETE: _delete,
    KVVerb.DELETE_CAS: _delete_cas,
    KVVerb.DELETE_TREE: _delete_tree,
    KVVerb.LOCK: _lock,
    KVVerb.UNLOCK: _unlock,
}
ALL_VERBS = READ_VERBS | WRITE_VERBS
KEYLESS_VERBS = frozenset({KVVerb.DELETE_TREE, KVVerb.GET_TREE})


def _run(view: View, operations: list[TxnOp], verbs: dict[str, Callable[[Any, TxnOp, bytes], _Results]]) -> TxnOutcome:
    results: _Results = []
    errors: list[TxnError] = []
    for position, op in enumerate(operations):
        try:
            if op.is_catalog:
                results += txn_catalog.run(view, op)
                continue
            operation = verbs.get(op.verb)
            if operation is None:
                raise _Failed(f'unknown KV verb "{op.verb}"')
            if not op.key and op.verb not in KEYLESS_VERBS:
                raise _Failed(NO_KEY)
            if not 0 <= op.flags <= FLAGS_MAX:
                raise _Failed(f"flags {op.flags} are not an unsigned 64-bit number")
            results += operation(view, op, op.key.encode())
        except (_Failed, CatalogFailed) as failure:
            errors.append(TxnError(position=position, what=str(failure)))
    return TxnOutcome(errors=errors) if errors else TxnOutcome(results=results)


def apply(batch: Batch, command: TxnCommand) -> TxnOutcome:
    """Apply all operations, or none if one fails."""
    savepoint = batch.savepoint()
    outcome = _run(batch, command.operations, ALL_VERBS)
    if outcome.errors:
        savepoint.roll_back()
    else:
        savepoint.keep()
    return outcome


def read_only_outcome(view: View, operations: list[TxnOp]) -> TxnOutcome:
    """Answer a transaction without writes from a view; a write in it is an unknown verb."""
    return _run(view, operations, READ_VERBS)


def is_read_only(operations: list[TxnOp]) -> bool:
    """Return whether no operation writes, so that `read_only_outcome` can answer. An unknown verb doesn't write."""
    return not any(op.verb in WRITE_VERBS for op in operations)
