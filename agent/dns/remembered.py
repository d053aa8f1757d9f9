"""Answers that were made before, ready to be sent again: the short way for UDP. Sans-IO.

Reading and writing a message with a library costs more than everything else about a question that the cache can answer.
So rendered answers are kept under what the question says, its letters' case and its id apart, for as long as what they
were made of is unchanged, and for two seconds at most. Where chance had a part in an answer, several are kept and take
turns, and each is replaced after some uses: who asks often still meets all instances. An answer that should be replaced
is given out meanwhile, so that of many who ask at once one does the work.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Protocol

from agent.dns.message import HEADER_BYTES, OPT_BYTES

KEEP_S: Final = 1.0
"""After this an answer is to be made anew. What is behind it is asked for that often, and so is kept alive."""
KEEP_S_MAX: Final = 2.0
"""After this it is not given out any more."""
VARIANTS_MAX: Final = 8
USES_MAX: Final = 32
"""Of one variant, before it is to be made anew: making one costs some thirty times as much as sending one."""
EDNS_DO: Final = 0x80
"""In the first byte of the flags."""
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
    __slots__ = ("data", "made_at_s", "uses_count")

    def __init__(self, data: bytes, made_at_s: float) -> None:
        self.data = data
        self.made_at_s = made_at_s
        self.uses_count = 0


class _Known:
    __slots__ = ("next", "renewed_at_s", "sources", "variants", "variants_max", "weakest")

    def __init__(self, sources: tuple[tuple[Any, int], ...], variants_max: int) -> None:
        self.sources = sources
        self.variants: list[_Variant] = []
        self.variants_max = variants_max
        self.next = 0
        self.weakest = 0
        """Which one is replaced next."""
        self.renewed_at_s: float | None = None
        """Since when somebody makes another variant; None: nobody does."""


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
    wants = query[end + 3 : end + 5] + (b"\1" if query[end + 7] & EDNS_DO else b"")
    return flags, query[HEADER_BYTES : end - 4].lower(), query[end - 4 : end], wants


class Remembered:
    """Rendered answers by question. Times are monotonic seconds."""

    def __init__(self, *, count_max: int) -> None:
        self._count_max = count_max
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self.hits_count = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: Key, query: bytes, at_s: float) -> tuple[bytes | None, bool]:
        """Return the answer to `query`, whose key is `key`, and whether the caller should make another.

        None: there is none. Nobody else is told so until `keep` is called, or some time has passed.
        """
        known = self._known.get(key)
        if known is None:
            return None, False
        for source, version in known.sources:
            if source.version != version or source.forgotten:
                del self._known[key]
                return None, False
        number = known.next
        variant = known.variants[number]
        age_s = at_s - variant.made_at_s
        if age_s >= KEEP_S_MAX:
            del self._known[key]
            return None, False
        variant.uses_count += 1
        known.next = (number + 1) % len(known.variants)
        self.hits_count += 1
        renews = False
        is_worn = known.variants_max > 1 and variant.uses_count >= USES_MAX
        if age_s >= KEEP_S or is_worn or len(known.variants) < known.variants_max:
            renews = known.renewed_at_s is None or at_s - known.renewed_at_s >= KEEP_S_MAX
            if renews:
                known.renewed_at_s = at_s
        data = variant.data
        end = HEADER_BYTES + len(key[1])
        return query[:2] + data[2:HEADER_BYTES] + query[HEADER_BYTES:end] + data[end:], renews

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
        known.renewed_at_s = None
        variant = _Variant(answer, at_s)
        if len(known.variants) < known.variants_max:
            known.variants.append(variant)
        else:
            known.variants[known.weakest] = variant
            known.weakest = (known.weakest + 1) % known.variants_max
