"""Applies changes of prepared queries. Source: state store specification, section 12; HTTP API, section 8."""

from fsm.commands.refusal import Refusal
from fsm.store import prepared_query
from fsm.store.store import Batch
from structs.prepared_query import PreparedQueryApplyReply, PreparedQueryCommand, PreparedQueryOp


def apply(batch: Batch, command: PreparedQueryCommand) -> PreparedQueryApplyReply | Refusal:
    """Create, replace or delete one query; the reply has its id."""
    query = command.query
    exists = prepared_query.get(batch, query.query_id) is not None
    if command.op is PreparedQueryOp.CREATE:
        if exists or not query.query_id:
            return Refusal(text=f"a new prepared query cannot have the ID '{query.query_id}'")
    elif not exists:
        return Refusal(text=f"Cannot modify non-existent prepared query: '{query.query_id}'")
    if command.op is PreparedQueryOp.DELETE:
        prepared_query.delete(batch, query.query_id)
    else:
        complaint = prepared_query.complaint(batch, query)
        if complaint:
            return Refusal(text=complaint)
        prepared_query.put(batch, query)
    return PreparedQueryApplyReply(query_id=query.query_id)
