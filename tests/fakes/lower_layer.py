"""A membership layer that does nothing by itself, and an upper layer on top of it: what tests of the latter need."""

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gossip.config import Settings
from gossip.instructions import VERSIONS, Address, Instruction
from gossip.layers import Node, State
from gossip.serf import Serf
from gossip.serf_messages import SerfMessage, decode, encode, encode_tags

I = TypeVar("I", bound=Instruction)  # noqa: E741


def node_of(name: str, number: int, tags: dict[str, str] | None = None) -> Node:
    """Return a living node at 127.0.0.`number`."""
    return Node(
        name=name,
        address=Address(f"127.0.0.{number}", 8301),
        meta=encode_tags(tags or {}),
        incarnation=1,
        state=State.ALIVE,
        changed_s=0.0,
        versions=VERSIONS,
    )


class LowerLayer:
    """Keeps what it was told; nothing happens but what the test does."""

    def __init__(self, local: Node) -> None:
        self.local = local
        self._nodes = {local.name: local}
        self.sent: list[tuple[Address, bytes]] = []
        self.exchanges: list[tuple[Address, Callable[[float, str], None]]] = []
        self.left: list[Callable[[float], None]] = []
        self.rng = random.Random(1)

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    @property
    def alive_count(self) -> int:
        return sum(node.state is not State.DEAD for node in self._nodes.values())

    def add(self, node: Node) -> None:
        self._nodes[node.name] = node

    def send_user_message(self, to: Address, message: bytes) -> None:
        self.sent.append((to, message))

    def push_pull(self, now_s: float, to: Address, *, join: bool, done: Callable[[float, str], None]) -> None:
        self.exchanges.append((to, done))

    def set_meta(self, now_s: float, meta: bytes) -> None:
        self.local.meta = meta

    def leave(self, now_s: float, done: Callable[[float], None]) -> None:
        self.left.append(done)

    def forget(self, name: str) -> None:
        self._nodes.pop(name, None)

    def random_nodes(self, count: int, wanted: Callable[[Node], bool]) -> list[Node]:
        eligible = [node for node in self._nodes.values() if node is not self.local and wanted(node)]
        return self.rng.sample(eligible, min(count, len(eligible)))


class UpperWorld:
    """The upper layer of member "me" at 127.0.0.1, on a `LowerLayer`; others are at 127.0.0.2 and so on."""

    def __init__(self, *others: str, keys: list[bytes] | None = None, **settings: Any) -> None:
        local = node_of("me", 1, settings.pop("tags", None))
        self.lower = LowerLayer(local)
        self.out: list[Instruction] = []
        self.now_s = 100.0
        self.serf = Serf(
            Settings(name="me", host="127.0.0.1", port=8301, tags={}, **settings),
            rng=random.Random(7),
            out=self.out,
            keys=keys or [],
        )
        self.serf.attach(self.lower)
        self.serf.restore("")
        self.serf.joined(self.now_s, local)
        self.serf.start(self.now_s)
        for name in others:
            self.join(name)
        self.out.clear()

    def join(self, name: str, tags: dict[str, str] | None = None) -> Node:
        """Have a member appear."""
        node = node_of(name, len(self.lower.nodes) + 1, tags)
        self.lower.add(node)
        self.serf.joined(self.now_s, node)
        return node

    def die(self, name: str) -> None:
        """Have the layer below say that a member is dead."""
        node = self.lower.nodes[name]
        node.state = State.DEAD
        self.serf.left(self.now_s, node)

    def hear(self, message: SerfMessage, *, source: int = 2) -> None:
        """Have another member's message come in."""
        self.serf.user_message(self.now_s, Address(f"127.0.0.{source}", 8301), encode(message))

    def later(self, seconds: float) -> None:
        """Let time pass, with everything that is due in it."""
        end_s = self.now_s + seconds
        while self.serf.next_deadline_s() <= end_s:
            self.now_s = max(self.now_s, self.serf.next_deadline_s())
            self.serf.tick(self.now_s)
            self.serf.settle(self.now_s)
        self.now_s = end_s

    def passed_on(self) -> list[SerfMessage]:
        """Return what is queued for everybody, as it is taken for one packet."""
        return [decode(message) for message in self.serf.broadcasts(self.now_s, overhead_bytes=3, bytes_max=10_000)]

    def sent(self) -> list[tuple[Address, SerfMessage]]:
        """Return what was sent to single members, once."""
        sent, self.lower.sent = self.lower.sent, []
        return [(to, decode(message)) for to, message in sent]

    def seen(self, kind: type[I]) -> list[I]:
        """Return the instructions of one kind so far."""
        return [instruction for instruction in self.out if isinstance(instruction, kind)]
