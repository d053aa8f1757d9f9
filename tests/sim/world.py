"""Virtual time, clocks that disagree, and links that delay, stall, lose and break: all from one generator.

Reusable: nothing here knows what the machines do. A simulation makes one `World` of its seed, gives each machine a
`SimClock` and a `Port`, and joins the ports by one `Network`. Machines are named by any text; what they send is bytes.

Everything happens in `World.run_until`, one event at a time, in an order that the seed alone decides. Whoever uses this
draws only from generators of `World.rng_of`, one for each purpose, so that more draws of one never shift another's; and
iterates over no bare set.

A connection is what TCP promises: in order, each message once, or it breaks. Each time two ports are connected anew
the connection gets the next `epoch`, which comes with every message, so that what is left of an old one can be told.
A direction is `(from, to)`, a pair is both directions, sorted: `Network.pair`.
"""

import heapq
import random
from collections.abc import Callable
from hashlib import blake2b

Direction = tuple[str, str]
Pair = tuple[str, str]

DROP_NOTICED_S_MAX = 5.0
"""A connection that loses everything one way is given up within this time: keep-alives are what real ones have."""


class World:
    """One queue of events. Time is true seconds; machines see it through their own `SimClock`."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.time_s = 0.0
        self.events_count = 0
        self._trace = blake2b(digest_size=16)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def rng_of(self, name: str) -> random.Random:
        """A generator for one purpose: the same name gives the same draws again, whatever others draw."""
        return random.Random(f"{name} of {self.seed}")

    @property
    def trace(self) -> str:
        """A digest of all that was noted until now: two runs that have the same did the same."""
        return self._trace.hexdigest()

    def note(self, what: str, data: bytes = b"") -> None:
        """Let this, at this moment, count for the trace."""
        self._trace.update(f"{self.time_s!r} {what} {len(data)} ".encode())
        self._trace.update(data)

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

    def __init__(self, world: World, name: str, *, rate_spread: float = 0.04) -> None:
        rng = world.rng_of(f"clock of {name}")
        self._world = world
        self._base_s = rng.uniform(10.0, 100_000.0)
        self._rate = 1.0 + rng.uniform(-rate_spread, rate_spread)

    def now_s(self) -> float:
        """What the machine reads."""
        return self._base_s + self._world.time_s * self._rate

    def delay_until_s(self, local_s: float) -> float:
        """True seconds until the machine will read `local_s`."""
        return max(0.0, (local_s - self.now_s()) / self._rate)


class Port:
    """What a network tells a machine. One that is down hears nothing."""

    def connected(self, name: str, epoch: int) -> None:
        """There is a connection with the machine `name`."""

    def disconnected(self, name: str, epoch: int) -> None:
        """This end has noticed that the connection is gone. One of a later epoch may be there already."""

    def message(self, name: str, epoch: int, data: bytes) -> None:
        """`data` has arrived from `name`."""

    @property
    def is_up(self) -> bool:
        """Whether there is anybody to connect to."""
        return True


class Network:
    """Connections between all ports: FIFO each way, with epochs, delays, one-way faults and cuts.

    `heal` ends every fault but a broken connection; that is dialled again by `connect_missing`.
    """

    def __init__(self, world: World, ports: dict[str, Port], *, delay_mean_s: float) -> None:
        self._world = world
        self._rng = world.rng_of("network")
        self._ports = ports
        self._delay_mean_s = delay_mean_s
        self._epochs: dict[Pair, int] = {}
        self._live: dict[Pair, int] = {}
        self._arrival_s: dict[tuple[str, str, int], float] = {}
        self._slowed: dict[Direction, float] = {}
        self._stalled: set[Direction] = set()
        """Nothing arrives in these; messages wait until it ends or the connection breaks."""
        self._dropping: set[tuple[str, str, int]] = set()
        """(from, to, epoch): everything in this direction of this connection is lost, so it will break."""
        self._waiting: dict[Direction, list[tuple[int, bytes]]] = {}
        self.cut_pairs: set[Pair] = set()
        self.sent_count = 0

    @staticmethod
    def pair(first: str, second: str) -> Pair:
        """The name of the link between two machines."""
        return (first, second) if first < second else (second, first)

    def port(self, name: str) -> Port:
        """The machine itself, for what doesn't travel by message."""
        return self._ports[name]

    def add(self, name: str, port: Port) -> None:
        """A machine joins; it is dialled with the next `connect_missing`."""
        self._ports[name] = port

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

    def connected_epoch(self, first: str, second: str) -> int | None:
        """The epoch of the live connection between two machines."""
        return self._live.get(self.pair(first, second))

    def is_silent(self, sender: str, receiver: str) -> bool:
        """Whether nothing arrives in this direction at this moment: for what a simulation doesn't send by message."""
        key = (sender, receiver, self._live.get(self.pair(sender, receiver), 0))
        return (sender, receiver) in self._stalled or key in self._dropping

    def slowness(self, sender: str, receiver: str) -> float:
        """How many times longer than usual this direction takes: 1 where nothing slows it."""
        return self._slowed.get((sender, receiver), 1.0)

    # --- faults

    def break_link(self, first: str, second: str) -> None:
        """The connection breaks; each end notices in its own time, and what was under way is lost."""
        pair = self.pair(first, second)
        epoch = self._live.pop(pair, None)
        if epoch is None:
            return
        for me, other in (pair, pair[::-1]):
            self._waiting.pop((me, other), None)
            self._arrival_s.pop((me, other, epoch), None)
            self._dropping.discard((me, other, epoch))
            delay_s = self._rng.choice((0.0, 0.0, self._rng.uniform(0.0, 0.5)))
            self._world.after(delay_s, lambda me=me, other=other: self._ports[me].disconnected(other, epoch))  # type: ignore[misc]

    def break_all(self, name: str) -> None:
        """A process has ended: all its connections break."""
        for other in sorted(self._ports):
            if other != name:
                self.break_link(name, other)

    def cut(self, pairs: set[Pair]) -> None:
        """Separate these pairs until `heal`."""
        self.cut_pairs |= pairs
        for first, second in sorted(pairs):
            self.break_link(first, second)

    def slow(self, directions: set[Direction], factor: float) -> None:
        """Everything in these directions takes `factor` times as long, until `heal`."""
        self._slowed.update(dict.fromkeys(sorted(directions), factor))

    def stall(self, directions: set[Direction]) -> None:
        """Nothing arrives in these directions until `heal`, though the connections seem alive."""
        self._stalled |= directions

    def break_stalled(self) -> None:
        """Stalled connections are given up."""
        for first, second in sorted(self._stalled):
            self.break_link(first, second)

    def drop(self, directions: set[Direction]) -> int:
        """What is and will be under way in these directions is lost, until the connections are given up.

        Returns how many connections that concerns: those that are alive now.
        """
        count = 0
        for sender, receiver in sorted(directions):
            epoch = self.connected_epoch(sender, receiver)
            if epoch is not None:
                count += 1
                self._dropping.add((sender, receiver, epoch))
                delay_s = self._rng.uniform(0.0, DROP_NOTICED_S_MAX)
                self._world.after(
                    delay_s,
                    lambda sender=sender, receiver=receiver, epoch=epoch: self._give_up(sender, receiver, epoch),  # type: ignore[misc]
                )
        return count

    def heal(self) -> None:
        """All links work again; what was stalled on connections that are still alive arrives."""
        self.cut_pairs.clear()
        self._stalled.clear()
        self._slowed.clear()
        waiting, self._waiting = self._waiting, {}
        for (sender, receiver), messages in sorted(waiting.items()):
            for epoch, data in messages:
                self._arrive(sender, receiver, epoch, data)  # at once: what was sent later must not overtake it

    # --- messages

    def send(self, sender: str, receiver: str, epoch: int, data: bytes) -> None:
        """Send on the connection of that epoch; lost if it has ended."""
        if self._live.get(self.pair(sender, receiver)) != epoch:
            return
        self.sent_count += 1
        world, key = self._world, (sender, receiver, epoch)
        delay_s = self._rng.expovariate(1 / self._delay_mean_s) * self.slowness(sender, receiver)
        arrival_s = self._arrival_s[key] = max(world.time_s + delay_s, self._arrival_s.get(key, 0.0) + 1e-7)
        world.after(arrival_s - world.time_s, lambda: self._arrive(sender, receiver, epoch, data))

    def _arrive(self, sender: str, receiver: str, epoch: int, data: bytes) -> None:
        if self._live.get(self.pair(sender, receiver)) != epoch or (sender, receiver, epoch) in self._dropping:
            return
        if (sender, receiver) in self._stalled:
            self._waiting.setdefault((sender, receiver), []).append((epoch, data))
            return
        if self._ports[receiver].is_up:
            self._world.note(f"{sender} {receiver} {epoch}", data)
            self._ports[receiver].message(sender, epoch, data)

    def _give_up(self, sender: str, receiver: str, epoch: int) -> None:
        if self.connected_epoch(sender, receiver) == epoch:
            self.break_link(sender, receiver)
