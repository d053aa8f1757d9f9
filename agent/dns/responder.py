"""Bytes of a query -> bytes of its answer, whatever they are. Between the sockets and the resolver."""

import random
from collections.abc import Callable
from functools import partial

import msgspec
import trio

from agent.dns.answers import FORMERR, NOERROR, NXDOMAIN, SERVFAIL, Reply, fitted
from agent.dns.lookups import Lookups
from agent.dns.message import HEADER, HEADER_BYTES, MESSAGE_BYTES_MAX, Question, compressed_size, parse, refusal, render
from agent.dns.recursors import Recursors
from agent.dns.remembered import Remembered, key_of
from agent.dns.resolver import Resolver
from agent.dns.settings import DNSSettings
from base.errors import InvariantBroken
from base.log import get_logger, trace_of

_log = get_logger("dns")


class DNSStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start, and what there is now."""

    queries_count: int
    remembered_hits_count: int
    remembered_count: int
    errors_count: int
    """Answered SERVFAIL because servers could not be asked."""
    recursor_failures_count: int
    defects_count: int
    dropped_count: int
    """By UDP, because too many were waiting."""
    lookups_count: int
    """Under way."""
    connections_count: int


class Responder:
    """Answers queries; one a DNS server."""

    def __init__(
        self,
        settings: DNSSettings,
        lookups: Lookups,
        *,
        rng: random.Random,
        wall_unix_s: Callable[[], float],
        monotonic_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._settings = settings
        self._recursors = Recursors(settings, rng=random.SystemRandom())  # whose ids nobody can foretell
        self.resolver = Resolver(settings, lookups, self._recursors, rng=rng, wall_unix_s=wall_unix_s)
        self.remembered = Remembered(count_max=settings.limits.remembered_max)
        self._now = monotonic_s
        self.queries_count = 0
        self.defects_count = 0

    @property
    def recursor_failures_count(self) -> int:
        """Questions that no recursor has answered."""
        return self._recursors.failures_count

    def at_once(self, query: bytes, at_s: float) -> tuple[bytes | None, bool]:
        """Return the answer to a query by UDP if it is there already, and whether `respond` should make another.

        Without an answer it has to, with one it may, for the next who asks.
        """
        key = key_of(query)
        if key is None:
            return None, True
        answer, renews = self.remembered.find(key, query, at_s)
        if answer is None:
            return None, True
        self.queries_count += 1
        return answer, renews

    async def renew(self, query: bytes, source: str) -> None:
        """Make another answer to a query that was answered already."""
        await self._respond(query, source, is_udp=True, renews=True)

    async def respond(self, query: bytes, source: str, *, is_udp: bool) -> bytes | None:
        """Return the answer to a query from the address `source`, None where there must be none. Never raises."""
        self.queries_count += 1
        return await self._respond(query, source, is_udp=is_udp, renews=False)

    async def _respond(self, query: bytes, source: str, *, is_udp: bool, renews: bool) -> bytes | None:
        if len(query) > self._settings.limits.query_bytes_max:
            return _refused(query, FORMERR)
        try:
            question = parse(query)
            if not isinstance(question, Question):
                return question
            return await self._answer(question, query, source, is_udp=is_udp, renews=renews)
        except InvariantBroken:
            raise
        except Exception as error:  # the border: one question's defect must not end the others' answers
            self.defects_count += 1
            _log.error("a question met a defect", error=repr(error), trace=trace_of(error))
            return _refused(query, SERVFAIL)

    async def _answer(self, question: Question, query: bytes, source: str, *, is_udp: bool, renews: bool) -> bytes:
        resolved = await self.resolver.resolve(question, query, source, is_udp=is_udp)
        reply = resolved.reply
        if isinstance(reply, bytes):
            return reply
        is_kept = is_udp and resolved.sources is not None and reply.code in (NOERROR, NXDOMAIN)
        key = key_of(query) if is_kept else None
        if key is None or resolved.sources is None:
            return self._rendered(question, reply, is_udp=is_udp)
        if not renews:  # of many who asked at once when there was no answer, the first has made one meanwhile
            made, renews = self.remembered.find(key, query, self._now())
            if made is not None and not renews:
                return made
        answer = self._rendered(question, reply, is_udp=is_udp)
        self.remembered.keep(key, answer, resolved.sources, at_s=self._now(), varies=reply.varies)
        return answer

    def _rendered(self, question: Question, reply: Reply, *, is_udp: bool) -> bytes:
        draw = partial(
            render, question, recursion=self._recursors.exist, compress=not self._settings.disable_compression
        )
        drawn: tuple[Reply | None, bytes] = (None, b"")

        def size_of(candidate: Reply) -> int:
            nonlocal drawn
            known = None if self._settings.disable_compression else compressed_size(question, candidate)
            if known is not None:
                return known
            try:
                drawn = (candidate, draw(candidate))
            except ValueError:  # larger than any message
                return MESSAGE_BYTES_MAX + 1
            return len(drawn[1])

        kept = fitted(
            reply,
            self._settings,
            is_udp=is_udp,
            edns_bytes=question.edns_bytes,
            name_bytes=len(question.wire_name),
            size_of=size_of,
        )
        return drawn[1] if drawn[0] is kept else draw(kept)


def _refused(query: bytes, code: str) -> bytes | None:
    """Return a refusal of what was not read, None for what is too short or an answer itself."""
    if len(query) < HEADER_BYTES or query[2] & 0x80:
        return None
    number, flags, *_ = HEADER.unpack_from(query)
    return refusal(number, flags, code)
