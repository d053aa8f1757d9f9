"""Sans-IO. The rows of `kvs`, and the second way to those that a session holds.

A row is `body + 16-byte hash` (fsm/digest.py). Numbers are big-endian. Bodies:

| kind | used when              | body                                                                     |
| ---- | ---------------------- | ------------------------------------------------------------------------ |
| 0    | no flags, never locked | u8 kind, u64 create, u64 modify, value                                   |
| 1    | otherwise              | u8 kind, u64 create, u64 modify, u64 flags, u64 lock index, u8 n,        |
|      |                        | n bytes of session, value                                                |

Indexes in rows are client indexes (Raft index + offset).
"""

import struct
from struct import Struct
from typing import NamedTuple

from fsm.digest import DIGEST_BYTES
from fsm.store import secondary
from structs.kv import KVEntry

KIND_PLAIN = 0
KIND_FULL = 1
PLAIN = Struct(">BQQ")
FULL = Struct(">BQQQQB")
MODIFY_INDEX = slice(9, 17)
"""Where it stands in rows of both kinds; big-endian, so that its bytes compare as the numbers do."""
SESSION_BYTES_MAX = 255


class Row(NamedTuple):
    """A decoded row."""

    create_index: int
    modify_index: int
    flags: int
    lock_index: int
    session: str
    value: bytes


def decode_row(row: bytes) -> Row:
    """Return the fields of a stored row."""
    if row[0] == KIND_PLAIN:
        _, create, modify = PLAIN.unpack_from(row)
        return Row(create, modify, 0, 0, "", row[17:-DIGEST_BYTES])
    _, create, modify, flags, lock_index, session_bytes = FULL.unpack_from(row)
    value_start = FULL.size + session_bytes
    session = row[FULL.size : value_start].decode()
    return Row(create, modify, flags, lock_index, session, row[value_start:-DIGEST_BYTES])


assert PLAIN.size == 17


def encode_body(create: int, modify: int, flags: int, lock_index: int, session: str, value: bytes) -> bytes:
    """Return the body of a row; raises ValueError if a number or the session doesn't fit."""
    if not (flags or lock_index or session):
        return PLAIN.pack(KIND_PLAIN, create, modify) + value
    session_bytes = session.encode()
    if len(session_bytes) > SESSION_BYTES_MAX:
        raise ValueError(f"session of {len(session_bytes)} bytes")
    try:
        head = FULL.pack(KIND_FULL, create, modify, flags, lock_index, len(session_bytes))
    except struct.error as error:
        raise ValueError(str(error)) from error
    return head + session_bytes + value


def modify_index_of(row: bytes) -> int:
    """Return ModifyIndex without decoding the rest."""
    return int.from_bytes(row[MODIFY_INDEX], "big")


def entry_of(key: str, row: bytes) -> KVEntry:
    """Return a stored row as the entry that clients see."""
    if row[0] == KIND_PLAIN:
        _, create, modify = PLAIN.unpack_from(row)
        return KVEntry(key=key, value=row[17:-DIGEST_BYTES], create_index=create, modify_index=modify)
    create, modify, flags, lock_index, session, value = decode_row(row)
    return KVEntry(
        key=key,
        value=value,
        flags=flags,
        session=session,
        lock_index=lock_index,
        create_index=create,
        modify_index=modify,
    )


def session_of(row: bytes) -> str:
    """Return the id of the session that holds a row (or a body), "" where none does."""
    if row[0] == KIND_PLAIN:
        return ""
    session_bytes = row[FULL.size - 1]
    return row[FULL.size : FULL.size + session_bytes].decode()


def entries_of(row_key: bytes, body: bytes) -> list[bytes]:
    """Return the entries of a row of `kvs` among the second ways."""
    session = session_of(body)
    return [secondary.of_held_key(session, row_key)] if session else []
