"""A server without consensus: answers the calls of the HTTP layer out of dicts, as the real endpoints would."""

from collections.abc import Awaitable
from typing import TypeVar, cast

from base.codec import Record
from structs.kv import KVApplyReply, KVApplyRequest, KVEntry, KVGetReply, KVGetRequest, KVVerb
from structs.query import QueryMeta

Reply = TypeVar("Reply", bound=Record)


class FakeDelegate:
    """Holds entries by key."""

    def __init__(self) -> None:
        self.index = 1
        self.entries: dict[str, KVEntry] = {}

    def call(self, method: str, request: Record, reply: type[Reply]) -> Reply | Awaitable[Reply]:
        """See Delegate."""
        answer = getattr(self, "_" + method.replace(".", "_").lower())(request)
        return cast(Reply, answer)

    def _kvs_get(self, request: KVGetRequest) -> KVGetReply:
        entry = self.entries.get(request.key)
        return KVGetReply(entry=entry, meta=QueryMeta(index=entry.modify_index if entry else self.index))

    async def _kvs_apply(self, request: KVApplyRequest) -> KVApplyReply:
        command = request.command
        self.index += 1
        if command.verb is KVVerb.SET:
            self.entries[command.key] = KVEntry(
                key=command.key, value=command.value, create_index=self.index, modify_index=self.index
            )
        return KVApplyReply(ok=True)
