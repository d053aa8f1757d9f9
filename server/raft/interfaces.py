"""Sans-IO: what the consensus core asks of the things around it, and what it hands out."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

import msgspec

from server.raft.envelope import Message
from structs.cluster import Peer

Entry = tuple[bytes, int, int]
"""(command with its type byte, index, term)."""


class Log(Protocol):
    """The journal as the core sees it; the library uses it as a list whose first entry is the base."""

    @property
    def first_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def synced_term(self) -> int: ...
    def term_at(self, index: int) -> int | None: ...
    def add(self, command: bytes, index: int, term: int) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, position: Any) -> Any: ...
    def trim_to(self, index: int) -> None: ...
    def reset_to(self, index: int, term: int) -> None: ...
    def getRaftCommitIndex(self) -> int: ...  # noqa: N802


class SnapshotFacts(Protocol):
    """What the core must know of a snapshot; `server.raft.snapshots.SnapshotMeta` is one."""

    @property
    def index(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def configuration(self) -> Sequence[Peer]: ...
    @property
    def configuration_index(self) -> int: ...


class OverrideFacts(Protocol):
    """A configuration set by hand after an outage; `server.raft.recovery.ConfigurationOverride` is one."""

    @property
    def after_index(self) -> int: ...
    @property
    def peers(self) -> Sequence[Peer]: ...


class Applier(Protocol):
    """The state machine's side. `apply` never raises for a bad command; if it raises, the process stops."""

    def apply(self, index: int, term: int, command: bytes) -> object: ...
    def load(self, meta: Any) -> None: ...


class Chance(Protocol):
    """A seeded generator."""

    def random(self) -> float: ...


class Outcome(msgspec.Struct, frozen=True):
    """How a proposal ended: applied with `result`, or discarded: another term's entry was applied in its place."""

    discarded: bool
    result: object


class FetchSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Please fetch the snapshot (index, term), or a newer one, there, make it durable, and call `install`."""

    from_id: str
    index: int
    term: int


class RoleChange(Enum):
    """This server began or ceased to lead since the last tick."""

    LEADER = "leader"
    FOLLOWER = "follower"


class Outbox(msgspec.Struct, kw_only=True):
    """What one tick wants done. See the driver for the order."""

    entries: list[tuple[str, Message]]
    """(server id, message): may leave before the journal is synced."""
    promises: list[tuple[str, Message]]
    """(server id, message): speak of terms and logs, so they may leave only after the sync."""
    results: list[tuple[Any, Outcome]]
    """(token, outcome) of proposals that were settled."""
    fetch: FetchSnapshot | None = None
    became: RoleChange | None = None
    leader_changed: bool = False
    """Whom this server takes for the leader has changed since the last tick."""
    peers_changed: bool = False
    """The configuration in force has changed since the last tick."""


class CoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Facts at one moment; indexes are log positions, times seconds."""

    state: str
    term: int
    """The newest that is durable here."""
    vote: str | None
    leader_id: str | None
    first_index: int
    last_index: int
    last_term: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    snapshot_term: int
    configuration_index: int
    voters_count: int
    match_index: dict[str, int]
    proposals_waiting_count: int
    elections_total: int
    prevotes_total: int
    votes_ignored_total: int
    stale_dropped_total: int
    offers_total: int
    steps_down_total: int
