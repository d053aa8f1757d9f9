"""Sans-IO: a blocking query again and again: what to ask next, what is news, and how long to pause before.

What an agent answers is taken with suspicion: an index may go back (servers restored from an archive, another server
asked), be 0, move without a change, or not block at all. None of it makes a busy loop, and no answer is told twice.
"""

import random
from typing import Generic, TypeVar

from msgspec.structs import replace

from base.errors import MeshError
from mesh.errors import may_repeat
from mesh.query import Answer, Read

T = TypeVar("T")
PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 30.0
"""Between attempts while the agent or its servers are away; doubled from the least to the most, and jittered."""
QUICK_S = 1.0
"""An answer without news that comes sooner did not block."""
QUIET_PAUSE_S_MIN = 0.1
QUIET_PAUSE_S_MAX = 10.0
"""Before the next question after such an answer."""


def next_index(asked: int, answered: int) -> int:
    """The index for the next blocking read: 0 where it went back, otherwise at least 1."""
    return 0 if answered < asked else max(answered, 1)


class Pace:
    """How long to pause after an answer that brought nothing."""

    def __init__(self) -> None:
        self._pause_s = QUIET_PAUSE_S_MIN

    def after(self, *, is_news: bool, took_s: float) -> float:
        """Return the pause in seconds after an answer that took so long; it doubles while nothing blocks."""
        if is_news or took_s >= QUICK_S:
            self._pause_s = QUIET_PAUSE_S_MIN
            return 0.0
        pause_s = self._pause_s
        self._pause_s = min(pause_s * 2, QUIET_PAUSE_S_MAX)
        return pause_s


class WatchState(Generic[T]):
    """One watch. `pause_s` is how long to wait before `next_read` is asked."""

    def __init__(self, read: Read, rng: random.Random) -> None:
        self._read = read
        self._rng = rng
        self._index = 0
        self._last: Answer[T] | None = None
        self._error_pause_s = PAUSE_S_MIN
        self._pace = Pace()
        self.pause_s = 0.0

    def next_read(self) -> Read:
        """What to ask."""
        return replace(self._read, index=self._index)

    def answered(self, answer: Answer[T], *, took_s: float) -> bool:
        """Take an answer that took so many seconds; returns whether it is news."""
        self._error_pause_s = PAUSE_S_MIN
        is_news = self._last is None or self._last.value != answer.value
        if is_news:
            self._last = answer
        self._index = next_index(self._index, answer.index)
        self.pause_s = self._pace.after(is_news=is_news, took_s=took_s)
        return is_news

    def failed(self, error: MeshError) -> None:
        """Take an error; raises it where asking again cannot help."""
        if not may_repeat(error, is_read=True):
            raise error
        self.pause_s = self._error_pause_s * self._rng.uniform(0.5, 1.0)
        self._error_pause_s = min(self._error_pause_s * 2, PAUSE_S_MAX)
