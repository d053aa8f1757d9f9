"""Keys, values, flags and lock fields: entries, requests and the logged command.

Source: state store specification, sections 3, 4 and 6; HTTP API, sections 4 and 5.
"""

from enum import StrEnum

from base.codec import Record
from base.errors import InvalidRequest, TooLarge
from structs.query import QueryMeta, QueryOptions, WriteOptions

KIB = 1024
VALUE_BYTES_MAX = 512 * KIB
"""One value. It is one log entry, and must be written, synced and sent well inside a heartbeat."""
KEY_BYTES_MAX = 8 * KIB
"""One key, in UTF-8. Far above what real paths need; an HTTP head has 16 KiB."""


class KVEntry(Record, frozen=True, kw_only=True):
    """One stored key. Indexes are Raft indexes as clients see them."""

    key: str
    value: bytes = b""
    flags: int = 0
    session: str = ""
    lock_index: int = 0
    create_index: int = 0
    modify_index: int = 0


class KVVerb(StrEnum):
    """What a KV write or a KV operation of a transaction does."""

    SET = "set"
    CAS = "cas"
    DELETE = "delete"
    DELETE_CAS = "delete-cas"
    DELETE_TREE = "delete-tree"
    LOCK = "lock"
    UNLOCK = "unlock"
    GET = "get"
    GET_OR_EMPTY = "get-or-empty"
    GET_TREE = "get-tree"
    CHECK_SESSION = "check-session"
    CHECK_INDEX = "check-index"
    CHECK_NOT_EXISTS = "check-not-exists"


FLAGS_MAX = (1 << 64) - 1


def check_operation(verb: str, key: str, value: bytes, flags: int, *, value_bytes_max: int = VALUE_BYTES_MAX) -> None:
    """Raise InvalidRequest or TooLarge if an operation can never succeed. Asked at the border, never in a replay."""
    if not key and verb not in (KVVerb.DELETE_TREE, KVVerb.GET_TREE):
        raise InvalidRequest("Must provide key")
    key_bytes = len(key.encode(errors="surrogatepass"))
    if key_bytes > KEY_BYTES_MAX:
        raise TooLarge(f"Key is too large ({key_bytes} > {KEY_BYTES_MAX} bytes)")
    if len(value) > value_bytes_max:
        raise TooLarge(f'Value for key "{key}" is too large ({len(value)} > {value_bytes_max} bytes)')
    if not 0 <= flags <= FLAGS_MAX:
        raise InvalidRequest(f"flags {flags} are not an unsigned 64-bit number")


class KVCommand(Record, frozen=True, kw_only=True):
    """Logged: one KV write. LOCK and UNLOCK take a session."""

    verb: KVVerb
    key: str
    value: bytes = b""
    flags: int = 0
    cas_index: int = 0
    session: str = ""


WRITE_VERBS = frozenset(
    {
        KVVerb.SET,
        KVVerb.CAS,
        KVVerb.DELETE,
        KVVerb.DELETE_CAS,
        KVVerb.DELETE_TREE,
        KVVerb.LOCK,
        KVVerb.UNLOCK,
    }
)


def check_write(command: KVCommand, *, value_bytes_max: int = VALUE_BYTES_MAX) -> None:
    """Raise InvalidRequest or TooLarge if a write can never succeed. Asked at the border, never in a replay."""
    if command.verb not in WRITE_VERBS:
        raise InvalidRequest(f'unknown KV verb "{command.verb}"')
    check_operation(command.verb, command.key, command.value, command.flags, value_bytes_max=value_bytes_max)


class KVApplyRequest(Record, frozen=True, kw_only=True):
    """RPC KVS.Apply: asks for one KV write."""

    command: KVCommand
    options: WriteOptions = WriteOptions()


class KVApplyReply(Record, frozen=True, kw_only=True):
    """`ok` is what HTTP prints: false only where a compare-and-set, lock or unlock did not match."""

    ok: bool


class KVGetRequest(Record, frozen=True, kw_only=True):
    """RPC KVS.Get: one key."""

    key: str
    options: QueryOptions = QueryOptions()


class KVGetReply(Record, frozen=True, kw_only=True):
    """`entry` is None where the key does not exist."""

    entry: KVEntry | None
    meta: QueryMeta


class KVListRequest(Record, frozen=True, kw_only=True):
    """RPC KVS.List: every entry whose key starts with `prefix`."""

    prefix: str
    options: QueryOptions = QueryOptions()


class KVListReply(Record, frozen=True, kw_only=True):
    """Entries in byte order of their keys."""

    entries: list[KVEntry]
    meta: QueryMeta


class KVKeysRequest(Record, frozen=True, kw_only=True):
    """RPC KVS.ListKeys: keys under `prefix`, folded at `separator` (None: not folded)."""

    prefix: str
    separator: str | None = None
    options: QueryOptions = QueryOptions()


class KVKeysReply(Record, frozen=True, kw_only=True):
    """Keys, or folded prefixes, in byte order."""

    keys: list[str]
    meta: QueryMeta


class TombstoneCommand(Record, frozen=True, kw_only=True):
    """Logged by the leader's reaper: forget deletions up to client index `index`."""

    index: int


class ReapReply(Record, frozen=True, kw_only=True):
    """How many deletions were forgotten, and whether some up to that index remain (one command's work is bounded)."""

    count: int
    more: bool
