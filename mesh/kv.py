"""Keys and values, and transactions over them."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mesh.query import DEFAULT_READ, Answer, Read
from structs.kv import KVEntry, KVVerb
from structs.txn import TxnError, TxnOp, TxnOutcome, TxnResult

if TYPE_CHECKING:
    from mesh.client import Client

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


class KV:
    """`client.kv`. Keys are texts, values bytes."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self, key: str, read: Read = DEFAULT_READ) -> KVEntry | None:
        """Return one entry, or None where the key does not exist."""
        return self.read(key, read).value

    def read(self, key: str, read: Read = DEFAULT_READ) -> Answer[KVEntry | None]:
        """Like `get`, with the index to block on: of a missing key too."""
        answer = self._client.read(f"/v1/kv/{key}", read, accept=404)
        rows = answer.value.json() if answer.value.status == 200 else []
        return answer.with_value(_entry(rows[0]) if rows else None)

    def list(self, prefix: str, read: Read = DEFAULT_READ) -> Sequence[KVEntry]:
        """Return every entry whose key starts with `prefix`, in byte order of the keys."""
        return self.read_list(prefix, read).value

    def read_list(self, prefix: str, read: Read = DEFAULT_READ) -> Answer[Sequence[KVEntry]]:
        """Like `list`, with the index to block on."""
        answer = self._client.read(f"/v1/kv/{prefix}", read, {"recurse": ""}, accept=404)
        rows = answer.value.json() if answer.value.status == 200 else []
        return answer.with_value([_entry(row) for row in rows])

    def keys(self, prefix: str = "", separator: str = "", read: Read = DEFAULT_READ) -> Sequence[str]:
        """Return the keys under `prefix`, folded at `separator` if there is one."""
        return self.read_keys(prefix, separator, read).value

    def read_keys(self, prefix: str = "", separator: str = "", read: Read = DEFAULT_READ) -> Answer[Sequence[str]]:
        """Like `keys`, with the index to block on."""
        parameters = {"keys": "", "separator": separator} if separator else {"keys": ""}
        answer = self._client.read(f"/v1/kv/{prefix}", read, parameters, accept=404)
        return answer.with_value(answer.value.json() if answer.value.status == 200 else [])

    def put(self, key: str, value: bytes, *, flags: int = 0) -> None:
        """Write one key, whatever it holds."""
        self._put(key, value, {"flags": str(flags)} if flags else {})

    def cas(self, key: str, value: bytes, index: int, *, flags: int = 0) -> bool:
        """Write if the entry's modify index is `index` (0: if there is no entry); returns whether it was."""
        return self._put(key, value, {"cas": str(index), **({"flags": str(flags)} if flags else {})})

    def acquire(self, key: str, value: bytes, session: str, *, flags: int = 0) -> bool:
        """Write and lock for a session; returns whether the lock was got."""
        return self._put(key, value, {"acquire": session, **({"flags": str(flags)} if flags else {})})

    def release(self, key: str, value: bytes, session: str, *, flags: int = 0) -> bool:
        """Write and unlock; returns whether the session had the lock."""
        return self._put(key, value, {"release": session, **({"flags": str(flags)} if flags else {})})

    def delete(self, key: str) -> None:
        """Remove one key; no error if there is none."""
        self._client.write("DELETE", f"/v1/kv/{key}")

    def delete_cas(self, key: str, index: int) -> bool:
        """Remove one key if its modify index is `index`; returns whether it was."""
        return self._client.write("DELETE", f"/v1/kv/{key}", {"cas": str(index)}).body.strip() == b"true"

    def delete_tree(self, prefix: str) -> None:
        """Remove every key that starts with `prefix`."""
        self._client.write("DELETE", f"/v1/kv/{prefix}", {"recurse": ""})

    def transaction(self, operations: Sequence[TxnOp]) -> TxnOutcome:
        """Carry out all operations in order, or none; the outcome has results or errors."""
        rows = [{"KV": _operation(operation)} for operation in operations]
        is_read = all(operation.verb in _READ_VERBS for operation in operations)
        body = json.dumps(rows).encode()
        reply = self._client.write("PUT", "/v1/txn", body=body, accept=409, is_read=is_read)
        return _outcome(reply.json())

    def _put(self, key: str, value: bytes, parameters: Mapping[str, str]) -> bool:
        return self._client.write("PUT", f"/v1/kv/{key}", parameters, body=value).body.strip() == b"true"


def _entry(row: Mapping[str, Any]) -> KVEntry:
    return KVEntry(
        key=row["Key"],
        value=base64.b64decode(row.get("Value") or ""),
        flags=row.get("Flags", 0),
        session=row.get("Session") or "",
        lock_index=row.get("LockIndex", 0),
        create_index=row.get("CreateIndex", 0),
        modify_index=row.get("ModifyIndex", 0),
    )


def _operation(operation: TxnOp) -> dict[str, object]:
    row: dict[str, object] = {"Verb": str(operation.verb), "Key": operation.key}
    if operation.value:
        row["Value"] = base64.b64encode(operation.value).decode()
    if operation.flags:
        row["Flags"] = operation.flags
    if operation.index:
        row["Index"] = operation.index
    if operation.session:
        row["Session"] = operation.session
    return row


def _outcome(body: Mapping[str, Any]) -> TxnOutcome:
    results = [
        TxnResult(entry=_entry(row["KV"]), with_value="Value" in row["KV"])
        for row in body.get("Results") or []
        if row.get("KV")
    ]
    errors = [TxnError(position=row["OpIndex"], what=row["What"]) for row in body.get("Errors") or []]
    return TxnOutcome(results=results, errors=errors)
