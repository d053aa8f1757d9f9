"""Virtual time, clocks that disagree, and links that delay, stall and break: all from one generator."""

import heapq
import random
from collections.abc import Callable
from typing import Any

from base import codec

Pair = tuple[str, str]


class World:
    """One queue of events. Time is true seconds; servers see it through their own `SimClock`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.time_s = 0.0
        self.events_count = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay_s` true seconds."""
        self._sequence += 1
        heapq.heappush(self._events, (self.time_s + max(0.0, delay_s), self._sequence, action))

    def run_until(self, time_s: float) -> None:
        """Let everything happen up to `time_s`."""
        while self._events and self._events[0][0] <= time_s:
            self.time_s, _, action = heapq.heappop(self._events)
            self.events_count += 1
            action()
        self.time_s = time_s


class SimClock:
    """A monotonic clock of one machine. Rates of two of them differ by less than the 10 % that leases allow."""

    def __init__(self, world: World, *, rate_spread: float = 0.04) -> None:
        self._world = world
        self._base_s = world.rng.uniform(10.0, 100_000.0)
        self._rate = 1.0 + world.rng.uniform(-rate_spread, rate_spread)

    def now_s(self) -> float:
        """What the machine reads."""
        return self._base_s + self._world.time_s * self._rate

    def delay_until_s(self, local_s: float) -> float:
        """True seconds until the machine will read `local_s`."""
        return max(0.0, (local_s - self.now_s()) / self._rate)


class Port:
    """What a link tells a server. A server that is down hears nothing."""

    def connected(self, server_id: str, epoch: int) -> None: ...
    def disconnected(self, server_id: str, epoch: int) -> None: ...
    def message(self, server_id: str, epoch: int, message: list[Any]) -> None: ...
    @property
    def is_up(self) -> bool:
        return True


class Network:
    """Connections between all servers: FIFO each way, with epochs, delays, one-way stalls and cuts."""

    def __init__(self, world: World, ports: dict[str, Port], *, delay_mean_s: float) -> None:
        self._world = world
        self._ports = ports
        self._delay_mean_s = delay_mean_s
        self._epochs: dict[Pair, int] = {}
        self._live: dict[Pair, int] = {}
        self._arrival_s: dict[tuple[str, str, int], float] = {}
        self._stalled: set[Pair] = set()
        """Directions (from, to) in which nothing arrives; messages wait until it ends or the connection breaks."""
        self._waiting: dict[Pair, list[tuple[int, bytes]]] = {}
        self.cut_pairs: set[Pair] = set()
        self.sent_count = 0

    @staticmethod
    def pair(first: str, second: str) -> Pair:
        """The name of the link between two servers."""
        return (first, second) if first < second else (second, first)

    def connect_missing(self) -> None:
        """Dial wherever both ends are up and nothing forbids it."""
        names = sorted(self._ports)
        for position, first in enumerate(names):
            for second in names[position + 1 :]:
                pair = (first, second)
                if pair in self._live or pair in self.cut_pairs:
                    continue
                if pair in self._stalled or (second, first) in self._stalled:
                    continue
                if self._ports[first].is_up and self._ports[second].is_up:
                    epoch = self._epochs[pair] = self._epochs.get(pair, 0) + 1
                    self._live[pair] = epoch
                    self._ports[first].connected(second, epoch)
                    self._ports[second].connected(first, epoch)

    def break_link(self, first: str, second: str) -> None:
        """The connection breaks; each end notices in its own time, and what was under way is lost."""
        pair = self.pair(first, second)
        epoch = self._live.pop(pair, None)
        if epoch is None:
            return
        for me, other in (pair, pair[::-1]):
            self._waiting.pop((me, other), None)
            delay_s = self._world.rng.choice((0.0, 0.0, self._world.rng.uniform(0.0, 0.5)))
            self._world.after(delay_s, lambda me=me, other=other: self._ports[me].disconnected(other, epoch))  # type: ignore[misc]

    def break_all(self, server_id: str) -> None:
        """A process has ended: all its connections break."""
        for other in sorted(self._ports):
            if other != server_id:
                self.break_link(server_id, other)

    def cut(self, pairs: set[Pair]) -> None:
        """Separate these pairs until `heal`."""
        self.cut_pairs |= pairs
        for first, second in sorted(pairs):
            self.break_link(first, second)

    def stall(self, directions: set[Pair]) -> None:
        """Nothing arrives in these directions until `heal`, though the connections seem alive."""
        self._stalled |= directions

    def break_stalled(self) -> None:
        """Stalled connections are given up."""
        for first, second in sorted(self._stalled):
            self.break_link(first, second)

    def heal(self) -> None:
        """All links work again; what was stalled on connections that are still alive arrives."""
        self.cut_pairs.clear()
        self._stalled.clear()
        waiting, self._waiting = self._waiting, {}
        for (sender, receiver), messages in sorted(waiting.items()):
            for epoch, data in messages:
                self._transmit(sender, receiver, epoch, data)

    def connected_epoch(self, first: str, second: str) -> int | None:
        """The epoch of the live connection between two servers."""
        return self._live.get(self.pair(first, second))

    def send(self, sender: str, receiver: str, epoch: int, message: list[Any]) -> None:
        """Send on the connection of that epoch; lost if it has ended."""
        if self._live.get(self.pair(sender, receiver)) == epoch:
            self.sent_count += 1
            self._transmit(sender, receiver, epoch, codec.pack(message))

    def _transmit(self, sender: str, receiver: str, epoch: int, data: bytes) -> None:
        world = self._world
        if (sender, receiver) in self._stalled:
            self._waiting.setdefault((sender, receiver), []).append((epoch, data))
            return
        key = (sender, receiver, epoch)
        arrival_s = world.time_s + world.rng.expovariate(1 / self._delay_mean_s)
        arrival_s = self._arrival_s[key] = max(arrival_s, self._arrival_s.get(key, 0.0) + 1e-7)
        world.after(arrival_s - world.time_s, lambda: self._arrive(sender, receiver, epoch, data))

    def _arrive(self, sender: str, receiver: str, epoch: int, data: bytes) -> None:
        if self._live.get(self.pair(sender, receiver)) != epoch:
            return
        if (sender, receiver) in self._stalled:
            self._waiting.setdefault((sender, receiver), []).append((epoch, data))
            return
        if self._ports[receiver].is_up:
            self._ports[receiver].message(sender, epoch, codec.unpack(data))

    def source(self, server_id: str) -> Port:
        """The server itself, for what doesn't travel by message."""
        return self._ports[server_id]
