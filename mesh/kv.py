"""Keys and values, and transactions over them."""

from collections.abc import Mapping, Sequence

from mesh.call import Call, Noun, World, is_true, method, nothing, read_call, value_of, write_call
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.rows import checked
from mesh.shapes import KV_ENTRY
from mesh.txn import Operation, apply_call, txn_outcome
from structs.kv import KVEntry
from structs.txn import TxnOp, TxnOutcome


class KV(Noun[World]):
    """`client.kv`. Keys are texts, values bytes."""

    @method
    def get(self, key: str, read: Read = DEFAULT_READ) -> Call[KVEntry | None]:
        """Return one entry, or None where the key does not exist."""
        return value_of(KV.read(key, read))

    @method
    def read(self, key: str, read: Read = DEFAULT_READ) -> Call[Answer[KVEntry | None]]:
        """Like `get`, with the index to block on: of a missing key too."""
        return read_call(f"/v1/kv/{key}", KV_ENTRY.first, read, missing=True)

    @method
    def list(self, prefix: str, read: Read = DEFAULT_READ) -> Call[Sequence[KVEntry]]:
        """Return every entry whose key starts with `prefix`, in byte order of the keys."""
        return value_of(KV.read_list(prefix, read))

    @method
    def read_list(self, prefix: str, read: Read = DEFAULT_READ) -> Call[Answer[Sequence[KVEntry]]]:
        """Like `list`, with the index to block on."""
        return read_call(f"/v1/kv/{prefix}", KV_ENTRY.rows, read, {"recurse": ""}, missing=True)

    @method
    def keys(self, prefix: str = "", separator: str = "", read: Read = DEFAULT_READ) -> Call[Sequence[str]]:
        """Return the keys under `prefix`, folded at `separator` if there is one."""
        return value_of(KV.read_keys(prefix, separator, read))

    @method
    def read_keys(
        self, prefix: str = "", separator: str = "", read: Read = DEFAULT_READ
    ) -> Call[Answer[Sequence[str]]]:
        """Like `keys`, with the index to block on."""
        parameters = {"keys": "", "separator": separator} if separator else {"keys": ""}
        return read_call(f"/v1/kv/{prefix}", _texts, read, parameters, missing=True)

    @method
    def put(self, key: str, value: bytes, *, flags: int = 0) -> Call[None]:
        """Write one key, whatever it holds."""
        return write_call(f"/v1/kv/{key}", nothing, _flagged({}, flags), body=value)

    @method
    def cas(self, key: str, value: bytes, index: int, *, flags: int = 0) -> Call[bool]:
        """Write if the entry's modify index is `index` (0: if there is no entry); returns whether it was."""
        return write_call(f"/v1/kv/{key}", is_true, _flagged({"cas": str(index)}, flags), body=value)

    @method
    def acquire(self, key: str, value: bytes, session: str, *, flags: int = 0) -> Call[bool]:
        """Write and lock for a session; returns whether the lock was got."""
        return write_call(f"/v1/kv/{key}", is_true, _flagged({"acquire": session}, flags), body=value)

    @method
    def release(self, key: str, value: bytes, session: str, *, flags: int = 0) -> Call[bool]:
        """Write and unlock; returns whether the session had the lock."""
        return write_call(f"/v1/kv/{key}", is_true, _flagged({"release": session}, flags), body=value)

    @method
    def delete(self, key: str) -> Call[None]:
        """Remove one key; no error if there is none."""
        return write_call(f"/v1/kv/{key}", nothing, method="DELETE")

    @method
    def delete_cas(self, key: str, index: int) -> Call[bool]:
        """Remove one key if its modify index is `index`; returns whether it was."""
        return write_call(f"/v1/kv/{key}", is_true, {"cas": str(index)}, method="DELETE")

    @method
    def delete_tree(self, prefix: str) -> Call[None]:
        """Remove every key that starts with `prefix`."""
        return write_call(f"/v1/kv/{prefix}", nothing, {"recurse": ""}, method="DELETE")

    @method
    def transaction(self, operations: Sequence[TxnOp]) -> Call[TxnOutcome]:
        """Carry out all operations in order, or none; the outcome has results or errors."""
        return apply_call([Operation.kv(operation) for operation in operations], txn_outcome)


def _texts(value: object) -> Sequence[str]:
    return [str(text) for text in checked(value, list)]


def _flagged(parameters: Mapping[str, str], flags: int) -> Mapping[str, str]:
    return {**parameters, "flags": str(flags)} if flags else parameters
