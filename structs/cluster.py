"""Servers, members and what they tell one another before and besides Raft.

Source: servers specification, sections 1, 3, 9 and 10; HTTP API, sections 1, 11 and 13.
"""

from enum import IntEnum

from base.codec import Record
from structs.query import QueryMeta, QueryOptions, WriteOptions


class Peer(Record, frozen=True, kw_only=True):
    """A server in a Raft configuration. `server_id` is the UUID of its data directory."""

    server_id: str
    name: str
    address: str
    """host:port of the server's RPC port."""


class MemberStatus(IntEnum):
    """Numbers as `/v1/agent/members` prints them."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


class Member(Record, frozen=True, kw_only=True):
    """One agent or server as the others know it. `tags` has at least role, id, dc, build, vsn."""

    name: str
    address: str
    port: int
    tags: dict[str, str]
    status: MemberStatus = MemberStatus.ALIVE
    versions: tuple[int, int, int, int, int, int] = (1, 5, 2, 2, 5, 4)
    """Gossip protocol: least, highest, spoken; then the same of the layer above it."""

    @property
    def is_server(self) -> bool:
        """Whether the member says that it is a server."""
        return self.tags.get("role") == "consul"

    @property
    def rpc_address(self) -> str:
        """host:port of a server's RPC port; the port is whatever the member said, so dialling it may fail."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.tags.get('port', '8300')}"


class Empty(Record, frozen=True, kw_only=True):
    """A request or reply with nothing in it."""


class LeaderReply(Record, frozen=True, kw_only=True):
    """`address` is "" where no leader is known."""

    address: str


class PeersReply(Record, frozen=True, kw_only=True):
    """RPC addresses of the Raft configuration; empty before bootstrap."""

    addresses: list[str]


class RaftServer(Record, frozen=True, kw_only=True):
    """One row of the Raft configuration as an operator sees it."""

    peer: Peer
    leader: bool
    voter: bool
    last_index: int
    """Log position as the answering leader knows it; 0 where unknown."""
    protocol: str = "3"


class RaftConfigurationRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.RaftGetConfiguration."""

    options: QueryOptions = QueryOptions()


class RaftConfigurationReply(Record, frozen=True, kw_only=True):
    """The configuration in force and the log index that made it so."""

    servers: list[RaftServer]
    index: int


class RemovePeerRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.RaftRemovePeer: exactly one of the two is set."""

    server_id: str = ""
    address: str = ""
    options: WriteOptions = WriteOptions()


class TransferLeaderRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.RaftTransferLeader: "" picks the most caught-up follower."""

    server_id: str = ""
    options: WriteOptions = WriteOptions()


class TransferLeaderReply(Record, frozen=True, kw_only=True):
    """Who was asked to take over."""

    server_id: str


class AddPeerRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.RaftAddPeer: one new voter, or a known one's new address."""

    peer: Peer
    options: WriteOptions = WriteOptions()


class RaftStatsReply(Record, frozen=True, kw_only=True):
    """RPC Status.RaftStats: where one server's log stands."""

    last_contact_s: float
    term: int
    last_index: int
    commit_index: int
    applied_index: int
    leader: bool
    last_term: int = 0
    """Of the last entry."""
    server_id: str = ""
    """Who answers: what is behind an address need not be whom the asker takes it for."""
    leader_id: str = ""
    """Whom the answering server takes for its leader, "" where it hears none."""
    leaving: bool = False
    """It has begun to leave the cluster."""


class BootstrapHello(Record, frozen=True, kw_only=True):
    """RPC Cluster.Hello, its request and its reply alike: what a server says of itself until there is a cluster.

    `view` is the sorted servers this server would bootstrap with ("id address name"), once it sees as many as it
    expects; `pinned` says that it has promised, durably, to bootstrap with no other set.
    """

    peer: Peer
    datacenter: str
    expect: int = 0
    bootstrapped: bool = False
    view: list[str] = []
    pinned: bool = False
    configuration: list[str] = []
    """Ids in the Raft configuration of this server; empty before bootstrap."""


class DigestReply(Record, frozen=True, kw_only=True):
    """The digest of the state machine at `index`; (0, "") where it isn't known any more."""

    index: int
    digest: str
    meta: QueryMeta = QueryMeta()


class DigestRequest(Record, frozen=True, kw_only=True):
    """RPC Status.Digest: at `index`, or at what is applied now if 0."""

    index: int = 0
