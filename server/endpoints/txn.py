"""Txn.*: several operations on keys, nodes, services and checks as one.

Source: state store specification, section 6; HTTP API, section 5; modern deltas, section 7.
"""

from typing import Final

from acl import access
from base.errors import Refused, TooLarge
from fsm.commands.registry import TXN, Refusal, encode_command
from fsm.commands.txn import read_only_outcome
from fsm.store import kv
from fsm.store.store import View
from server.endpoints.kv import know_lost_locks
from server.endpoints.registry import Call, Kind, Query, method
from structs.kv import KVVerb
from structs.txn import (
    TXN_BYTES_MAX,
    TxnCommand,
    TxnError,
    TxnOp,
    TxnOutcome,
    TxnReply,
    TxnRequest,
    check_operations,
    completed_operations,
)

TREES_BYTES_MAX: Final = 32 * 1024 * 1024
"""All trees that one transaction asks for. Every server makes them when it applies the entry, however often one tree
is asked for."""
_FREEING_VERBS: Final = frozenset({KVVerb.UNLOCK, KVVerb.DELETE, KVVerb.DELETE_CAS, KVVerb.DELETE_TREE})


@method("Txn.Read", request=TxnRequest, reply=TxnReply, access=access.TXN_READ, kind=Kind.READ)
def read(query: Query, request: TxnRequest) -> TxnReply:
    """Operations that only read: one consistent view, nothing logged."""
    check_operations(request.operations, value_bytes_max=TXN_BYTES_MAX)
    operations, errors = completed_operations(request.operations, datacenter="")
    _check_trees(query.view, operations)
    outcome = TxnOutcome(errors=errors) if errors else read_only_outcome(query.view, operations)
    return TxnReply(outcome=outcome, meta=query.meta(0))


@method("Txn.Apply", request=TxnRequest, reply=TxnReply, access=access.TXN_WRITE, kind=Kind.WRITE)
async def apply(call: Call, request: TxnRequest) -> TxnReply:
    """All operations as one entry of the log, or none."""
    check_operations(request.operations, value_bytes_max=TXN_BYTES_MAX)
    services = call.services
    operations, errors = completed_operations(request.operations, datacenter=services.config.datacenter)
    with services.machine.read() as view:
        _check_trees(view, operations)
    errors = errors or await _locked(call, operations)
    if errors:
        return TxnReply(outcome=TxnOutcome(errors=errors))
    command = TxnCommand(operations=operations)
    result = await services.raft.propose(encode_command(TXN, command), timeout_s=services.config.write_timeout_s)
    if type(result) is Refusal:
        raise Refused(result.text)
    assert isinstance(result, TxnOutcome)
    return TxnReply(outcome=result)


def _check_trees(view: View, operations: list[TxnOp]) -> None:
    """Raise TooLarge if the trees asked for are, as they are now, more than one transaction may hold."""
    left_bytes = TREES_BYTES_MAX
    for op in operations:
        if op.verb == KVVerb.GET_TREE and not op.is_catalog:
            left_bytes -= kv.tree_bytes(view, op.key, left_bytes)
            if left_bytes < 0:
                raise TooLarge(f"the trees that the transaction asks for have more than {TREES_BYTES_MAX} bytes")


async def _locked(call: Call, operations: list[TxnOp]) -> list[TxnError]:
    """Return the errors of operations that want locks which they can't have.

    Those are keys that were lost too recently, and keys that somebody else has now: were such an operation logged, it
    could come behind the end of the holder and get the key without the delay.
    """
    wanted = [
        (position, op)
        for position, op in enumerate(operations)
        if op.verb == KVVerb.LOCK and op.key and not op.is_catalog
    ]
    if not wanted:
        return []
    await know_lost_locks(call)
    sessions = call.services.sessions
    errors = []
    for position, op in wanted:
        if not sessions.may_lock(op.key):
            why = " due to lock delay"
        elif sessions.is_held_by_other(op.key, op.session) and not _may_free(operations[:position], op.key):
            why = ", lock is already held"
        else:
            continue
        errors.append(TxnError(position=position, what=f'failed to lock key "{op.key}"{why}'))
    return errors


def _may_free(operations: list[TxnOp], key: str) -> bool:
    """Return whether one of these operations may take a key from its holder by the holder's own will, or delete it."""
    return any(
        op.verb in _FREEING_VERBS
        and not op.is_catalog
        and (op.key == key or op.verb == KVVerb.DELETE_TREE)
        and key.startswith(op.key)
        for op in operations
    )
