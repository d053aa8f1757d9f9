"""Txn.*: several KV operations as one. Source: RPC wire format, sections 5 and 9.1."""

from typing import Any

from msgspec.structs import replace

from structs.foreign.fields import (
    PROSE,
    SIGNED,
    TEXT,
    Entry,
    Field,
    Flat,
    Inside,
    Table,
    filled,
    list_of,
)
from structs.foreign.kv import ENTRY, wanted
from structs.foreign.options import QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.kv import KVEntry
from structs.query import QueryMeta, QueryOptions, WriteOptions
from structs.txn import TxnError, TxnOp, TxnOutcome, TxnReply, TxnRequest, TxnResult

OPERATION = Table(
    TxnOp,
    Inside(
        "KV",
        Field("Verb", "verb", TEXT),
        wanted("index"),
    ),
)
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


class Result:
    """The entry of a result; one that is not meant to be seen has no value there."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        entry: KVEntry = ENTRY.decode(value.get("KV"))
        arguments["entry"] = entry
        arguments["with_value"] = bool(entry.value)

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry("KV", prefix.rstrip("."), _entry_shown)]

    def names(self) -> list[str]:
        """See Part."""
        return ["KV"]


def _entry_shown(result: TxnResult) -> dict[str, Any]:
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
