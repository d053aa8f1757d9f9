"""What the endpoints of one server may reach. Built once by `server/server.py`, handed to every call."""

from collections.abc import Callable
from dataclasses import dataclass

from fsm.machine import Machine
from server.config import ServerConfig
from server.consensus import Consensus
from server.forwarding import Pool
from server.roster import Roster
from structs.cluster import HelloReply, HelloRequest


@dataclass(slots=True)
class Services:
    """See the module's docstring."""

    config: ServerConfig
    raft: Consensus
    machine: Machine
    pool: Pool
    roster: Roster
    hello: Callable[[HelloRequest], HelloReply]
    """Takes in what another member said and returns our side; raises Refused."""
    monotonic_s: Callable[[], float]
