"""Answers that were made before, ready to be sent again: the short way for UDP. Sans-IO.

Reading and writing a message with a library costs more than everything else about a question that the cache can answer.
So rendered answers are kept under what the question says, its letters' case and its id apart, for as long as what they
were made of is unchanged, and a second at most. Where chance had a part in an answer, several are kept and take turns,
and each is replaced after some uses: who asks often still meets all instances.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Protocol

from agent.dns.message import HEADER_BYTES

KEEP_S: Final = 1.0
"""How long an answer may be used again. What is behind it is asked for that often at least, and so is kept alive."""
VARIANTS_MAX: Final = 8
USES_MAX: Final = 32
"""Of one variant: making one costs some thirty times as much as sending one."""
OPT_BYTES: Final = 11
Key = tuple[int, bytes, bytes, bytes]


class Source(Protocol):
    """What an answer was made of."""

    @property
    def version(self) -> int:
        """Another number once it has changed."""

    @property
    def forgotten(self) -> bool:
        """Whether it is not kept fresh any more."""


class _Variant:
    __slots__ = ("data", "until_s", "uses_count")

    def __init__(self, data: bytes, until_s: float) -> None:
        self.data = data
        self.until_s = until_s
        self.uses_count = 0


class _Known:
    __slots__ = ("next", "sources", "variants", "variants_max")

    def __init__(self, sources: tuple[tuple[Any, int], ...], variants_max: int) -> None:
        self.sources = sources
        self.variants: list[_Variant] = []
        self.variants_max = variants_max
        self.next = 0


def key_of(query: bytes) -> Key | None:
    """Return under what the answer to a query is kept, None for one that has to be read with care."""
    size = len(query)
    # An ordinary query, nothing but RD, AD and CD set; one question; at most the OPT record.
    if size < HEADER_BYTES + 5 or query[2] & 0xFE or query[3] & 0xCF or query[4:10] != b"\0\1\0\0\0\0":
        return None
    end = query.find(b"\0", HEADER_BYTES) + 5
    if end < HEADER_BYTES + 5 or end > size:
        return None
    flags = query[2] << 8 | (query[3] & 0x10)
    if query[10:12] == b"\0\0":
        return (flags, query[HEADER_BYTES : end - 4].lower(), query[end - 4 : end], b"") if end == size else None
    if query[10:12] != b"\0\1" or size < end + OPT_BYTES or query[end : end + 3] != b"\0\0\x29":
        return None
    if query[end + 6] or size != end + OPT_BYTES + (query[end + 9] << 8 | query[end + 10]):
        return None
    return flags, query[HEADER_BYTES : end - 4].lower(), query[end - 4 : end], query[end + 3 : end + 5]


class Remembered:
    """Rendered answers by question. Times are monotonic seconds."""

    def __init__(self, *, count_max: int) -> None:
        self._count_max = count_max
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self.hits_count = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: Key, query: bytes, at_s: float) -> bytes | None:
        """Return the answer to `query`, whose key is `key`; None where one has to be made."""
        known = self._known.get(key)
        if known is None:
            return None
        for source, version in known.sources:
            if source.version != version or source.forgotten:
                del self._known[key]
                return None
        number = known.next
        if number >= len(known.variants):
            return None
        variant = known.variants[number]
        if at_s >= variant.until_s or variant.uses_count >= USES_MAX:
            return None
        variant.uses_count += 1
        known.next = (number + 1) % known.variants_max
        self.hits_count += 1
        data = variant.data
        end = HEADER_BYTES + len(key[1])
        return query[:2] + data[2:HEADER_BYTES] + query[HEADER_BYTES:end] + data[end:]

    def keep(
        self, key: Key, answer: bytes, sources: Sequence[tuple[Source, int]], *, at_s: float, varies: bool
    ) -> None:
        """Keep an answer that was just made of `sources` in these versions."""
        known = self._known.get(key)
        wanted = tuple(sources)
        if known is None or known.sources != wanted:
            known = self._known[key] = _Known(wanted, VARIANTS_MAX if varies else 1)
            self._known.move_to_end(key)
            if len(self._known) > self._count_max:
                self._known.popitem(last=False)
        variant = _Variant(answer, at_s + KEEP_S)
        if known.next < len(known.variants):
            known.variants[known.next] = variant
        else:
            known.variants.append(variant)
        known.next = (known.next + 1) % known.variants_max
