"""Sans-IO: our own queries: sent to everybody, answered straight to us, over at a deadline or when all have answered.

Source: wire format, section 8.4.
"""

import math
from collections.abc import Callable

from base.errors import InvalidRequest
from gossip.clocks import LamportClock
from gossip.config import QUERY_BYTES_MAX
from gossip.context import Context
from gossip.instructions import QueryResult, Status
from gossip.passing_on import Lane, PassingOn
from gossip.query_filters import meets, wire_filters
from gossip.roster import Roster, tags_of
from gossip.serf_messages import Query, QueryFlag, QueryResponse, ResponseFlag, encode

ASKED_COUNT_MAX = 256
"""Queries under way; another one is refused. Each holds up to an answer a member."""
TIMEOUT_MULTIPLIER = 16
"""Gossip rounds until everybody has heard, for each factor of ten of members, with room for the answers."""
TIMEOUT_S_MAX = 600.0
"""Nobody waits longer for an answer; others would keep the question as long."""
REMINDED_COUNT_MAX = 32
"""Who has not answered in half the time is asked straight, so many of them: more would be no accident of gossip."""
QUERY_ID_BITS = 31
RESPONSE_BYTES_MAX = 4 * QUERY_BYTES_MAX
"""A larger response is dropped: ours are a quarter of that, and other members may be set to somewhat more."""
RELAY_FACTOR_MAX = 5
"""By how many others an answer comes besides the straight way: enough to get around a broken one."""

Done = Callable[[float, QueryResult], None]


class Question:
    """One query of ours."""

    __slots__ = ("acks", "answers", "done", "expected", "key", "wants_acks")

    def __init__(self, key: tuple[int, int], expected: dict[str, None], done: Done, *, wants_acks: bool) -> None:
        self.key = key
        self.expected = expected
        """Who has not answered yet, of those it is meant for."""
        self.done = done
        self.wants_acks = wants_acks
        self.acks: dict[str, None] = {}
        self.answers: dict[str, bytes] = {}

    def complete(self) -> bool:
        """Return whether everybody has answered, and said so where that was asked for."""
        return not self.expected and (not self.wants_acks or all(name in self.acks for name in self.answers))


class Asking:
    """The queries of one member. `hear` takes a query of ours as if it had come from outside."""

    def __init__(
        self,
        context: Context,
        passing_on: PassingOn,
        roster: Roster,
        clock: LamportClock,
        hear: Callable[[float, Query], None],
    ) -> None:
        self._context = context
        self._passing_on = passing_on
        self._roster = roster
        self._clock = clock
        self._hear = hear
        self._questions: dict[tuple[int, int], Question] = {}

    def default_timeout_s(self) -> float:
        """Return how long a query needs in a cluster of this size."""
        rounds = TIMEOUT_MULTIPLIER * math.ceil(math.log10(self._context.lower.alive_count + 1))
        return self._context.settings.timing.gossip_interval_s * rounds

    def ask(
        self,
        now_s: float,
        name: str,
        payload: bytes,
        done: Done,
        *,
        names: list[str] | None = None,
        tags: dict[str, str] | None = None,
        wants_acks: bool = False,
        relay_factor: int = 0,
        timeout_s: float | None = None,
        expects_us: bool = True,
    ) -> str | None:
        """Ask; `done` is called once with what came back. Return why not, in which case it never is.

        `expects_us` False: we shall not answer ourselves.
        """
        if len(self._questions) >= ASKED_COUNT_MAX:
            return f"more than {ASKED_COUNT_MAX} queries are under way"
        if timeout_s is None or not 0 < timeout_s <= TIMEOUT_S_MAX:
            timeout_s = self.default_timeout_s() if not timeout_s or timeout_s < 0 else TIMEOUT_S_MAX
        try:
            filters = wire_filters(names or [], tags or {})
        except InvalidRequest as error:
            return str(error)
        local = self._context.lower.local
        query = Query(
            lamport_time=self._clock.time,
            query_id=self._context.rng.getrandbits(QUERY_ID_BITS),
            host=local.address.host,
            port=local.address.port,
            filters=filters,
            flags=QueryFlag.ACK if wants_acks else 0,
            relay_factor=max(0, min(relay_factor, RELAY_FACTOR_MAX)),
            timeout_ns=int(timeout_s * 1e9),
            name=name,
            payload=payload,
        )
        message = encode(query)
        if len(message) > QUERY_BYTES_MAX:
            return f"query exceeds limit of {QUERY_BYTES_MAX} bytes"
        key = (query.lamport_time, query.query_id)
        expected = self._expected(filters, expects_us=expects_us)
        self._questions[key] = Question(key, expected, done, wants_acks=wants_acks)
        timers = self._context.timers
        timers.set(("query", key), now_s + timeout_s, lambda now_s: self._end(now_s, key))
        timers.set(("remind", key), now_s + timeout_s / 2, lambda _: self._remind(key, message))
        self._passing_on.put(now_s, Lane.QUERIES, message)
        self._hear(now_s, query)
        return None

    def _expected(self, filters: list[bytes], *, expects_us: bool) -> dict[str, None]:
        """Return who should answer, as far as we know everybody's tags."""
        us = self._context.settings.name
        return {
            known.node.name: None
            for known in self._roster.known.values()
            if known.status in (Status.ALIVE, Status.LEAVING)
            and (expects_us or known.node.name != us)
            and (not filters or meets(filters, known.node.name, tags_of(known.node.meta)))
        }

    def answered(self, now_s: float, response: QueryResponse) -> None:
        """Take an answer or acknowledgement: one of each a member, and of members only, which bounds them."""
        key = (response.lamport_time, response.query_id)
        question = self._questions.get(key)
        if question is None or response.sender not in self._roster.known or len(response.payload) > RESPONSE_BYTES_MAX:
            return
        if response.flags & ResponseFlag.ACK:
            question.acks[response.sender] = None
        elif response.sender not in question.answers:
            question.answers[response.sender] = response.payload
            question.expected.pop(response.sender, None)
        if question.complete():
            self._end(now_s, key)

    def gone(self, now_s: float, name: str) -> None:
        """Wait for nothing more from a member that left or failed."""
        for key, question in list(self._questions.items()):
            if name in question.expected:
                del question.expected[name]
                if question.complete():
                    self._end(now_s, key)

    def _remind(self, key: tuple[int, int], message: bytes) -> None:
        """Ask those straight who have not said a word: gossip misses somebody now and then, and a key must not."""
        question = self._questions[key]
        silent = [name for name in question.expected if name not in question.acks]
        us = self._context.settings.name
        for name in silent[:REMINDED_COUNT_MAX]:
            node = self._context.lower.nodes.get(name)
            if node is not None and name != us:
                self._context.lower.send_user_message(node.address, message)

    def _end(self, now_s: float, key: tuple[int, int]) -> None:
        question = self._questions.pop(key)
        self._context.timers.cancel(("query", key))
        self._context.timers.cancel(("remind", key))
        question.done(now_s, QueryResult(acks=list(question.acks), answers=question.answers))
