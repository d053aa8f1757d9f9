"""Several operations on keys, nodes, services and checks as one entry.

Source: state store specification, section 6; HTTP API, section 5; modern deltas, section 7.
"""

from msgspec.structs import replace

from base.codec import Record
from base.errors import InvalidRequest, Refused, TooLarge
from structs.catalog import DeregisterCommand, HealthCheck, Node, NodeService, RegisterCommand
from structs.kv import KIB, KVEntry, check_operation
from structs.query import QueryMeta, QueryOptions
from structs.registration import check_deregistration, check_levels, check_name, completed

OPERATIONS_MAX = 128
"""Operations of one transaction: one log entry, applied in one go, must stay short."""
TXN_BYTES_MAX = 512 * KIB
"""The whole request as a client sends it; above, the log entry would hold up heartbeats."""


CATALOG_VERBS = frozenset({"get", "set", "cas", "delete", "delete-cas"})
NO_ENTRY = KVEntry(key="")


class ServiceOnNode(Record, frozen=True, kw_only=True):
    """What an operation on a service is about."""

    node: str
    service: NodeService


class TxnOp(Record, frozen=True, kw_only=True):
    """One operation of a transaction, on what is there of `node`, `service` and `check`, else on a key.

    `verb` is a KVVerb, or one of `CATALOG_VERBS`, or text that makes the operation fail. What "cas" and "delete-cas"
    compare is `index` for keys, else the ModifyIndex of what is there.
    """

    verb: str
    key: str = ""
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""
    node: Node | None = None
    service: ServiceOnNode | None = None
    check: HealthCheck | None = None

    @property
    def is_catalog(self) -> bool:
        """Whether it is about a node, a service or a check."""
        return self.node is not None or self.service is not None or self.check is not None


class TxnCommand(Record, frozen=True, kw_only=True):
    """Logged: operations in order, all or nothing."""

    operations: list[TxnOp]


class TxnError(Record, frozen=True, kw_only=True):
    """Why operation number `position` (0-based) refused."""

    position: int
    what: str


class TxnResult(Record, frozen=True, kw_only=True):
    """One for each operation that has one: `node`, `service` or `check` for those on the catalog, else `entry`.

    `with_value` says whether the client is shown the value.
    """

    entry: KVEntry = NO_ENTRY
    with_value: bool = False
    node: Node | None = None
    service: NodeService | None = None
    check: HealthCheck | None = None


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
        if op.key and not op.is_catalog:
            check_operation(op.verb, op.key, op.value, op.flags, value_bytes_max=value_bytes_max)


def completed_operations(operations: list[TxnOp], *, datacenter: str) -> tuple[list[TxnOp], list[TxnError]]:
    """Return the operations with what they leave out filled in, and why some of them can never succeed.

    What registers is judged as a registration is, by the same function. Raises TooLarge.
    """
    full: list[TxnOp] = []
    errors: list[TxnError] = []
    for position, op in enumerate(operations):
        try:
            if op.service is not None:
                check_levels(op.service.service)
            full.append(_completed(op, datacenter) if op.is_catalog and op.verb in CATALOG_VERBS else op)
        except (Refused, InvalidRequest) as error:
            errors.append(TxnError(position=position, what=str(error)))
    return full, errors


def _completed(op: TxnOp, datacenter: str) -> TxnOp:
    registers = op.verb in ("set", "cas")
    if op.node is not None:
        return replace(op, node=_completed_node(op.node, datacenter, registers=registers, by_id=op.verb == "get"))
    if op.service is not None:
        name, service = op.service.node, op.service.service
        if not registers:
            check_deregistration(DeregisterCommand(node=name, service_id=service.service_id))
            return op
        command = RegisterCommand(node=name, service=service, skip_node_update=True)
        full = completed(command, datacenter=datacenter).service
        assert full is not None, "it was there"
        return replace(op, service=ServiceOnNode(node=name, service=full))
    check = op.check
    assert check is not None, "an operation on a key"
    if not registers:
        check_deregistration(DeregisterCommand(node=check.node, check_id=check.check_id))
        return op
    command = RegisterCommand(node=check.node, checks=[check], skip_node_update=True)
    return replace(op, check=completed(command, datacenter=datacenter).checks[0])


def _completed_node(node: Node, datacenter: str, *, registers: bool, by_id: bool) -> Node:
    if not registers:
        if not (by_id and node.node_id):
            check_deregistration(DeregisterCommand(node=node.node))
        check_name("Node ID", node.node_id)
        return node
    command = RegisterCommand(
        node_id=node.node_id,
        node=node.node,
        address=node.address,
        tagged_addresses=node.tagged_addresses,
        node_meta=node.meta,
    )
    full = completed(command, datacenter=datacenter)
    return replace(node, node_id=full.node_id, datacenter=full.datacenter)


class TxnReply(Record, frozen=True, kw_only=True):
    """`meta` counts for reads only."""

    outcome: TxnOutcome
    meta: QueryMeta = QueryMeta()
