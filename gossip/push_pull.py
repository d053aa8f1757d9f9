"""Sans-IO: the tables that two members exchange, as records and as bytes. Source: wire format, section 4.

A push/pull is a header that counts, one map for each node, and the user state as raw bytes behind them.
"""

from typing import Any

import msgspec

from base.codec import OldReader, Truncated
from base.errors import InvalidRequest
from gossip.fields import (
    LIST_ITEMS_MAX,
    VERSIONS_COUNT,
    Fields,
    bytes_of,
    flag_of,
    from_map,
    host_of,
    name_of,
    same,
    to_bytes,
    u16,
    u32,
    unsigned,
    wire_host,
    wire_text,
)
from gossip.instructions import VERSIONS, Versions
from gossip.layers import State
from gossip.messages import Type
from gossip.serf_messages import MEMBERS_MAX

NODE_BYTES_MAX = 4096
"""One record: a name, 512 bytes of meta data, and what later versions may add."""
HEADER_BYTES_MAX = 4096
COMPLAINTS_MAX = 8
USER_STATE_BYTES_MAX = 8 << 20
"""What the upper layer says: a name and a number for each of MEMBERS_MAX members, and late user events."""

# Names of 32 bytes with their status times, some of them among those that left, and events full to the brim.
assert MEMBERS_MAX * 64 + 512 * 1024 <= USER_STATE_BYTES_MAX


def _versions_or_none(value: Any) -> Versions | None:
    raw = bytes_of(value)
    return tuple(raw[:VERSIONS_COUNT]) if len(raw) >= VERSIONS_COUNT else None  # type: ignore[return-value]


def _wire_versions(versions: Versions | None) -> bytes:
    """Foreign members do not survive a record with fewer than six: ours stand in for those that nobody knows."""
    return bytes(VERSIONS if versions is None else versions)


_state_number = unsigned(max(State))
_STATES = tuple(State)


def _state_of(value: Any) -> State:
    return _STATES[_state_number(value)]


class NodeState(Fields, frozen=True, kw_only=True):
    """One node as the sender knows it; `port` 0 is the receiver's own. Dead is all that is known of who left."""

    FIELDS = {
        "name": ("Name", name_of, wire_text),
        "host": ("Addr", host_of, wire_host),
        "port": ("Port", u16, same),
        "meta": ("Meta", bytes_of, same),
        "incarnation": ("Incarnation", u32, same),
        "state": ("State", _state_of, int),
        "versions": ("Vsn", _versions_or_none, _wire_versions),
    }
    name: str = ""
    host: str = ""
    port: int = 0
    meta: bytes = b""
    incarnation: int = 0
    state: State = State.ALIVE
    versions: Versions | None = None
    """None: nobody said. Such a node is left out of the check of versions (wire format, section 4.2)."""


class PushPull(msgspec.Struct, frozen=True, kw_only=True):
    """A whole table: the sender is in it, and everybody whom it remembers."""

    nodes: list[NodeState]
    user_state: bytes = b""
    """What the upper layer says; "" for nothing."""
    join: bool = False
    complaints: list[str] = []
    """Of a received one: what was wrong with the first records that are left out of `nodes`. Never sent."""


class Header(Fields, frozen=True, kw_only=True):
    """How many nodes and bytes of user state follow."""

    FIELDS = {
        "nodes_count": ("Nodes", unsigned(MEMBERS_MAX), same),
        "user_state_bytes": ("UserStateLen", unsigned(USER_STATE_BYTES_MAX), same),
        "join": ("Join", flag_of, same),
    }
    nodes_count: int = 0
    user_state_bytes: int = 0
    join: bool = False


def encode_push_pull(table: PushPull) -> bytes:
    """Return the message, type byte included."""
    header = Header(nodes_count=len(table.nodes), user_state_bytes=len(table.user_state), join=table.join)
    nodes = b"".join([to_bytes(node) for node in table.nodes])
    return bytes((Type.PUSH_PULL,)) + to_bytes(header) + nodes + table.user_state


def decode_push_pull(message: bytes) -> PushPull:
    """Return the table in a message, type byte included.

    A record with an impossible value is left out and mentioned in `complaints`, so that one odd member does not keep
    all others from knowing each other. Raises InvalidRequest, or TooLarge beyond the bounds of this file.
    """
    if message[:1] != bytes((Type.PUSH_PULL,)):
        raise InvalidRequest("not a push/pull")
    reader = OldReader(memoryview(message)[1:], list_items_max=LIST_ITEMS_MAX)
    header = from_map(Header, reader.read_within(HEADER_BYTES_MAX))
    nodes: list[NodeState] = []
    complaints: list[str] = []
    for _ in range(header.nodes_count):
        fields = reader.read_within(NODE_BYTES_MAX)
        try:
            nodes.append(_node(fields))
        except InvalidRequest as error:
            if len(complaints) < COMPLAINTS_MAX:
                complaints.append(str(error))
    user_state = bytes(reader.rest()[: header.user_state_bytes])
    if len(user_state) < header.user_state_bytes:
        raise Truncated("a push/pull without the end of its user state")
    return PushPull(nodes=nodes, user_state=user_state, join=header.join, complaints=complaints)


def _node(fields: Any) -> NodeState:
    try:
        node = from_map(NodeState, fields)
    except InvalidRequest as error:
        name = fields.get("Name") if isinstance(fields, dict) else None
        raise InvalidRequest(f"node {name!r}: {error}") from error
    if not node.name:
        raise InvalidRequest("a node without a name")
    return node
