"""What the endpoints of one server may reach. Built once by `server/server.py`, handed to every call."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fsm.machine import Machine
from server.config import ServerConfig
from server.consensus import Consensus
from server.coordinate_batches import CoordinateCollector
from server.elsewhere import Elsewhere
from server.forwarding import Pool
from server.gossip import GossipPool
from server.leader.autopiloting import Autopilot
from server.leader.expiring import SessionExpiry
from server.router import Router
from structs.cluster import BootstrapHello
from structs.coordinate import Coordinate


@dataclass(slots=True)
class Services:
    """See the module's docstring."""

    config: ServerConfig
    raft: Consensus
    machine: Machine
    pool: Pool
    gossip: GossipPool
    autopilot: Autopilot
    """What the leader knows of the servers; empty elsewhere."""
    sessions: SessionExpiry
    """TTLs and lock delays."""
    hello: Callable[[BootstrapHello], BootstrapHello]
    """Takes in what another server without a cluster said, and returns our side; raises Refused."""
    router: Router
    """The datacenters that WAN gossip knows of."""
    elsewhere: Elsewhere
    query_rng: random.Random
    """Mixes the instances that prepared queries find."""
    wan: GossipPool | None = None
    coordinates: CoordinateCollector = field(default_factory=CoordinateCollector)
    """Positions of nodes that were sent to this server as the leader; `server/leader/coordinates.py` writes them."""
    is_leaving: bool = False
    """Whether this server has begun to leave the cluster."""

    def wan_position(self) -> Coordinate | None:
        """Where this server is among all datacenters' servers, None where that is not known."""
        return self.wan.coordinate() if self.wan is not None else None

    def wan_positions(self) -> Mapping[str, Coordinate]:
        """Where all datacenters' servers are, by their names in the WAN pool, ourselves included, as far as known."""
        if self.wan is None:
            return {}
        own = self.wan.coordinate()
        return {**self.wan.coordinates(), **({self.wan.self_member().name: own} if own is not None else {})}
