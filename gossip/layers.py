"""Sans-IO: what the two layers of the machine ask of each other.

Below, `swim.Swim` knows names, addresses, incarnations and opaque meta data, and finds out who is there. Above,
`serf.Serf` gives meta data its meaning (tags) and knows why somebody is gone. All calls are plain functions of the time
that is handed in; none may raise for what another member said. Instructions go to the one list that both share; each
layer keeps its own deadlines, and whoever composes the layers wakes both.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Protocol

import msgspec

from gossip.instructions import Address, Versions


class State(IntEnum):
    """How a node stands in the lower layer; the numbers are those of a push/pull (wire format, section 4.1)."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2


class Node(msgspec.Struct, kw_only=True):
    """What the lower layer knows of one member; changed by that layer only."""

    name: str
    address: Address
    meta: bytes
    incarnation: int
    state: State
    changed_s: float
    """When `state` became what it is."""
    versions: Versions


class Upper(Protocol):
    """What the membership layer asks of the layer above."""

    def local_state(self, now_s: float, *, join: bool) -> bytes:
        """Return the user state of a push/pull of ours."""
        ...

    def merge_state(self, now_s: float, state: bytes, *, join: bool) -> None:
        """Take the other side's user state, if it sent any."""
        ...

    def user_message(self, now_s: float, source: Address, message: bytes) -> None:
        """Take a user message (without the type byte of the lower layer)."""
        ...

    def broadcasts(self, now_s: float, *, overhead_bytes: int, bytes_max: int) -> list[bytes]:
        """Return user messages to send along: each costs its size + `overhead_bytes`, all together `bytes_max`."""
        ...

    def joined(self, now_s: float, node: Node) -> None:
        """A node is there that was not known, or was dead."""
        ...

    def left(self, now_s: float, node: Node) -> None:
        """A node is dead, for whatever reason."""
        ...

    def updated(self, now_s: float, node: Node) -> None:
        """A living node has other meta data."""
        ...

    def merge_refused(self, nodes: list[Node]) -> str | None:
        """Return why a join with these nodes must fail, None if it may go on."""
        ...

    def alive_refused(self, node: Node) -> str | None:
        """Return why an alive message of this node is to be ignored, None if it is not."""
        ...

    def ack_payload(self) -> bytes:
        """Return what our direct acks carry."""
        ...

    def probed(self, now_s: float, node: Node, rtt_s: float, payload: bytes) -> None:
        """A direct ack came back after `rtt_s`."""
        ...

    def conflicted(self, now_s: float, known: Node, other: Node) -> None:
        """Somebody else says that he has the name of `known`, which may be ours."""
        ...


class Lower(Protocol):
    """What the upper layer asks of the membership layer."""

    @property
    def local(self) -> Node:
        """Ourselves."""
        ...

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Everybody known, ourselves and the dead included, by name."""
        ...

    @property
    def alive_count(self) -> int:
        """How many are alive or suspected, ourselves included."""
        ...

    def send_user_message(self, to: Address, message: bytes) -> None:
        """Send a user message (without the lower layer's type byte) in a packet of its own."""
        ...

    def push_pull(self, now_s: float, to: Address, *, join: bool, done: Callable[[float, str], None]) -> None:
        """Exchange tables with whoever is at `to`; then call done(now_s, "" or why it failed)."""
        ...

    def set_meta(self, now_s: float, meta: bytes) -> None:
        """Tell everybody that our meta data are these from now on."""
        ...

    def leave(self, now_s: float, done: Callable[[float], None]) -> None:
        """Say that we go; then call `done` once everybody was told often enough, or nobody is there to be told."""
        ...

    def forget(self, name: str) -> None:
        """Drop the record of a dead node."""
        ...

    def random_nodes(self, count: int, wanted: Callable[[Node], bool]) -> list[Node]:
        """Return up to `count` different nodes for which `wanted` holds, never ourselves."""
        ...
