"""Sans-IO: the table of members: who is known, who is probed next, and picks at random. Source: wire format, section 5.

The probe order is random and changes at each turn, so that a death is noticed within one turn at the latest and by
somebody within about one probe interval (SWIM, section 4.3). Everything that runs often costs the same however many
members there are; only the turn of the order and a search among few eligible ones walk the whole table.
"""

import random
from collections.abc import Callable, Iterable

from gossip.fields import wire_text
from gossip.layers import Node, State
from gossip.serf_messages import MEMBERS_MAX
from gossip.streams import STREAM_BYTES_MAX
from gossip.user_events import BUFFER_BYTES_MAX

TABLE_BYTES_MAX = STREAM_BYTES_MAX - BUFFER_BYTES_MAX - 512 * 1024
"""What all records may take on a stream, beside user events and to spare: a table that fits no stream could not be
compared with anybody's any more. Some 25,000 members with the tags of ours."""
RECORD_BYTES = 96
"""What a record takes besides its name, three times (it is among those with a status time, and perhaps those that
left), and its meta data."""

SAMPLE_WHOLE_MAX = 12
"""Up to so many members are all looked at, in random order."""
DRAWS_PER_PICK = 8
"""Draws for each wanted member before the whole table is walked: enough unless almost nobody is eligible."""


class Members:
    """All records, our own included. `alive_count` counts the suspected, too."""

    def __init__(self, local: Node, rng: random.Random) -> None:
        self.local = local
        self.nodes: dict[str, Node] = {local.name: local}
        self._table_bytes = record_bytes(local.name, local.meta)
        self.alive_count = 0 if local.state is State.DEAD else 1
        self.farewells: dict[str, None] = {}
        """The dead that said themselves that they go."""
        self._rng = rng
        self._order = [local]
        self._position = 0

    def __len__(self) -> int:
        return len(self.nodes)

    def has_room(self, name: str, meta: bytes) -> bool:
        """Whether the table may hold a record like this, be it a new one or in place of that name's."""
        known = self.nodes.get(name)
        growth_bytes = record_bytes(name, meta) if known is None else len(meta) - len(known.meta)
        if known is None and len(self.nodes) >= MEMBERS_MAX:
            return False
        return growth_bytes <= 0 or self._table_bytes + growth_bytes <= TABLE_BYTES_MAX

    def describe(self, node: Node, meta: bytes) -> None:
        """Give a node other meta data."""
        self._table_bytes += len(meta) - len(node.meta)
        node.meta = meta

    def add(self, node: Node) -> None:
        """Enter an unknown node, at a random place of the probe order."""
        self.nodes[node.name] = node
        self._table_bytes += record_bytes(node.name, node.meta)
        self.alive_count += node.state is not State.DEAD
        order = self._order
        order.append(node)
        other = int(self._rng.random() * len(order))
        order[other], order[-1] = order[-1], order[other]

    def change(self, node: Node, state: State, now_s: float) -> None:
        """Give a node another state."""
        if node.state is state:
            return
        self.alive_count += (state is not State.DEAD) - (node.state is not State.DEAD)
        node.state = state
        node.changed_s = now_s
        if state is not State.DEAD:
            self.farewells.pop(node.name, None)

    def forget(self, name: str) -> None:
        """Drop the record of a dead node other than ourselves; nothing for others."""
        node = self.nodes.get(name)
        if node is None or node is self.local or node.state is not State.DEAD:
            return
        position = next(place for place, each in enumerate(self._order) if each is node)
        del self._order[position]
        self._position -= position < self._position
        self._drop(name)

    def next_to_probe(self, now_s: float, forget_after_s: float) -> Node | None:
        """Return the next one in order that is neither ourselves nor dead, None if there is none.

        At the end of the order, who has been dead for longer than `forget_after_s` is dropped and the rest shuffled.
        """
        for _ in range(len(self._order) + 1):
            if self._position >= len(self._order):
                self._turn(now_s, forget_after_s)
            node = self._order[self._position]
            self._position += 1
            if node.state is not State.DEAD and node is not self.local:
                return node
        return None

    def pick(self, count: int, wanted: Callable[[Node], bool]) -> list[Node]:
        """Return up to `count` different nodes for which `wanted` holds, never ourselves."""
        order, rng = self._order, self._rng
        picked: list[Node] = []
        if len(order) <= SAMPLE_WHOLE_MAX:
            self._take(rng.sample(order, len(order)), count, wanted, picked)
            return picked
        draws = (order[int(rng.random() * len(order))] for _ in range(DRAWS_PER_PICK * count))
        if not self._take(draws, count, wanted, picked):
            start = int(rng.random() * len(order))
            walk = (order[place - len(order)] for place in range(start, start + len(order)))
            self._take(walk, count, wanted, picked)
        return picked

    def _take(self, nodes: Iterable[Node], count: int, wanted: Callable[[Node], bool], picked: list[Node]) -> bool:
        """Move eligible ones from `nodes` to `picked` until they are enough; say whether they are."""
        if len(picked) >= count:
            return True
        for node in nodes:
            if node is not self.local and wanted(node) and not any(node is each for each in picked):
                picked.append(node)
                if len(picked) >= count:
                    return True
        return False

    def _turn(self, now_s: float, forget_after_s: float) -> None:
        kept = []
        for node in self._order:
            if node.state is State.DEAD and node is not self.local and now_s - node.changed_s > forget_after_s:
                self._drop(node.name)
            else:
                kept.append(node)
        self._rng.shuffle(kept)
        self._order = kept
        self._position = 0

    def _drop(self, name: str) -> None:
        node = self.nodes.pop(name)
        self._table_bytes -= record_bytes(name, node.meta)
        self.farewells.pop(name, None)


def record_bytes(name: str, meta: bytes) -> int:
    """Return what one record takes on a stream, at most."""
    return RECORD_BYTES + 3 * len(wire_text(name)) + len(meta)
