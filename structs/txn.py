"""Several KV operations as one entry. Source: state store specification, section 6; HTTP API, section 5."""

from base.codec import Record
from structs.kv import KVEntry, KVVerb
from structs.query import QueryMeta, QueryOptions

OPERATIONS_MAX = 128


class TxnOp(Record, frozen=True, kw_only=True):
    """One KV operation of a transaction. `verb` is text so that an unknown one is an error of the operation."""

    verb: KVVerb | str
    key: str = ""
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""


class TxnCommand(Record, frozen=True, kw_only=True):
    """Logged: operations in order, all or nothing."""

    operations: list[TxnOp]


class TxnError(Record, frozen=True, kw_only=True):
    """Why operation number `position` (0-based) refused."""

    position: int
    what: str


class TxnResult(Record, frozen=True, kw_only=True):
    """One entry per operation that has one; `with_value` says whether the client is shown the value."""

    entry: KVEntry
    with_value: bool = False


class TxnOutcome(Record, frozen=True, kw_only=True):
    """Either `errors` is empty and `results` holds, or nothing was changed."""

    results: list[TxnResult] = []
    errors: list[TxnError] = []


class TxnRequest(Record, frozen=True, kw_only=True):
    """RPC Txn.Apply (writes) and Txn.Read (reads only)."""

    operations: list[TxnOp]
    options: QueryOptions = QueryOptions()


class TxnReply(Record, frozen=True, kw_only=True):
    """`meta` counts for reads only."""

    outcome: TxnOutcome
    meta: QueryMeta = QueryMeta()
