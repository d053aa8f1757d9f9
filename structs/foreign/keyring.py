"""Internal.KeyringOperation: servers ask it of those of other datacenters. Source: RPC wire format, section 5."""

from structs.foreign.fields import (
    FLAG,
    SIGNED,
    TEXT,
    TEXT_MAP_FILLED,
    Absent,
    Constant,
    Field,
    Flat,
    Table,
    filled,
    integer,
    list_of,
    map_of,
    word_of,
)
from structs.foreign.options import QUERY_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.keyring import KeyringAnswer, KeyringOperation, KeyringReply, KeyringRequest

BYTE = integer(0, 255)

REQUEST = Table(
    KeyringRequest,
    Field("Operation", "operation", word_of(KeyringOperation, "keyring operation")),
    Field("Key", "key", TEXT),
    Field("Forwarded", "forwarded", FLAG),
    Field("RelayFactor", "relay_factor", BYTE),
    Flat("options", QUERY_OPTIONS),
)
ANSWER = Table(
    KeyringAnswer,
    Field("WAN", "wan", FLAG),
    Field("Datacenter", "datacenter", TEXT),
    Field("Segment", "segment", TEXT),
    Field("Messages", "messages", TEXT_MAP_FILLED),
    Field("Keys", "keys", filled(map_of(SIGNED), dict)),
    Absent("primary_keys", {}),
    Field("NumNodes", "nodes_count", SIGNED),
    Field("Error", "error", TEXT),
)
REPLY = Table(
    KeyringReply,
    Field("Responses", "answers", filled(list_of(ANSWER.shape), list)),
    Constant("Index", 0),
    Constant("LastContact", 0),
    Constant("KnownLeader", True),
    Constant("ConsistencyLevel", ""),
)

ROWS = (
    ForeignMethod(name="Internal.KeyringOperation", method="Internal.KeyringOperation", request=REQUEST,
                  reply=REPLY.shape, reply_record=KeyringReply),
)  # fmt: skip
