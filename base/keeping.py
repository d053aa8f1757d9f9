"""Sans-IO: what is kept for as long as there is room, the least recently used going first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
LARGEST_PARTS = 2
"""One value may take half of the room, so that a large one does not drive out all others for nothing."""


class Kept(Generic[K, V]):
    """Values by key, bounded in number and in bytes, as whoever puts them in counts those."""

    def __init__(self, *, count_max: int, bytes_max: int, dropped: Callable[[V], None] | None = None) -> None:
        """`dropped` is called with every value that goes, whatever the reason."""
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._dropped = dropped
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.bytes_total = 0

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None where there is none; it is now the most recently used."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep a value in place of what the key had; one that is too large is not kept."""
        self.drop(key)
        if size_bytes * LARGEST_PARTS > self._bytes_max:
            return
        self._values[key] = (value, size_bytes)
        self.bytes_total += size_bytes
        while len(self._values) > self._count_max or self.bytes_total > self._bytes_max:
            self.drop(next(iter(self._values)))

    def drop(self, key: K) -> None:
        """Forget a key, if it is there."""
        found = self._values.pop(key, None)
        if found is not None:
            self.bytes_total -= found[1]
            if self._dropped is not None:
                self._dropped(found[0])

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._values):
            self.drop(key)
