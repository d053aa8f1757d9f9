"""Status.*: answers that are no maps there. Source: RPC wire format, section 9."""

from structs.cluster import Empty, LeaderReply, PeersReply
from structs.foreign.fields import TEXT, Shape, filled, list_of
from structs.foreign.options import NOTHING
from structs.foreign.row import ForeignMethod

ADDRESSES = filled(list_of(TEXT), list)
LEADER = Shape(lambda value: LeaderReply(address=TEXT.decode(value)), lambda reply: reply.address)
PEERS = Shape(lambda value: PeersReply(addresses=ADDRESSES.decode(value)), lambda reply: reply.addresses)

ROWS = (
    ForeignMethod(name="Status.Ping", method="Status.Ping", request=NOTHING, reply=NOTHING.shape, reply_record=Empty,
                  has_datacenter=False),
    ForeignMethod(name="Status.Leader", method="Status.Leader", request=NOTHING, reply=LEADER,
                  reply_record=LeaderReply, has_datacenter=False),
    ForeignMethod(name="Status.Peers", method="Status.Peers", request=NOTHING, reply=PEERS, reply_record=PeersReply,
                  has_datacenter=False),
)  # fmt: skip
