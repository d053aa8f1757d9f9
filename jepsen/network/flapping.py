"""A link that comes and goes: cut, open, cut, open, each for a drawn while."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

import trio

from jepsen.network.network import Direction, effect

Change = Callable[[Collection[Direction]], Awaitable[None]]


class Flapper:
    """Flaps directions of one network, whose `cut` and `reopen` it is given."""

    def __init__(self, cut: Change, reopen: Change, rng: random.Random) -> None:
        self._cut = cut
        self._reopen = reopen
        self._rng = rng
        self._scopes: set[trio.CancelScope] = set()
        self.counted: Counter[str] = Counter()
        """How often each direction was cut."""

    async def run(self, directions: Collection[Direction], interval_s: tuple[float, float]) -> None:
        """Cut and reopen in turn until `stop`, or cancelled."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                while True:
                    await self._cut(directions)
                    self.counted.update(effect("flapped", direction) for direction in directions)
                    await trio.sleep(self._rng.uniform(*interval_s))
                    await self._reopen(directions)
                    await trio.sleep(self._rng.uniform(*interval_s))
            finally:
                self._scopes.discard(scope)

    def stop(self) -> None:
        """Change nothing any more. Who calls must open what is cut now."""
        for scope in self._scopes:
            scope.cancel()
