"""Internal.EventFire. Source: RPC wire format, section 9."""

from structs.event import EventFireReply, EventFireRequest
from structs.foreign.fields import BYTES, TEXT, Constant, Field, Flat, Table
from structs.foreign.options import QUERY_OPTIONS
from structs.foreign.row import ForeignMethod

FIRE = Table(
    EventFireRequest,
    Field("Name", "name", TEXT),
    Field("Payload", "payload", BYTES),
    Flat("options", QUERY_OPTIONS),
)
FIRE_REPLY = Table(
    EventFireReply,
    Constant("Index", 0),
    Constant("LastContact", 0),
    Constant("KnownLeader", True),
    Constant("ConsistencyLevel", ""),
)

ROWS = (
    ForeignMethod(name="Internal.EventFire", method="Internal.EventFire", request=FIRE, reply=FIRE_REPLY.shape,
                  reply_record=EventFireReply),
)  # fmt: skip
