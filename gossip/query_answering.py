"""Sans-IO: the queries of others (and our own, which come by here, too): heard once, passed on, answered.

A query says where its answers go, and an answer may be asked to take other ways as well. Both could be pointed at
strangers, so answers go only to addresses that living members have: whoever asks is a member and gives its own.
Source: wire format, section 8.4.
"""

from collections.abc import Callable

import msgspec

from base.errors import InvalidRequest, TooLarge
from gossip.clocks import LamportClock
from gossip.config import QUERY_BYTES_MAX
from gossip.context import Context
from gossip.instructions import Address, QueryArrived
from gossip.layers import Node, State
from gossip.passing_on import Lane, PassingOn
from gossip.query_asking import RELAY_FACTOR_MAX, TIMEOUT_S_MAX
from gossip.query_filters import meets
from gossip.roster import tags_of
from gossip.serf_messages import Query, QueryFlag, QueryResponse, Relay, ResponseFlag, SerfType, encode
from gossip.snapshot import address_text

SLOTS_COUNT = 512
"""Lamport times whose queries are remembered."""
SLOT_QUERIES_MAX = 256
"""Queries of one Lamport time; more are dropped and not passed on: what is not remembered would travel for ever."""
PENDING_COUNT_MAX = 1024
"""Queries that the application has not answered yet; the oldest is given up for a new one."""
INTERNAL_PREFIX = "_serf_"
RELAY_PROTOCOL_MIN = 5
"""Members that speak less do not know of relays."""

Internal = Callable[[float, Query], bytes | None]
"""Answers an internal query; None: not at all."""


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    query: Query
    deadline_s: float


class Answering:
    """What one member hears of queries. `deliver` takes responses that are for ourselves."""

    def __init__(
        self,
        context: Context,
        passing_on: PassingOn,
        clock: LamportClock,
        deliver: Callable[[float, QueryResponse], None],
    ) -> None:
        self._context = context
        self._passing_on = passing_on
        self._clock = clock
        self._deliver = deliver
        self.minimum_time = 0
        self.internal: dict[str, Internal] = {}
        """Name without INTERNAL_PREFIX -> who answers."""
        self._slots: dict[int, tuple[int, dict[int, None]]] = {}
        self._pending: dict[int, _Pending] = {}
        self._pending_number = 0

    def received(self, now_s: float, query: Query, message: bytes) -> None:
        """Take another's query; pass it on, byte by byte, if it is news."""
        if len(message) <= QUERY_BYTES_MAX and self._is_news(query):
            if not query.flags & QueryFlag.NO_BROADCAST:
                self._passing_on.put(now_s, Lane.QUERIES, message)
            self._consider(now_s, query)

    def hear(self, now_s: float, query: Query) -> None:
        """Take a query of our own."""
        if self._is_news(query):
            self._consider(now_s, query)

    def answer(self, now_s: float, query_id: int, payload: bytes | None) -> None:
        """Send the application's answer to the query that it was given; None sends nothing."""
        pending = self._pending.pop(query_id, None)
        if pending is None or payload is None:
            return
        if now_s > pending.deadline_s:
            self._context.log("warn", "answer to a query comes after its deadline", query=pending.query.name)
            return
        self._respond(now_s, pending.query, payload)

    def relayed(self, now_s: float, relay: Relay) -> None:
        """Pass on a response for another: responses only, to living members only, so that we are nobody's reflector."""
        to = Address(relay.host, relay.port)
        is_response = relay.message[:1] == bytes((SerfType.QUERY_RESPONSE,))
        if is_response and len(relay.message) <= QUERY_BYTES_MAX and self._is_member(to):
            self._context.lower.send_user_message(to, relay.message)
        else:
            self._context.log("debug", "relay refused", to=address_text(to))

    def _is_news(self, query: Query) -> bool:
        time = query.lamport_time
        if not self._clock.witness(time) or time < self.minimum_time or time + SLOTS_COUNT < self._clock.time:
            return False
        slot_time, seen = self._slots.get(time % SLOTS_COUNT, (None, {}))
        if slot_time != time:
            seen = {}
            self._slots[time % SLOTS_COUNT] = (time, seen)
        if query.query_id in seen or len(seen) >= SLOT_QUERIES_MAX:
            return False
        seen[query.query_id] = None
        return True

    def _consider(self, now_s: float, query: Query) -> None:
        local = self._context.lower.local
        try:
            if not meets(query.filters, local.name, tags_of(local.meta)):
                return
        except (InvalidRequest, TooLarge) as error:
            self._context.log("debug", "filter of a query ignored with the query", query=query.name, why=str(error))
            return
        if not self._is_member(Address(query.host, query.port)):
            self._context.log("debug", "query ignored: its address is no member's", query=query.name, host=query.host)
            return
        if query.flags & QueryFlag.ACK:
            self._send(now_s, query, self._response(query, b"", ResponseFlag.ACK))
        if query.name.startswith(INTERNAL_PREFIX):
            self._consider_internal(now_s, query)
        else:
            self._hand_over(now_s, query)

    def _consider_internal(self, now_s: float, query: Query) -> None:
        answer = self.internal.get(query.name.removeprefix(INTERNAL_PREFIX))
        if answer is None:
            self._context.log("debug", "unknown internal query", query=query.name)
            return
        payload = answer(now_s, query)
        if payload is not None:
            self._respond(now_s, query, payload)

    def _hand_over(self, now_s: float, query: Query) -> None:
        """Let the application answer."""
        if len(self._pending) >= PENDING_COUNT_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending_number += 1
        deadline_s = now_s + min(query.timeout_ns / 1e9, TIMEOUT_S_MAX)
        self._pending[self._pending_number] = _Pending(query=query, deadline_s=deadline_s)
        self._context.out.append(
            QueryArrived(query_id=self._pending_number, name=query.name, payload=query.payload, deadline_s=deadline_s)
        )

    def _response(self, query: Query, payload: bytes, flags: int) -> QueryResponse:
        return QueryResponse(
            lamport_time=query.lamport_time,
            query_id=query.query_id,
            sender=self._context.settings.name,
            flags=flags,
            payload=payload,
        )

    def _respond(self, now_s: float, query: Query, payload: bytes) -> None:
        response = self._response(query, payload, 0)
        size = len(encode(response))
        if size > QUERY_BYTES_MAX:
            text = f"response exceeds limit of {QUERY_BYTES_MAX} bytes"
            self._context.log("error", text, query=query.name, size_bytes=size)
            return
        self._send(now_s, query, response)

    def _send(self, now_s: float, query: Query, response: QueryResponse) -> None:
        """Send a response the straight way, and by others if that was asked for."""
        to = Address(query.host, query.port)
        if to == self._context.lower.local.address:
            self._deliver(now_s, response)
            return
        message = encode(response)
        self._context.lower.send_user_message(to, message)
        factor = min(query.relay_factor, RELAY_FACTOR_MAX)
        if not factor or self._context.lower.alive_count < factor + 1:
            return
        relay = encode(Relay(host=to.host, port=to.port, message=message))
        if len(relay) > QUERY_BYTES_MAX:
            self._context.log("warn", f"relayed response exceeds limit of {QUERY_BYTES_MAX} bytes", query=query.name)
            return
        for node in self._context.lower.random_nodes(factor, _knows_relays):
            self._context.lower.send_user_message(node.address, relay)

    def _is_member(self, address: Address) -> bool:
        """Return whether somebody living is there."""
        nodes = self._context.lower.nodes.values()
        return any(node.address == address and node.state is not State.DEAD for node in nodes)


def _knows_relays(node: Node) -> bool:
    return node.state is State.ALIVE and node.versions[1] >= RELAY_PROTOCOL_MIN
