"""Sans-IO: the last replies of servers, so that one that says the same again is not read again.

Agents ask the same questions over and over, and the bytes of most answers are those of the time before, but for how
fresh they are. Comparing bytes costs a hundredth of reading them; and whoever gets the very same list need not
make JSON of it again (agent/http/answers.py).
"""

from typing import Any, Final

from msgspec.structs import replace

from base import codec
from base.keeping import Kept
from structs.query import QueryMeta

REPLIES_COUNT_MAX: Final = 256
BYTES_MAX: Final = 16 * 1024 * 1024
REPLY_BYTES_MIN: Final = 512
"""Smaller replies are read faster than looked up."""


class _Remembered:
    __slots__ = ("head", "reply")

    def __init__(self, head: bytes, reply: Any) -> None:
        self.head = head
        """All of the encoded reply but its meta, which is its last field."""
        self.reply = reply


class Remembered:
    """The last replies to calls that are repeated. For records whose last field is their `meta`."""

    def __init__(self, *, count_max: int = REPLIES_COUNT_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._kept: Kept[bytes, _Remembered] = Kept(count_max=count_max, bytes_max=bytes_max)

    def decode(self, kind: type[Any], key: bytes, data: bytes) -> Any:
        """Return the reply in `data`, made of the same parts as the last one under this key if those are equal.

        Raises InvalidRequest if it is none.
        """
        if len(data) < REPLY_BYTES_MIN or kind.__struct_fields__[-1:] != ("meta",):
            return codec.decode(kind, data)
        known = self._kept.get(key)
        if known is not None and data.startswith(known.head) and type(known.reply) is kind:
            meta = codec.decode(QueryMeta, memoryview(data)[len(known.head) :])
            return replace(known.reply, meta=meta)
        reply = codec.decode(kind, data)
        tail = codec.encode(reply.meta)
        if data.endswith(tail):  # a newer server's may have more in it
            self._kept.put(key, _Remembered(data[: -len(tail)], reply), len(data))
        return reply
