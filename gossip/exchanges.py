"""Sans-IO: whole tables exchanged over a stream, and their merge. Source: wire format, section 4.

The initiator sends its table, the responder answers with its own and merges afterwards. Whom the pool's rule refuses is
shown no table at all: a responder answers its join with the reason, and an initiator that looks first asks for the
other table as an observer does, with an empty one, and goes on only if the rule has nothing against it. Joins that have
looked go on one after the other: two at a time could tie together what neither of them would.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from base.errors import InvalidRequest, TooLarge
from gossip.instructions import VERSIONS, Address, AnswerStream, OpenStream, StreamRequest
from gossip.layers import Node, State
from gossip.messages import Alive, ErrorMessage, Suspect, Type, decode, encode
from gossip.outbox import Outbox
from gossip.push_pull import NodeState, PushPull, decode_push_pull, encode_push_pull
from gossip.rumours import Rumours
from gossip.streams import remote_error_text
from gossip.timers import Timers
from gossip.versions import versions_complaint

Done = Callable[[float, str], None]
"""Called with the time, and "" or why the exchange failed."""

EXCHANGES_MAX = 64
"""Exchanges of ours that run at the same time: a join to many addresses, a reconnect and the periodic one."""
UNSCALED_MEMBERS_MAX = 32
"""Among more members each exchanges less often, so that the load of all does not grow with the square."""
LOOK = encode_push_pull(PushPull(nodes=[]))
"""Asks for a table, and announces nobody."""
SLICE_COUNT = 512
"""Records merged at a time, some 50 ms if all are new: then probes and other news get their turn."""
MERGES_WAITING_MAX = 8
"""Tables that are merged or wait for it, each with up to MEMBERS_MAX records in memory; more are left."""
GRACE_S = 1.0
"""After its deadline an exchange may still be reported as failed; then it is forgotten."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One that is running."""

    to: Address
    join: bool
    done: Done
    is_look: bool = False
    """It has shown nothing of us yet; the join follows."""


class Merging(msgspec.Struct, frozen=True, kw_only=True):
    """A table that is being merged."""

    nodes: Iterator[NodeState]
    user_state: bytes
    join: bool
    done: Done


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """A join that has seen the other table, and waits for its turn."""

    exchange: Exchange
    nodes: list[NodeState]


def interval_of(interval_s: float, members_count: int) -> float:
    """Return the time between two exchanges among so many known members."""
    if members_count <= UNSCALED_MEMBERS_MAX:
        return interval_s
    return interval_s * (math.ceil(math.log2(members_count) - math.log2(UNSCALED_MEMBERS_MAX)) + 1)


class Exchanges:
    """Both sides of push/pulls."""

    def __init__(self, outbox: Outbox, timers: Timers, rumours: Rumours) -> None:
        self._outbox = outbox
        self._members = outbox.members
        self._timers = timers
        self._rumours = rumours
        self._running: dict[int, Exchange] = {}
        self._looked: deque[Looked] = deque()
        self._joining_after_look: int | None = None
        self._merging: deque[Merging] = deque()

    # The initiator's side

    def begin(self, now_s: float, to: Address, *, join: bool, done: Done) -> None:
        """Exchange tables with whoever is at `to`."""
        if len(self._running) + len(self._looked) >= EXCHANGES_MAX:
            done(now_s, f"{EXCHANGES_MAX} exchanges of tables are running already")
            return
        looks = join and self._outbox.settings.looks_first
        self._open(now_s, Exchange(to=to, join=join, done=done, is_look=looks))

    def _open(self, now_s: float, exchange: Exchange) -> int:
        stream_id = self._outbox.stream_id()
        deadline_s = now_s + self._outbox.settings.timing.tcp_timeout_s
        self._running[stream_id] = exchange
        message = LOOK if exchange.is_look else self._table(now_s, join=exchange.join)
        self._outbox.put(OpenStream(stream_id=stream_id, to=exchange.to, message=message, deadline_s=deadline_s))
        self._timers.set(
            ("exchange", stream_id),
            deadline_s + GRACE_S,
            lambda at_s: self.failed(at_s, stream_id, "no answer in time"),
        )
        return stream_id

    def answered(self, now_s: float, stream_id: int, message: bytes) -> None:
        """Take the other table."""
        exchange = self._end(stream_id)
        if exchange is None:
            return
        text = ""
        try:
            if message[:1] == bytes((Type.ERROR,)):
                answer = decode(message)
                assert isinstance(answer, ErrorMessage)
                text = remote_error_text(answer)
            else:
                other = decode_push_pull(message)
        except (InvalidRequest, TooLarge) as error:
            text = f"the answer cannot be read: {error}"
        if not text and exchange.is_look:
            self._looked.append(Looked(exchange=exchange, nodes=other.nodes))
            self._next_join(now_s, stream_id)
            return

        def done(at_s: float, text: str) -> None:
            exchange.done(at_s, text)
            self._next_join(at_s, stream_id)

        if not text and exchange.join:
            text = self._refusal(now_s, other.nodes) or ""
        if text:
            done(now_s, text)
        else:
            self._merge(now_s, other, join=exchange.join, done=done)

    def failed(self, now_s: float, stream_id: int, text: str) -> None:
        """The stream came to nothing."""
        exchange = self._end(stream_id)
        if exchange is not None:
            exchange.done(now_s, text)
            self._next_join(now_s, stream_id)

    def _end(self, stream_id: int) -> Exchange | None:
        self._timers.cancel(("exchange", stream_id))
        return self._running.pop(stream_id, None)

    def _next_join(self, now_s: float, ended: int) -> None:
        """An exchange has ended: let the next join that has looked go on, if none is at it."""
        if self._joining_after_look == ended:
            self._joining_after_look = None
        while self._looked and self._joining_after_look is None:
            looked = self._looked.popleft()
            exchange = looked.exchange
            refusal = self._refusal(now_s, looked.nodes)
            if refusal is not None:
                exchange.done(now_s, refusal)
            else:
                joins = Exchange(to=exchange.to, join=True, done=exchange.done)
                self._joining_after_look = self._open(now_s, joins)

    # The responder's side

    def answer(self, now_s: float, request: StreamRequest) -> None:
        """Answer another member's table with ours, then merge; raises InvalidRequest or TooLarge if it is none."""
        other = decode_push_pull(request.message)
        refusal = self._refusal(now_s, other.nodes) if other.join else None
        message = self._table(now_s, join=other.join) if refusal is None else encode(ErrorMessage(text=refusal))
        self._outbox.put(AnswerStream(stream_id=request.stream_id, message=message))

        def done(at_s: float, text: str) -> None:
            if text:
                self._outbox.complain(at_s, "merge", f"not merged: {text}", source=request.source.host)

        if refusal is None:
            self._merge(now_s, other, join=other.join, done=done)
        else:
            done(now_s, refusal)

    # Both

    def _table(self, now_s: float, *, join: bool) -> bytes:
        nodes = [
            NodeState(
                name=node.name,
                host=node.address.host,
                port=node.address.port,
                meta=node.meta,
                incarnation=node.incarnation,
                state=node.state,
                versions=node.versions,
            )
            for node in self._members.nodes.values()
        ]
        user_state = self._outbox.upper.local_state(now_s, join=join)
        return encode_push_pull(PushPull(nodes=nodes, user_state=user_state, join=join))

    def _merge(self, now_s: float, other: PushPull, *, join: bool, done: Done) -> None:
        """Take the other table, slice by slice; then `done` is called."""
        if other.complaints:
            self._outbox.complain(now_s, "records", "members are left out of a merge", complaints=other.complaints)
        complaint = versions_complaint(other.nodes, self._members.nodes.values())
        if not complaint and len(self._merging) >= MERGES_WAITING_MAX:
            complaint = f"{MERGES_WAITING_MAX} tables are being merged already"
        if complaint:
            done(now_s, complaint)
            return
        self._merging.append(Merging(nodes=iter(other.nodes), user_state=other.user_state, join=join, done=done))
        if len(self._merging) == 1:
            self._go_on_merging(now_s)

    def _go_on_merging(self, now_s: float) -> None:
        left_count = SLICE_COUNT
        while self._merging:
            merging = self._merging[0]
            for each in islice(merging.nodes, left_count):
                self._merge_one(now_s, each)
                left_count -= 1
            if not left_count:
                self._timers.set("merge", now_s, self._go_on_merging)
                return
            if merging.user_state:
                self._outbox.upper.merge_state(now_s, merging.user_state, join=merging.join)
            self._merging.popleft()
            merging.done(now_s, "")

    def _refusal(self, now_s: float, nodes: list[NodeState]) -> str | None:
        """Return what the pool's rule has against a join with these, None for nothing."""
        return self._outbox.upper.merge_refused([self._node(now_s, each) for each in nodes])

    def _merge_one(self, now_s: float, each: NodeState) -> None:
        """Whom the other side holds for dead is only suspected: it may yet say something."""
        if each.state == State.ALIVE:
            known = self._members.nodes.get(each.name)
            if (
                known is not None
                and each.incarnation <= known.incarnation
                and known.address.host == each.host
                and known.address.port == each.port
                and known is not self._members.local
            ):
                return  # nothing new, as `alive` would find: of most records, so before a claim is made of it
            claim = Alive(
                incarnation=each.incarnation,
                node=each.name,
                host=each.host,
                port=each.port,
                meta=each.meta,
                versions=each.versions or VERSIONS,
            )
            self._rumours.alive(now_s, claim)
        else:
            sender = self._members.local.name
            self._rumours.suspect(now_s, Suspect(incarnation=each.incarnation, node=each.name, sender=sender))

    def _node(self, now_s: float, each: NodeState) -> Node:
        return Node(
            name=each.name,
            address=Address(each.host, each.port or self._outbox.settings.port),
            meta=each.meta,
            incarnation=each.incarnation,
            state=State(each.state),
            changed_s=now_s,
            versions=each.versions or VERSIONS,
        )
