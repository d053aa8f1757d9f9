"""What endpoints and duties see of Raft: the face of `server.raft.node.RaftNode`, so that tests can stand in.

Errors: `propose` and the membership calls raise NoLeader (definite) where nothing entered a log, Refused where
the group or the state machine said no, OutcomeUnknown where it may have happened. `confirm_leadership` raises
NoLeader or NotReady.
"""

from typing import Any, Protocol

from structs.cluster import Peer


class ChunkSink(Protocol):
    """Where chunks go."""

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk; waits while the other side does not keep up."""
        ...


class Pending(Protocol):
    """A write on its way."""

    async def wait(self) -> object:
        """Return the handler's result; raises what `propose` raises. Awaited by one task at most."""
        ...


class Consensus(Protocol):
    """See the module's docstring. All seconds are relative."""

    async def propose(self, command: bytes, *, timeout_s: float) -> object:
        """Return the handler's result once a majority has `command` durably and it is applied here."""
        ...

    def submit(self, command: bytes, *, timeout_s: float) -> Pending:
        """Take up a write and return at once; several of one task are applied in their order, as far as they are."""
        ...

    def lease_valid(self) -> bool:
        """Whether this server leads, holds the lease and has applied its term's first entry."""
        ...

    async def confirm_leadership(self, *, timeout_s: float) -> None:
        """Return once a round that began after this call proved that this server still leads."""
        ...

    def is_leader(self) -> bool:
        """Whether this server believes that it leads."""
        ...

    def leader(self) -> Peer | None:
        """The leader as this server knows it."""
        ...

    def last_contact_s(self) -> float:
        """Seconds since a leader was heard; 0 at the leader."""
        ...

    def configuration(self) -> list[Peer]:
        """The members in force, committed or not."""
        ...

    @property
    def configuration_index(self) -> int:
        """Log position of the entry that made `configuration()`."""
        ...

    def match_indexes(self) -> dict[str, int]:
        """Server id -> the last log position it is known to have; at the leader for all, elsewhere for itself."""
        ...

    def statistics(self) -> Any:
        """The immutable facts an operator may ask for."""
        ...

    async def add_peer(self, peer: Peer) -> None:
        """Add or re-address one voter; leader only."""
        ...

    async def remove_peer(self, server_id: str) -> None:
        """Remove one voter; leader only."""
        ...

    async def transfer_leadership(self, server_id: str | None) -> str:
        """Hand over to `server_id` (None: the most caught-up follower) and return who it was."""
        ...

    def bootstrapped(self) -> bool:
        """Whether any configuration, or anything of a leader's log, has ever been on this disk."""
        ...

    async def bootstrap(self, peers: list[Peer]) -> None:
        """Write the first configuration; the same on every server of it."""
        ...

    async def send_snapshot(self, index: int, term: int, stream: "ChunkSink") -> None:
        """Send the newest complete snapshot, at least (index, term); raises Refused where there is none."""
        ...

    async def wait_leadership_change(self) -> None:
        """Return at the next change of who leads as seen here, including to and from nobody."""
        ...
