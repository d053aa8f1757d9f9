"""Transactions: operations on keys, nodes, services, checks and sessions, carried out together or not at all.

outcome = client.txn.apply([
    Operation.set("app/color", b"blue"),
    Operation.check_index("app/version", 7),
    Operation.service("set", "n1", NodeService(service_id="web1", service="web", port=80)),
])
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from base.errors import Internal
from mesh.call import Call, Noun, World, method, write_call
from mesh.reply import Reply
from mesh.rows import checked, text_map
from mesh.shapes import CHECK, KV_ENTRY, NODE, SERVICE
from structs.catalog import HealthCheck, Node, NodeService
from structs.kv import KVEntry, KVVerb
from structs.txn import TxnError, TxnOp, TxnOutcome, TxnResult

T = TypeVar("T")
CONFLICT = 409
"""The status of an answer about operations that refused."""
_READ_VERBS = frozenset(
    {
        KVVerb.GET,
        KVVerb.GET_OR_EMPTY,
        KVVerb.GET_TREE,
        KVVerb.CHECK_INDEX,
        KVVerb.CHECK_SESSION,
        KVVerb.CHECK_NOT_EXISTS,
    }
)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as it is sent. Verbs of nodes, services and checks: get, set, cas, delete, delete-cas.

    `cas` and `delete-cas` compare with the record's `modify_index`.
    """

    row: Mapping[str, Any]
    is_read: bool = False

    @classmethod
    def kv(cls, operation: TxnOp) -> Operation:
        """Return an operation on a key; the others of this class are shorter where they fit."""
        row: dict[str, Any] = {"Verb": str(operation.verb), "Key": operation.key}
        if operation.value:
            row["Value"] = base64.b64encode(operation.value).decode()
        if operation.flags:
            row["Flags"] = operation.flags
        if operation.index:
            row["Index"] = operation.index
        if operation.session:
            row["Session"] = operation.session
        return cls(row={"KV": row}, is_read=operation.verb in _READ_VERBS)

    @classmethod
    def set(cls, key: str, value: bytes, *, flags: int = 0) -> Operation:
        """Write a key."""
        return cls.kv(TxnOp(verb=KVVerb.SET, key=key, value=value, flags=flags))

    @classmethod
    def cas(cls, key: str, value: bytes, index: int, *, flags: int = 0) -> Operation:
        """Write a key if its modify index is `index`, else refuse."""
        return cls.kv(TxnOp(verb=KVVerb.CAS, key=key, value=value, flags=flags, index=index))

    @classmethod
    def get(cls, key: str) -> Operation:
        """Read a key; refuses where there is none."""
        return cls.kv(TxnOp(verb=KVVerb.GET, key=key))

    @classmethod
    def get_tree(cls, prefix: str) -> Operation:
        """Read all keys with a prefix."""
        return cls.kv(TxnOp(verb=KVVerb.GET_TREE, key=prefix))

    @classmethod
    def delete(cls, key: str) -> Operation:
        """Remove a key."""
        return cls.kv(TxnOp(verb=KVVerb.DELETE, key=key))

    @classmethod
    def delete_tree(cls, prefix: str) -> Operation:
        """Remove all keys with a prefix."""
        return cls.kv(TxnOp(verb=KVVerb.DELETE_TREE, key=prefix))

    @classmethod
    def lock(cls, key: str, value: bytes, session: str) -> Operation:
        """Write and lock a key; refuses where another session has it."""
        return cls.kv(TxnOp(verb=KVVerb.LOCK, key=key, value=value, session=session))

    @classmethod
    def unlock(cls, key: str, value: bytes, session: str) -> Operation:
        """Write and unlock a key; refuses where the session does not have it."""
        return cls.kv(TxnOp(verb=KVVerb.UNLOCK, key=key, value=value, session=session))

    @classmethod
    def check_index(cls, key: str, index: int) -> Operation:
        """Refuse unless the key's modify index is `index`."""
        return cls.kv(TxnOp(verb=KVVerb.CHECK_INDEX, key=key, index=index))

    @classmethod
    def check_session(cls, key: str, session: str) -> Operation:
        """Refuse unless the session holds the key: what fences a write against a lost lock."""
        return cls.kv(TxnOp(verb=KVVerb.CHECK_SESSION, key=key, session=session))

    @classmethod
    def check_not_exists(cls, key: str) -> Operation:
        """Refuse if there is such a key."""
        return cls.kv(TxnOp(verb=KVVerb.CHECK_NOT_EXISTS, key=key))

    @classmethod
    def node(cls, verb: str, node: Node) -> Operation:
        """Return an operation on a node."""
        return cls(row={"Node": {"Verb": verb, "Node": NODE.write(node)}}, is_read=verb == "get")

    @classmethod
    def service(cls, verb: str, node: str, service: NodeService) -> Operation:
        """Return an operation on a service of a node."""
        row = {"Verb": verb, "Node": node, "Service": SERVICE.write(service)}
        return cls(row={"Service": row}, is_read=verb == "get")

    @classmethod
    def check(cls, verb: str, check: HealthCheck) -> Operation:
        """Return an operation on a check; `node` names whose."""
        return cls(row={"Check": {"Verb": verb, "Check": CHECK.write(check)}}, is_read=verb == "get")

    @classmethod
    def delete_session(cls, session: str) -> Operation:
        """Destroy a session."""
        return cls(row={"Session": {"Verb": "delete", "Session": {"ID": session}}})


Result = KVEntry | Node | NodeService | HealthCheck


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Either `errors` is empty and `results` holds, or nothing was changed. Deletions have no result."""

    results: Sequence[Result] = ()
    errors: Sequence[TxnError] = ()


class Txn(Noun[World]):
    """`client.txn`."""

    @method
    def apply(self, operations: Sequence[Operation]) -> Call[Outcome]:
        """Carry out all operations in order, or none."""
        return apply_call(operations, _outcome)


def apply_call(operations: Sequence[Operation], parse: Callable[[Any], T]) -> Call[T]:
    """Return the call that carries out operations; `parse` is given the JSON of their outcome."""
    return write_call(
        "/v1/txn",
        lambda reply: parse(_body(reply)),
        value=[operation.row for operation in operations],
        accept=(CONFLICT,),
        is_read=all(operation.is_read for operation in operations),
    )


def txn_outcome(body: Mapping[str, Any]) -> TxnOutcome:
    """Return the outcome of operations on keys."""
    results = [
        TxnResult(entry=KV_ENTRY.read(row["KV"]), with_value="Value" in row["KV"])
        for row in checked(body.get("Results"), list)
        if row.get("KV")
    ]
    return TxnOutcome(results=results, errors=_errors(body))


def _body(reply: Reply) -> Mapping[str, Any]:
    return text_map(reply.json())


def _outcome(body: Mapping[str, Any]) -> Outcome:
    return Outcome(results=[_result(row) for row in checked(body.get("Results"), list)], errors=_errors(body))


def _result(row: Mapping[str, Any]) -> Result:
    for kind, shape in (("KV", KV_ENTRY), ("Node", NODE), ("Service", SERVICE), ("Check", CHECK)):
        if row.get(kind):
            found: Result = shape.read(row[kind])
            return found
    raise Internal(f"the agent's answer has a result of an unknown kind: {', '.join(row)}")


def _errors(body: Mapping[str, Any]) -> list[TxnError]:
    return [TxnError(position=row["OpIndex"], what=row["What"]) for row in checked(body.get("Errors"), list)]
