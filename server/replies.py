"""Replies that need not be made again, since nothing that they hold has changed.

A method says how its index is found without making the answer (`Keeping.index_of`). As long as that index and the state
it was read from are the same, so is the answer, whoever asks and whatever the consistency mode has to prove first: an
index rises whenever the answer changes (state machine, "what it promises"). What is said about the answer, the reply's
`meta`, is new each time. Its bytes are kept, too: they tell its size, and most are sent to somebody.

Replies that are sorted by distance are not kept: no index tells when a node moves.
"""

from typing import Any, Final

from msgspec.structs import replace

from base import codec
from base.errors import InvalidRequest
from base.keeping import Kept
from fsm.store.store import ReadView
from fsm.watch import WatchSet
from server.endpoints.registry import Keeping, Method
from structs.query import QueryMeta, QueryOptions

REPLIES_COUNT_MAX: Final = 512
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all replies: their bytes, and what their records are taken for."""
RECORDS_FACTOR: Final = 4
"""How much more memory records take than their bytes, at the most."""


class Entry:
    """One reply, and what must be the same for it to hold."""

    __slots__ = ("head", "index", "part", "reply", "watch_set")

    def __init__(self, index: int, reply: Any, part: Any, watch_set: WatchSet, head: bytes) -> None:
        self.index = index
        self.reply = reply
        self.part = part
        """The list or map that is all of the reply but its meta."""
        self.watch_set = watch_set
        self.head = head
        """The encoded reply without its meta, which comes last."""


class Replies:
    """The kept replies of one server."""

    def __init__(self, *, count_max: int = REPLIES_COUNT_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._by_part: dict[int, Entry] = {}
        self._kept: Kept[bytes, Entry] = Kept(count_max=count_max, bytes_max=bytes_max, dropped=self._dropped)
        self._epoch: tuple[Any, int] | None = None
        """The store that the kept replies were read from, and how often it had been replaced by restores."""
        self.hits_total = 0

    def __len__(self) -> int:
        """Return how many replies are kept."""
        return len(self._kept)

    def key_of(self, method: Method, request: Any) -> bytes:
        """Return what decides an answer: the request without how it is to be answered. b"" if it is no text."""
        options = request.options
        plain = replace(request, options=QueryOptions(token=options.token) if options.token else _PLAIN)
        try:
            return method.name.encode() + b"\0" + codec.encode(plain)
        except InvalidRequest:
            return b""  # half a character, which only the agent in this process can hand over, finds nothing

    def find(self, view: ReadView, key: bytes, index: int) -> Entry | None:
        """Return the reply that is still good in this view, or None."""
        epoch = epoch_of(view)
        if self._epoch != epoch:
            self._kept.clear()
            self._epoch = epoch
            return None
        entry = self._kept.get(key)
        if entry is None or entry.index != index:
            return None
        self.hits_total += 1
        return entry

    def keep(
        self, view: ReadView, key: bytes, index: int, reply: Any, keeping: Keeping, watch_set: WatchSet, head: bytes
    ) -> None:
        """Keep a reply that was made in this view, unless the state was replaced since; `head`: see `head_of`."""
        if self._epoch != epoch_of(view):
            return
        part = getattr(reply, keeping.part)
        entry = Entry(index, reply, part, watch_set, head)
        self._kept.put(key, entry, len(key) + (1 + RECORDS_FACTOR) * len(head))
        if self._kept.get(key) is entry:
            self._by_part[id(part)] = entry

    def encoded(self, method: Method, reply: Any) -> bytes:
        """Return the bytes of a reply, those of a kept one made once."""
        keeping = method.keeping
        if keeping is None:
            return codec.encode(reply)
        part = getattr(reply, keeping.part)
        entry = self._by_part.get(id(part))
        if entry is None or entry.part is not part:
            return codec.encode(reply)
        return entry.head + codec.encode(reply.meta)

    def _dropped(self, entry: Entry) -> None:
        if self._by_part.get(id(entry.part)) is entry:
            del self._by_part[id(entry.part)]


def epoch_of(view: ReadView) -> tuple[Any, int]:
    """Return what is the same as long as an index means the same: the store, and its restores before this view."""
    return view.store, view.restores_total


def head_of(reply: Any) -> bytes:
    """Return the encoded reply without its meta, which comes last. A few milliseconds for thousands of rows."""
    return codec.encode(reply)[: -len(codec.encode(reply.meta))]


def with_meta(reply: Any, meta: QueryMeta) -> Any:
    """Return a kept reply as it is answered now."""
    return replace(reply, meta=meta)


_PLAIN: Final = QueryOptions()
