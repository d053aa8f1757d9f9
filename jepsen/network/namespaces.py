"""Every node in a network namespace of its own, on one bridge; what shall not arrive is dropped where it comes in.

    harness  10.77.0.1 on the bridge "mesh"           node n  10.77.0.(10+n) on eth0, a veth whose other end is "mesh-n"

The harness itself must be in a namespace of its own (`enter`, before anything starts a thread). Namespaces are held
by descriptors of this process alone, and nothing has a name outside: when the process ends, even by SIGKILL, and the
nodes with it, the kernel takes everything down. Packets between a node and the harness are never touched.

Cuts are rules on what comes in, by source address: silent, for connections that are there as well as new ones.
"""

import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from jepsen.network.flapping import Flapper
from jepsen.network.kernel import (
    NotPossible,
    enter_network_namespace,
    in_network_namespace,
    ip,
    netlink_socket,
    new_network_namespace,
    path_of,
)
from jepsen.network.netlink import NETLINK_NETFILTER
from jepsen.network.network import Addresses, Direction, Pids, Unbreakable, effect
from jepsen.network.nftables import Filter, Rule
from jepsen.network.packet_queue import PacketQueue

HARNESS_ADDRESS: Final = "10.77.0.1"
NODE_PREFIX: Final = "10.77.0."
NODE_NUMBER_BASE: Final = 10
NODES_MAX: Final = 240
BRIDGE: Final = "mesh"
REACH_TIMEOUT_S: Final = 1.0
NOBODY: Final = "203.0.113.1"
"""An address of documentation (RFC 5737), to try rules with."""
ABILITIES_WITHOUT_QUEUE: Final = frozenset({"cut", "one-way", "loss"})


def enter() -> None:
    """Put this process into a network namespace of its own: the first thing a run does. Raises NotPossible."""
    enter_network_namespace()


def try_filter(*, queue: bool) -> None:
    """Load a harmless rule in the namespace of the calling thread, and take it out again; raises OSError if it can't.

    With `queue`, the rule hands packets to a queue, which is opened as well.
    """
    packet_filter = Filter(netlink_socket(NETLINK_NETFILTER))
    try:
        packet_filter.replace([Rule(name="try", source=NOBODY, share=0.5, queue=0 if queue else None)])
        if queue:
            PacketQueue(netlink_socket(NETLINK_NETFILTER), 0, random.Random(0)).close()
    finally:
        with suppress(OSError):
            packet_filter.replace([])
        packet_filter.close()


class _Place:
    """One node's namespace, and what befalls the packets that come in there. Nodes that send are named."""

    def __init__(self, node: str, number: int) -> None:
        self.node = node
        self.number = number
        self.outside = f"{BRIDGE}-{number}"
        """Its end of the cable on the bridge."""
        self.address = f"{NODE_PREFIX}{NODE_NUMBER_BASE + number}"
        self.cut: set[str] = set()
        self.loss: dict[str, float] = {}
        self.slowed: set[str] = set()
        self.queues: dict[str, PacketQueue] = {}
        self.counted: Counter[str] = Counter()
        """What rules counted that are gone."""
        self.namespace = new_network_namespace()
        try:
            ip(
                f"link add {self.outside} type veth peer name eth0 netns {path_of(self.namespace)}",
                f"link set {self.outside} master {BRIDGE} up",
            )
            commands = ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up")
            in_network_namespace(self.namespace, partial(ip, *commands))
            self._filter = Filter(self.netlink_socket())
        except BaseException:
            os.close(self.namespace)
            raise

    def netlink_socket(self) -> socket.socket:
        return in_network_namespace(self.namespace, partial(netlink_socket, NETLINK_NETFILTER))

    def apply(self, address_of: Callable[[str], str], number_of: Callable[[str], int]) -> None:
        """Let the rules say what the fields say. Raises OSError."""
        rules = [self._rule("dropped", source, address_of) for source in sorted(self.cut)]
        rules += [self._rule("lost", source, address_of, share=share) for source, share in sorted(self.loss.items())]
        rules += [self._rule("queued", source, address_of, queue=number_of(source)) for source in sorted(self.slowed)]
        self.counted.update(self._filter.counters())
        self._filter.replace(rules)

    def _rule(
        self, kind: str, source: str, address_of: Callable[[str], str], *, share: float = 1.0, queue: int | None = None
    ) -> Rule:
        name = effect(kind, (source, self.node))
        return Rule(name=name, source=address_of(source), share=share, queue=queue)

    def counters(self) -> Counter[str]:
        late = {
            effect("delayed", (source, self.node)): queue.passed_late_count for source, queue in self.queues.items()
        }
        return self.counted + Counter(self._filter.counters()) + Counter(late)

    def close(self) -> None:
        for queue in self.queues.values():
            queue.close()
        self._filter.close()
        os.close(self.namespace)
        with suppress(NotPossible):  # gone with its other end already
            ip(f"link del {self.outside}")


class NamespaceNetwork:
    """See Network. One at a time in a process."""

    mode = "namespaces"

    def __init__(self, rng: random.Random) -> None:
        """Raises NotPossible; `jepsen.machine` tells beforehand whether it would."""
        self._rng = rng
        self._places: dict[str, _Place] = {}
        self._flapper = Flapper(self.cut, self.reopen, rng)
        self._nursery: trio.Nursery | None = None
        self._down = trio.Event()
        self._closed = False
        try:
            try_filter(queue=False)
        except OSError as error:
            raise NotPossible(f"The kernel's packet filter cannot be used: {error}.") from error
        self.abilities = ABILITIES_WITHOUT_QUEUE
        with suppress(OSError):
            try_filter(queue=True)
            self.abilities |= {"delay"}
        ip(f"link add {BRIDGE} type bridge", f"addr add {HARNESS_ADDRESS}/24 dev {BRIDGE}", f"link set {BRIDGE} up")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._take_down()
            self._down.set()

    def know(self, pids: Pids) -> None:
        """Addresses tell who is who."""

    def addresses(self, node: str) -> Addresses:
        """See Network."""
        address = self._place(node).address
        return Addresses(bind=address, advertise=address, client=address)

    def wrap(self, node: str, command: Sequence[str]) -> list[str]:
        """See Network."""
        return ["nsenter", f"--net={path_of(self._place(node).namespace)}", "--", *command]

    async def open_port(self, node: str, port: int) -> None:
        """All are open."""

    async def cut(self, directions: Collection[Direction]) -> None:
        """See Network."""
        for source, target in directions:
            self._place(target).cut.add(source)
        self._apply({target for _, target in directions})

    async def reopen(self, directions: Collection[Direction]) -> None:
        """See Network."""
        for source, target in directions:
            self._place(target).cut.discard(source)
        self._apply({target for _, target in directions})

    async def flap(self, directions: Collection[Direction], *, interval_s: tuple[float, float]) -> None:
        """See Network."""
        assert self._nursery is not None, "`run` must be under way"
        self._nursery.start_soon(self._flapper.run, [*directions], interval_s)

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        """See Network; raises Unbreakable where the kernel has no queues."""
        if "delay" not in self.abilities:
            raise Unbreakable("this kernel hands no packets to queues")
        assert self._nursery is not None, "`run` must be under way"
        for source, target in directions:
            place = self._place(target)
            if source not in place.queues:
                number = self._place(source).number
                place.queues[source] = PacketQueue(place.netlink_socket(), number, self._rng)
                self._nursery.start_soon(place.queues[source].run)
            place.queues[source].slow(mean_s, jitter_s)
            place.slowed.add(source)
        self._apply({target for _, target in directions})

    async def lose(self, directions: Collection[Direction], *, share: float) -> None:
        """See Network."""
        for source, target in directions:
            self._place(target).loss[source] = share
        self._apply({target for _, target in directions})

    async def heal(self) -> None:
        """See Network."""
        self._flapper.stop()
        broken = [place for place in self._places.values() if place.cut or place.loss or place.slowed]
        for place in broken:
            place.cut.clear()
            place.loss.clear()
            place.slowed.clear()
        self._apply(place.node for place in broken)
        for place in broken:
            for queue in place.queues.values():
                queue.release()

    async def effects(self) -> dict[str, int]:
        """See Network."""
        found: dict[str, int] = {**self._flapper.counted}
        for place in self._places.values():
            found.update(place.counters())
        return found

    async def reaches(self, source: str, target: str, port: int) -> bool:
        """See Network."""
        make = partial(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
        dialled = trio.socket.from_stdlib_socket(in_network_namespace(self._place(source).namespace, make))
        with dialled, trio.move_on_after(REACH_TIMEOUT_S):
            try:
                await dialled.connect((self._place(target).address, port))
            except OSError:
                return False
            return True
        return False

    async def close(self) -> None:
        """See Network."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await self._down.wait()
        self._take_down()

    def _take_down(self) -> None:
        if self._closed:
            return
        self._closed = True
        for place in self._places.values():
            place.close()
        ip(f"link del {BRIDGE}")

    def _place(self, node: str) -> _Place:
        if node not in self._places:
            number = len(self._places) + 1
            if number > NODES_MAX:
                raise Unbreakable(f"no room for more than {NODES_MAX} nodes")
            self._places[node] = _Place(node, number)
        return self._places[node]

    def _apply(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            self._place(node).apply(lambda name: self._place(name).address, lambda name: self._place(name).number)
