"""Several KV operations as one entry. Source: state store specification, section 6; HTTP API, section 5."""

from base.codec import Record
from base.errors import InvalidRequest, TooLarge
from structs.kv import KIB, KVEntry, check_operation
from structs.query import QueryMeta, QueryOptions

OPERATIONS_MAX = 128
"""Operations of one transaction: one log entry, applied in one go, must stay short."""
TXN_BYTES_MAX = 512 * KIB
"""The whole request as a client sends it; above, the log entry would hold up heartbeats."""


class TxnOp(Record, frozen=True, kw_only=True):
    """One KV operation of a transaction. `verb` is a KVVerb, or text that makes the operation fail."""

    verb: str
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

    def complaint(self, *, value_bytes_max: int = TXN_BYTES_MAX) -> str | None:
        """Return why this can never succeed, or None; `check_operations` raises the same, with its status code."""
        try:
            check_operations(self.operations, value_bytes_max=value_bytes_max)
        except (InvalidRequest, TooLarge) as error:
            return str(error)
        return None


def check_operations(operations: list[TxnOp], *, value_bytes_max: int) -> None:
    """Raise InvalidRequest or TooLarge if a transaction can never succeed. Asked at the border, never in a replay.

    What is wrong with a single operation, an unknown verb or an empty key, is not told here: it is an error of that
    operation in the outcome.
    """
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"Transaction contains too many operations ({len(operations)} > {OPERATIONS_MAX})")
    for op in operations:
        if op.key:
            check_operation(op.verb, op.key, op.value, op.flags, value_bytes_max=value_bytes_max)


class TxnReply(Record, frozen=True, kw_only=True):
    """`meta` counts for reads only."""

    outcome: TxnOutcome
    meta: QueryMeta = QueryMeta()
