"""Txn.*: several operations as one. Source: RPC wire format, sections 5 and 9.1; modern deltas, section 7.

Older members know operations on keys only, and skip the other fields.
"""

from functools import partial
from typing import Any

from msgspec.structs import replace

from base.codec import Mistyped
from structs.foreign.catalog import HEALTH_CHECK, NODE, NODE_SERVICE
from structs.foreign.fields import (
    PROSE,
    SIGNED,
    TEXT,
    Entry,
    Field,
    Flat,
    Table,
    filled,
    list_of,
)
from structs.foreign.kv import ENTRY, wanted
from structs.foreign.options import QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.kv import KVEntry
from structs.query import QueryMeta, QueryOptions, WriteOptions
from structs.txn import ServiceOnNode, TxnError, TxnOp, TxnOutcome, TxnReply, TxnRequest, TxnResult

VERB = Field("Verb", "verb", TEXT)
KV_OPERATION = Table(TxnOp, VERB, wanted("index"))
NODE_OPERATION = Table(TxnOp, VERB, Field("Node", "node", NODE.shape))
SERVICE_ON_NODE = Table(ServiceOnNode, Field("Node", "node", TEXT), Field("Service", "service", NODE_SERVICE.shape))
SERVICE_OPERATION = Table(TxnOp, VERB, Flat("service", SERVICE_ON_NODE))
CHECK_OPERATION = Table(TxnOp, VERB, Field("Check", "check", HEALTH_CHECK.shape))


CATALOG_OPERATIONS = {"Node": NODE_OPERATION, "Service": SERVICE_OPERATION, "Check": CHECK_OPERATION}
"""By the name of their field; ours is the same in lower case."""


class Subject:
    """One field for each kind of operation, of which one is filled."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        name = next((name for name in CATALOG_OPERATIONS if value.get(name) is not None), "KV")
        try:
            found: TxnOp = CATALOG_OPERATIONS.get(name, KV_OPERATION).decode(value.get(name))
        except Mistyped as error:
            raise Mistyped(f"{name}: {error}") from error
        arguments.update({field: getattr(found, field) for field in TxnOp.__struct_fields__})

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry(name, prefix.rstrip("."), partial(_operation_said, name)) for name in self.names()]

    def names(self) -> list[str]:
        """See Part."""
        return ["KV", *CATALOG_OPERATIONS]


def _filled(record: TxnOp | TxnResult) -> str:
    """Return the name of the field that says what an operation, or its result, is about."""
    return next((name for name in CATALOG_OPERATIONS if getattr(record, name.lower()) is not None), "KV")


def _operation_said(name: str, op: TxnOp) -> dict[str, Any] | None:
    return CATALOG_OPERATIONS.get(name, KV_OPERATION).encode(op) if name == _filled(op) else None


OPERATION = Table(TxnOp, Subject())
OPERATIONS = Field("Ops", "operations", filled(list_of(OPERATION.shape), list))


class WriteOptionsOfTxn:
    """A writing transaction carries the options of a write there, those of a read here."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        options: WriteOptions = WRITE_OPTIONS.read(value)
        arguments["options"] = QueryOptions(token=options.token, datacenter=options.datacenter)

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return WRITE_OPTIONS.entries(f"{prefix}options.")

    def names(self) -> list[str]:
        """See Part."""
        return WRITE_OPTIONS.names()


CATALOG_RESULTS = {"Node": NODE, "Service": NODE_SERVICE, "Check": HEALTH_CHECK}


class Result:
    """One field for each kind of result; a value that is not meant to be seen is not there."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        for name, table in CATALOG_RESULTS.items():
            if value.get(name) is not None:
                arguments[name.lower()] = table.decode(value[name])
                return
        entry: KVEntry = ENTRY.decode(value.get("KV"))
        arguments["entry"] = entry
        arguments["with_value"] = bool(entry.value)

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry(name, prefix.rstrip("."), partial(_result_said, name)) for name in self.names()]

    def names(self) -> list[str]:
        """See Part."""
        return ["KV", *CATALOG_RESULTS]


def _result_said(name: str, result: TxnResult) -> dict[str, Any] | None:
    if name != _filled(result):
        return None
    if name != "KV":
        return CATALOG_RESULTS[name].encode(getattr(result, name.lower()))
    return ENTRY.encode(result.entry if result.with_value else replace(result.entry, value=b""))


RESULT = Table(TxnResult, Result())
ERROR = Table(TxnError, Field("OpIndex", "position", SIGNED), Field("What", "what", PROSE))
OUTCOME = Table(
    TxnOutcome,
    Field("Results", "results", filled(list_of(RESULT.shape), list)),
    Field(
        "Errors",
        "errors",
        filled(list_of(ERROR.shape), list),
    ),
)
READ = Table(TxnRequest, OPERATIONS, Flat("options", QUERY_OPTIONS))
APPLY = Table(TxnRequest, OPERATIONS, WriteOptionsOfTxn())
READ_REPLY = Table(TxnReply, Flat("outcome", OUTCOME), Flat("meta", QUERY_META))
APPLY_REPLY = Table(TxnReply, Flat("outcome", OUTCOME))


def _without_index(reply: TxnReply, request: TxnRequest) -> TxnReply:
    """A transaction that reads has no index there."""
    meta = reply.meta
    return TxnReply(
        outcome=reply.outcome,
        meta=QueryMeta(known_leader=meta.known_leader, last_contact_ms=meta.last_contact_ms),
    )


ROWS = (
    ForeignMethod(name="Txn.Apply", method="Txn.Apply", request=APPLY, reply=APPLY_REPLY.shape, reply_record=TxnReply),
    ForeignMethod(name="Txn.Read", method="Txn.Read", request=READ, reply=READ_REPLY.shape, reply_record=TxnReply,
                  says=_without_index),
)  # fmt: skip
