"""What every read carries (QueryOptions) and what every answer to a read carries (QueryMeta).

Source: HTTP conventions, sections 2 to 5.
"""

from enum import StrEnum

from base.codec import Record

NO_PATH_TEXT = "No path to datacenter"
FROM_ELSEWHERE_MARK = "@"
"""First character of the method name of a call that comes from another datacenter: it is for this one or for nobody.
Where gossip is wrong about who lives where, calls would else travel in circles until their time is over."""
"""What a client is told that asks for a datacenter nobody knows a way to."""


class Consistency(StrEnum):
    """Which server may answer a read, and what it must prove first."""

    DEFAULT = "leader"
    CONSISTENT = "consistent"
    STALE = "stale"


class QueryOptions(Record, frozen=True, kw_only=True):
    """How a read wants to be answered."""

    consistency: Consistency = Consistency.DEFAULT
    index_min: int = 0
    """Block until the data-view index exceeds this; 0 answers at once."""
    wait_s: float = 0.0
    """How long to block at most, already clamped to the allowed range; jitter is added by the server."""
    token: str = ""
    datacenter: str = ""
    """Empty: the datacenter of the agent that was asked."""


class QueryMeta(Record, frozen=True, kw_only=True):
    """What is known about an answer to a read."""

    index: int = 0
    """Data-view index, at least 1 for reads that can block; 0 where the endpoint has none."""
    known_leader: bool = True
    last_contact_ms: int = 0
    consistency: Consistency = Consistency.DEFAULT
    """What was really used."""


class WriteOptions(Record, frozen=True, kw_only=True):
    """What every write carries."""

    token: str = ""
    datacenter: str = ""
