"""Txn.*: several operations on keys, nodes, services and checks as one.

Source: state store specification, section 6; HTTP API, section 5; modern deltas, section 7.
"""

from acl import access
from base.errors import Refused
from fsm.commands.registry import TXN, Refusal, encode_command
from fsm.commands.txn import read_only_outcome
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


@method("Txn.Read", request=TxnRequest, reply=TxnReply, access=access.TXN_READ, kind=Kind.READ)
def read(query: Query, request: TxnRequest) -> TxnReply:
    """Operations that only read: one consistent view, nothing logged."""
    check_operations(request.operations, value_bytes_max=TXN_BYTES_MAX)
    operations, errors = completed_operations(request.operations, datacenter="")
    outcome = TxnOutcome(errors=errors) if errors else read_only_outcome(query.view, operations)
    return TxnReply(outcome=outcome, meta=query.meta(0))


@method("Txn.Apply", request=TxnRequest, reply=TxnReply, access=access.TXN_WRITE, kind=Kind.WRITE)
async def apply(call: Call, request: TxnRequest) -> TxnReply:
    """All operations as one entry of the log, or none."""
    check_operations(request.operations, value_bytes_max=TXN_BYTES_MAX)
    services = call.services
    operations, errors = completed_operations(request.operations, datacenter=services.config.datacenter)
    errors = errors or await _delayed(call, operations)
    if errors:
        return TxnReply(outcome=TxnOutcome(errors=errors))
    command = TxnCommand(operations=operations)
    result = await services.raft.propose(encode_command(TXN, command), timeout_s=services.config.write_timeout_s)
    if type(result) is Refusal:
        raise Refused(result.text)
    assert isinstance(result, TxnOutcome)
    return TxnReply(outcome=result)


async def _delayed(call: Call, operations: list[TxnOp]) -> list[TxnError]:
    """Return the errors of operations that want locks too soon after their keys were lost by somebody else."""
    wanted = [(position, op.key) for position, op in enumerate(operations) if op.verb == KVVerb.LOCK and op.key]
    if not wanted:
        return []
    await know_lost_locks(call)
    may_lock = call.services.sessions.may_lock
    return [
        TxnError(position=position, what=f'failed to lock key "{key}" due to lock delay')
        for position, key in wanted
        if not may_lock(key)
    ]
