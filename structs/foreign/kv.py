"""KVS.*: keys and values. Source: RPC wire format, sections 5 and 9.1."""

from typing import Any

from structs.foreign.fields import (
    BYTES,
    FLAG,
    TEXT,
    UNSIGNED,
    Constant,
    Field,
    Flat,
    Inside,
    Shape,
    Table,
    filled,
    list_of,
    word_of,
)
from structs.foreign.options import QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.kv import (
    KVApplyReply,
    KVApplyRequest,
    KVCommand,
    KVEntry,
    KVGetReply,
    KVGetRequest,
    KVKeysReply,
    KVKeysRequest,
    KVListReply,
    KVListRequest,
    KVVerb,
)

VERBS_WITH_VERDICT = frozenset({KVVerb.CAS, KVVerb.DELETE_CAS, KVVerb.LOCK, KVVerb.UNLOCK})
"""All other writes answer false there although they succeeded."""

ENTRY = Table(
    KVEntry,
    Field("LockIndex", "lock_index", UNSIGNED),
    Field("Key", "key", TEXT),
    Field("Flags", "flags", UNSIGNED),
    Field("Value", "value", BYTES),
    Field("Session", "session", TEXT),
    Field("CreateIndex", "create_index", UNSIGNED),
    Field("ModifyIndex", "modify_index", UNSIGNED),
)


def wanted(index: str) -> Inside:
    """Return the entry that a write asks for; `index` is our name for the index that is compared."""
    return Inside(
        "DirEnt",
        Constant("LockIndex", 0),
        Field("Key", "key", TEXT),
        Field("Flags", "flags", UNSIGNED),
        Field("Value", "value", BYTES),
        Field("Session", "session", TEXT),
        Constant("CreateIndex", 0),
        Field("ModifyIndex", index, UNSIGNED),
    )


COMMAND = Table(KVCommand, Field("Op", "verb", word_of(KVVerb, "KV verb")), wanted("cas_index"))
APPLY = Table(KVApplyRequest, Flat("options", WRITE_OPTIONS), Flat("command", COMMAND))
GET = Table(KVGetRequest, Field("Key", "key", TEXT), Flat("options", QUERY_OPTIONS))
LIST = Table(KVListRequest, Field("Key", "prefix", TEXT), Flat("options", QUERY_OPTIONS))
SEPARATOR = Shape(lambda value: TEXT.decode(value) or None, lambda separator: separator or "")
KEYS = Table(
    KVKeysRequest,
    Field("Prefix", "prefix", TEXT),
    Field("Seperator", "separator", SEPARATOR),  # spelt so on the wire
    Flat("options", QUERY_OPTIONS),
)
ENTRIES = filled(list_of(ENTRY.shape), list)
ONE_ENTRY = Shape(
    lambda value: next(iter(ENTRIES.decode(value)), None),
    lambda entry: None if entry is None else [ENTRY.encode(entry)],
)
GET_REPLY = Table(KVGetReply, Field("Entries", "entry", ONE_ENTRY), Flat("meta", QUERY_META))
LIST_REPLY = Table(KVListReply, Field("Entries", "entries", ENTRIES), Flat("meta", QUERY_META))
KEYS_REPLY = Table(KVKeysReply, Field("Keys", "keys", filled(list_of(TEXT), list)), Flat("meta", QUERY_META))
VERDICT = Shape(lambda value: KVApplyReply(ok=FLAG.decode(value)), lambda reply: reply.ok)


def _verdict_said(reply: Any, request: KVApplyRequest) -> Any:
    return reply if request.command.verb in VERBS_WITH_VERDICT else KVApplyReply(ok=False)


def _verdict_heard(reply: Any, request: KVApplyRequest) -> Any:
    return reply if request.command.verb in VERBS_WITH_VERDICT else KVApplyReply(ok=True)


ROWS = (
    ForeignMethod(name="KVS.Apply", method="KVS.Apply", request=APPLY, reply=VERDICT, reply_record=KVApplyReply,
                  says=_verdict_said, hears=_verdict_heard),
    ForeignMethod(name="KVS.Get", method="KVS.Get", request=GET, reply=GET_REPLY.shape, reply_record=KVGetReply),
    ForeignMethod(name="KVS.List", method="KVS.List", request=LIST, reply=LIST_REPLY.shape, reply_record=KVListReply),
    ForeignMethod(name="KVS.ListKeys", method="KVS.ListKeys", request=KEYS, reply=KEYS_REPLY.shape,
                  reply_record=KVKeysReply),
)  # fmt: skip
