"""Sans-IO: who belongs to the group, as the log says it.

The configuration in force is always the latest in the log, committed or not (Ongaro's thesis, 4.1). It is computed
from the snapshot's configuration, the recovery override if there is one, and the membership entries behind them;
cutting the log takes back what it had added. An entry's command is the type byte 2 and `[operation, server_id,
[server_id, name, address]]`. "add" of a known id changes its name and address; it doesn't change who votes.

One change at a time, and only after the leader has committed an entry of its own term: two overlapping changes, or
one left over from an earlier term, can elect two leaders (raft-dev, July 2015; test_raft_paper.py). The library has a
check for the first, but never sets the variable that it looks at (hazard H23).
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from base import codec
from base.errors import InvalidRequest, InvariantBroken, Refused
from structs.cluster import Peer

REGULAR: Final = 0
NO_OP: Final = 1
MEMBERSHIP: Final = 2
"""First byte of a log entry's command, as the library numbers them."""

BASE_INDEX: Final = 1
"""Index of the entry that every brand-new log begins with."""

PEERS_COUNT_MAX: Final = 64

Operation = Literal["add", "rem", "set"]


def encode_change(operation: Operation, peer: Peer) -> bytes:
    """Return the command of a membership entry that adds (or re-addresses) or removes one server."""
    return bytes([MEMBERSHIP]) + codec.pack([operation, peer.server_id, [peer.server_id, peer.name, peer.address]])


def encode_set(peers: Sequence[Peer]) -> bytes:
    """Return the command that states the whole configuration: only a recovery from `peers.json` writes one."""
    rows = [[peer.server_id, peer.name, peer.address] for peer in _sorted(peers)]
    return bytes([MEMBERSHIP]) + codec.pack(["set", "", rows])


def bootstrap_entries(peers: Sequence[Peer]) -> list[tuple[bytes, int, int]]:
    """Return the entries (command, index, term 0) that every server of a new group starts with, behind the base.

    They are the same bytes on all of them whatever the order of `peers`, which is what makes it safe that each writes
    them by itself. Raises InvalidRequest on duplicate ids or addresses, or none at all.
    """
    ordered = _sorted(peers)
    if not ordered or len(ordered) > PEERS_COUNT_MAX:
        raise InvalidRequest(f"cannot bootstrap with {len(ordered)} servers")
    if len({peer.server_id for peer in ordered}) < len(ordered) or len({peer.address for peer in ordered}) < len(
        ordered
    ):
        raise InvalidRequest("cannot bootstrap with two servers of the same id or address")
    return [(encode_change("add", peer), BASE_INDEX + 1 + position, 0) for position, peer in enumerate(ordered)]


def apply_change(peers: dict[str, Peer], command: bytes) -> dict[str, Peer]:
    """Return what `command` makes of `peers`; raises InvariantBroken if it is not a membership command."""
    try:
        operation, server_id, row = codec.unpack(memoryview(command)[1:])
        if operation == "set":
            return {peer.server_id: peer for peer in (_peer(each) for each in row)}
        peer = _peer(row)
        if operation == "add" and peer.server_id == server_id:
            return {**peers, server_id: peer}
        if operation == "rem":
            return {key: value for key, value in peers.items() if key != server_id}
    except (InvalidRequest, ValueError, TypeError) as error:
        raise InvariantBroken(f"a membership entry that nobody here can have written: {command!r}") from error
    raise InvariantBroken(f"a membership entry with an unknown operation: {command!r}")


class Configuration(msgspec.Struct, frozen=True):
    """The members from `index` on."""

    index: int
    term: int
    peers: dict[str, Peer]


class Configurations:
    """The configurations that the log still can return to, oldest first; the last one is in force."""

    def __init__(self, *, index: int, peers: Sequence[Peer]) -> None:
        self._history = [Configuration(index, 0, {peer.server_id: peer for peer in _sorted(peers)})]

    @property
    def latest(self) -> Configuration:
        """The configuration in force."""
        return self._history[-1]

    def at(self, index: int) -> Configuration:
        """The configuration that was in force when the log ended at `index`: what a snapshot there must carry."""
        for configuration in reversed(self._history):
            if configuration.index <= index:
                return configuration
        return self._history[0]

    def committed(self, commit_index: int) -> Configuration:
        """The newest configuration that cannot be taken back. Bootstrap entries (term 0) never can."""
        for configuration in reversed(self._history):
            if configuration.index <= commit_index or configuration.term == 0:
                return configuration
        return self._history[0]

    def append(self, index: int, term: int, command: bytes) -> None:
        """A membership entry was appended to the log."""
        self._history.append(Configuration(index, term, apply_change(self.latest.peers, command)))

    def cut_from(self, index: int) -> bool:
        """The log was cut from `index` on; returns whether that changed the configuration in force."""
        changed = False
        while len(self._history) > 1 and self._history[-1].index >= index:
            self._history.pop()
            changed = True
        return changed

    def restart_at(self, *, index: int, peers: Sequence[Peer], snapshot_index: int) -> None:
        """A snapshot was installed: its configuration, and what the kept tail of the log says behind it."""
        tail = [configuration for configuration in self._history if configuration.index > snapshot_index]
        self._history = [Configuration(index, 0, {peer.server_id: peer for peer in _sorted(peers)}), *tail]

    def forget_before(self, index: int) -> None:
        """The log was trimmed to `index`: keep one configuration at or below it."""
        while len(self._history) > 1 and self._history[1].index <= index:
            self._history.pop(0)


def complaint(operation: Operation, peer: Peer, *, peers: dict[str, Peer], self_id: str) -> str | None:
    """Why the leader `self_id` must refuse this change of `peers`, or None."""
    known = peers.get(peer.server_id)
    if operation == "rem":
        if known is None:
            return f"server {peer.server_id} is not in the configuration"
        if peer.server_id == self_id:
            return "the leader cannot remove itself: transfer the leadership first"
        return None
    if known == peer:
        return f"server {peer.server_id} is already in the configuration"
    for other in peers.values():
        if other.address == peer.address and other.server_id != peer.server_id:
            return f"address {peer.address} belongs to server {other.server_id}"
    if len(peers) >= PEERS_COUNT_MAX:
        return f"a configuration has at most {PEERS_COUNT_MAX} servers"
    return None


def require_changeable(*, ready: bool, configuration_index: int, commit_index: int, waiting: bool = False) -> None:
    """Raise Refused (definite) unless a change of the configuration is safe now; see the module's docstring."""
    if not ready:
        raise Refused("the leader has not committed an entry of its own term yet: try again")
    if waiting or configuration_index > commit_index:
        raise Refused("another change is in progress")


def _sorted(peers: Sequence[Peer]) -> list[Peer]:
    return sorted(peers, key=lambda peer: peer.server_id)


def _peer(row: object) -> Peer:
    if not isinstance(row, list) or len(row) < 3 or not all(isinstance(field, str) for field in row[:3]):
        raise InvalidRequest("malformed peer in a membership entry")
    return Peer(server_id=row[0], name=row[1], address=row[2])
