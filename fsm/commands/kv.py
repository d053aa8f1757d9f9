"""Applies KV writes: the command of one write, and the shared rules that transactions use as well.

Source: state store specification, section 4. How long a key whose holder ended stays free is asked before a lock is
logged (server/lock_delays.py), not here: a handler sees no clock.
"""

from collections.abc import Callable

from fsm.commands.refusal import Refusal
from fsm.store import kv, session
from fsm.store.names import lower
from fsm.store.store import Batch
from fsm.store.tables import KVS
from structs.kv import KVApplyReply, KVCommand, KVVerb

MATCHED = KVApplyReply(ok=True)
NOT_MATCHED = KVApplyReply(ok=False)
NO_KEY = "Must provide key"
NO_SESSION = "missing session"
FLAGS_MAX = (1 << 64) - 1


def _set(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply:
    kv.write(batch, key, command.value, command.flags, batch.get(KVS, key))
    return MATCHED


def _cas(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply:
    old_row = batch.get(KVS, key)
    if not kv.cas_matches(old_row, command.cas_index):
        return NOT_MATCHED
    kv.write(batch, key, command.value, command.flags, old_row)
    return MATCHED


def _delete(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply:
    old_row = batch.get(KVS, key)
    if old_row is not None:
        kv.delete(batch, key, old_row)
    return MATCHED


def _delete_cas(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply:
    old_row = batch.get(KVS, key)
    if old_row is None:
        return MATCHED
    if kv.modify_index_of(old_row) != command.cas_index:
        return NOT_MATCHED
    kv.delete(batch, key, old_row)
    return MATCHED


def _delete_tree(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply:
    kv.delete_tree(batch, key)
    return MATCHED


def _lock(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply | Refusal:
    holder = session.get(batch, command.session)
    if holder is None:
        return Refusal(text=lock_complaint(command.session))
    body = kv.lock(batch, key, command.value, command.flags, holder.session_id, batch.get(KVS, key))
    return NOT_MATCHED if body is None else MATCHED


def _unlock(batch: Batch, key: bytes, command: KVCommand) -> KVApplyReply | Refusal:
    if not command.session:
        return Refusal(text=NO_SESSION)
    body = kv.unlock(batch, key, command.value, command.flags, lower(command.session), batch.get(KVS, key))
    return NOT_MATCHED if body is None else MATCHED


def lock_complaint(session_id: str) -> str:
    """Return why a session that doesn't exist can't take a lock."""
    return f'invalid session "{session_id}"' if session_id else NO_SESSION


VERBS: dict[KVVerb, Callable[[Batch, bytes, KVCommand], KVApplyReply | Refusal]] = {
    KVVerb.SET: _set,
    KVVerb.CAS: _cas,
    KVVerb.DELETE: _delete,
    KVVerb.DELETE_CAS: _delete_cas,
    KVVerb.DELETE_TREE: _delete_tree,
    KVVerb.LOCK: _lock,
    KVVerb.UNLOCK: _unlock,
}


def apply(batch: Batch, command: KVCommand) -> KVApplyReply | Refusal:
    """Apply one KV write."""
    verb = VERBS.get(command.verb)
    if verb is None:
        return Refusal(text=f'unknown KV verb "{command.verb}"')
    if not command.key and command.verb is not KVVerb.DELETE_TREE:
        return Refusal(text=NO_KEY)
    if not 0 <= command.flags <= FLAGS_MAX:
        return Refusal(text=f"flags {command.flags} are not an unsigned 64-bit number")
    return verb(batch, command.key.encode(), command)
