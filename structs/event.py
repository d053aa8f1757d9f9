"""User events: what travels by gossip, and what an agent keeps of it.

Source: gossip specification, section 8; HTTP API, section 7.
"""

from base.codec import Record
from structs.query import QueryOptions

EVENT_PREFIX = "consul:event:"
NEW_LEADER = "consul:new-leader"
EVENT_VERSION = 1
EVENTS_KEPT_MAX = 256


class UserEvent(Record, frozen=True, kw_only=True):
    """One event; filters are regular expressions, "" for none."""

    event_id: str
    name: str
    payload: bytes = b""
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    version: int = EVENT_VERSION
    lamport_time: int = 0
    """0 as long as it has not come back by gossip."""


class EventFireRequest(Record, frozen=True, kw_only=True):
    """RPC Internal.EventFire: `payload` is the packed event as gossip carries it."""

    name: str
    payload: bytes
    options: QueryOptions = QueryOptions()


class EventFireReply(Record, frozen=True, kw_only=True):
    """It was handed to gossip; nothing more is known."""
