"""A quick way to linearizability where every operation shows how far things had come: its level.

States of lists and counters follow each other in one known order, and each operation tells its place in it. Then a
legal order exists exactly if nobody who began after another had ended is on a lower level: no search is needed.
"""

from collections.abc import Iterable, Iterator

import msgspec

from jepsen.history import Operation


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """An operation and its level."""

    operation: Operation
    level: int
    is_current: bool = True
    """False: it shows a state that may be old (but not one of the future)."""
    is_over: bool = True
    """False: nobody knows when it took effect, only that it did not before it began."""


def too_low(placed: Iterable[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """(one that had ended, one that began later and is lower) for each that is lower than it may be."""
    everything = list(placed)
    over = sorted((each for each in everything if each.is_over), key=lambda each: -each.operation.ended_ns)
    highest: Placed | None = None
    for each in sorted(everything, key=lambda each: each.operation.began_ns):
        while over and over[-1].operation.ended_ns < each.operation.began_ns:
            ended = over.pop()
            if highest is None or ended.level > highest.level:
                highest = ended
        if each.is_current and highest is not None and each.level < highest.level:
            yield highest, each
