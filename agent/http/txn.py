"""/v1/txn: HTTP <-> Txn.* calls. Source: HTTP API, section 5; state store, section 6; modern deltas, section 7."""

from collections.abc import Awaitable

from acl.access import TXN_WRITE
from agent.http.asking import ask, tell
from agent.http.errors import OUTCOME_REFUSED
from agent.http.reader import BodyRule
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, Response
from agent.http.settings import HTTPSettings
from agent.http.txn_catalog import catalog_operation, catalog_result_json
from base.errors import InvalidRequest, TooLarge
from structs.json_codec import Fields, decode_json, encode_json, kind_name, kv_entry_json
from structs.kv import KVVerb
from structs.query import QueryOptions
from structs.txn import OPERATIONS_MAX, TxnOp, TxnOutcome, TxnReply, TxnRequest

READ_VERBS = frozenset({"get", "get-or-empty", "get-tree", "check-session", "check-index", "check-not-exists"})
"""Only with none but these a transaction is a read. An unknown verb is refused by the state machine, per operation."""
UNSUPPORTED_KINDS = ("Session",)
"""Kinds of operations that are not done. Dropping them silently would claim writes that did not happen."""
NANOSECONDS_PER_MS = 1_000_000


def txn_rule(settings: HTTPSettings) -> BodyRule:
    """The limit of the whole body, with the text clients know."""
    text = "Request body({bytes} bytes) too large, max size: {max} bytes. See docs/operating/limits.md."
    return BodyRule(settings.limits.txn_bytes_max, text)


@route("/v1/txn", "PUT", access=TXN_WRITE, is_write=True, rule_of=txn_rule)
def txn(context: RequestContext) -> Response | Awaitable[Response]:
    """Run operations as one: all or none. 409 with the reasons where an operation refused.

    Body: a list of `{"KV": {"Verb", "Key", "Value", "Flags", "Index", "Session"}}`, `{"Node": {"Verb", "Node"}}`,
    `{"Service": {"Verb", "Node", "Service"}}` and `{"Check": {"Verb", "Check"}}`. Verbs of the last three are `get`,
    `set`, `cas`, `delete` and `delete-cas`, which compare `ModifyIndex` of the object. Without a writing verb it is a
    read, with consistency modes.
    """
    operations = parse_operations(context.body, value_bytes_max=context.settings.limits.value_bytes_max)
    if all(operation.verb in READ_VERBS for operation in operations):

        def build(options: QueryOptions) -> TxnRequest:
            return TxnRequest(operations=operations, options=options)

        return ask(context, "Txn.Read", build, TxnReply, _read_answer)
    write = context.write_options()
    request = TxnRequest(operations=operations, options=QueryOptions(token=write.token, datacenter=write.datacenter))
    return tell(context, "Txn.Apply", request, TxnReply, _write_answer)


def parse_operations(body: bytes, *, value_bytes_max: int) -> list[TxnOp]:
    """Return the operations of a body; raises InvalidRequest or TooLarge with the texts clients know."""
    try:
        rows = decode_json(body)
        if rows is None:
            rows = []
        if not isinstance(rows, list):
            raise InvalidRequest(f"expected a list, got {kind_name(rows)}")
        if len(rows) > OPERATIONS_MAX:
            raise TooLarge(f"Transaction contains too many operations ({len(rows)} > {OPERATIONS_MAX})")
        operations = [operation for row in rows if (operation := _operation(row)) is not None]
    except InvalidRequest as error:
        raise InvalidRequest(f"Failed to parse body: {error}") from error
    values_bytes = 0
    for operation in operations:
        size = len(operation.value)
        if size > value_bytes_max:
            raise TooLarge(f'Value for key "{operation.key}" is too large ({size} > {value_bytes_max} bytes)')
        values_bytes += size
    if values_bytes > value_bytes_max:
        raise TooLarge(f"Cumulative size of key data is too large ({values_bytes} > {value_bytes_max} bytes)")
    return operations


def _operation(row: object) -> TxnOp | None:
    """Return one operation, None for an entry that has none (positions in answers count only real ones)."""
    entry = Fields(row, "operation")
    raw = entry.get("KV")
    if raw is None:
        for kind in UNSUPPORTED_KINDS:
            if entry.get(kind) is not None:
                raise InvalidRequest(f"operations of kind {kind} are not supported")
        return catalog_operation(entry)
    fields = Fields(raw, "KV")
    return TxnOp(
        verb=fields.text("Verb"),
        key=fields.text("Key"),
        value=fields.base64("Value"),
        flags=fields.uint64("Flags"),
        index=fields.uint64("Index"),
        session=fields.text("Session"),
    )


def _results_json(outcome: TxnOutcome) -> bytes:
    if not outcome.results or outcome.errors:
        return b"null"
    rows = (
        catalog_result_json(row) or b'{"KV":%b}' % kv_entry_json(row.entry, with_value=row.with_value)
        for row in outcome.results
    )
    return b"[%b]" % b",".join(rows)


def _errors_json(outcome: TxnOutcome) -> bytes:
    if not outcome.errors:
        return b"null"
    rows = (b'{"OpIndex":%d,"What":%b}' % (error.position, encode_json(error.what)) for error in outcome.errors)
    return b"[%b]" % b",".join(rows)


def _write_answer(reply: TxnReply) -> Response:
    outcome = reply.outcome
    body = b'{"Results":%b,"Errors":%b}' % (_results_json(outcome), _errors_json(outcome))
    if outcome.errors:
        return Response(409, body, JSON_TYPE, OUTCOME_REFUSED)
    return Response(200, body, JSON_TYPE)


def _read_answer(reply: TxnReply) -> Response:
    outcome, meta = reply.outcome, reply.meta
    known_leader = b"true" if meta.known_leader else b"false"
    body = b'{"Results":%b,"Errors":%b,"Index":0,"LastContact":%d,"KnownLeader":%b,"ConsistencyLevel":""}' % (
        _results_json(outcome),
        _errors_json(outcome),
        meta.last_contact_ms * NANOSECONDS_PER_MS,
        known_leader,
    )
    headers = b"X-Consul-KnownLeader: %b\r\nX-Consul-LastContact: %d\r\n" % (known_leader, meta.last_contact_ms)
    return Response(409 if outcome.errors else 200, body, JSON_TYPE, headers)


assert frozenset(KVVerb) >= READ_VERBS
