"""Recursors: questions about other domains are passed on, one name server after the other, and their answers back.

A question that comes back to us from a name server that we have just asked the same is refused: else two servers that
take each other for their recursors would ask one another until both are full.
"""

import random
import socket
from collections import Counter
from typing import Final

import trio

from agent.dns.answers import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Reply, Row
from agent.dns.message import (
    MESSAGE_BYTES_MAX,
    Question,
    address_query,
    answers_question,
    looked,
    with_number,
)
from agent.dns.settings import DNSSettings
from base.limits import Seldom
from base.log import get_logger

FORGED_MAX: Final = 16
"""Datagrams that are no answer to our question before we give a recursor up."""
LOG_S: Final = 10.0

_log = get_logger("dns")
Address = tuple[str, int]


class Recursors:
    """The name servers for other domains. In-flight questions are bounded by whoever calls."""

    def __init__(self, settings: DNSSettings, *, rng: random.Random) -> None:
        self._servers = settings.recursors
        self._timeout_s = settings.recursor_timeout_s
        self._at_random = settings.recursors_at_random
        self._rng = rng
        self._hosts = frozenset(host for host, _ in self._servers)
        self._asked: Counter[tuple[str, int]] = Counter()
        self._seldom = Seldom(LOG_S)
        self.failures_count = 0

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._servers)

    async def forward(self, question: Question, query: bytes, source: str, *, is_udp: bool) -> Reply | bytes:
        """Return the answer of the first that gives one, under the id of the query; SERVFAIL where none does."""
        key = (question.name, question.type_number)
        if source in self._hosts and self._asked[key]:
            return Reply(code=REFUSED, authoritative=False)
        self._asked[key] += 1
        try:
            for server in self._order():
                number = self._rng.getrandbits(16)
                answer = await self._ask(server, with_number(query, number), is_udp=is_udp)
                if answer is not None and answer[3] & 0x0F not in (2, 5):  # neither SERVFAIL nor REFUSED
                    return with_number(answer, question.number)
        finally:
            self._asked[key] -= 1
            if not self._asked[key]:
                del self._asked[key]
        self._failed(question.name)
        return Reply(code=SERVFAIL, authoritative=False)

    async def look_up(self, name: str, type_name: str) -> tuple[Row, ...]:
        """Return the address records of a name of another domain, and its aliases; () where nobody knows."""
        for server in self._order():
            try:
                query = address_query(self._rng.getrandbits(16), name, type_name)
            except ValueError:
                return ()
            answer = await self._ask(server, query, is_udp=True)
            said = looked(answer) if answer is not None else None
            if said is not None and said.truncated:
                answer = await self._ask(server, query, is_udp=False)
                said = looked(answer) if answer is not None else None
            if said is not None and said.code in (NOERROR, NXDOMAIN):
                return said.rows
        self._failed(name)
        return ()

    def _order(self) -> list[Address]:
        servers = list(self._servers)
        if self._at_random:
            self._rng.shuffle(servers)
        return servers

    def _failed(self, name: str) -> None:
        self.failures_count += 1
        count = self._seldom.count(trio.current_time()) if self._servers else 0
        if count:
            _log.warn("no recursor has answered", name=name, count=count)

    async def _ask(self, server: Address, query: bytes, *, is_udp: bool) -> bytes | None:
        """Return the answer of one server, None where there is none in time."""
        try:
            with trio.move_on_after(self._timeout_s):
                return await (_by_udp if is_udp else _by_tcp)(server, query)
        except OSError as error:
            _log.debug("a recursor cannot be asked", host=server[0], error=str(error))
        return None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _by_udp(server: Address, query: bytes) -> bytes | None:
    """Ask from a port of its own, connected, so that only the server's datagrams arrive."""
    with trio.socket.socket(_family(server[0]), socket.SOCK_DGRAM) as sock:
        await sock.connect(server)
        await sock.send(query)
        for _ in range(FORGED_MAX):
            answer = await sock.recv(MESSAGE_BYTES_MAX)
            if answers_question(query, answer):
                return answer
    return None


async def _by_tcp(server: Address, query: bytes) -> bytes | None:
    with trio.socket.socket(_family(server[0]), socket.SOCK_STREAM) as sock:
        await sock.connect(server)
        data = memoryview(len(query).to_bytes(2, "big") + query)
        while data:
            data = data[await sock.send(data) :]
        head = await _exactly(sock, 2)
        answer = await _exactly(sock, int.from_bytes(head, "big")) if head else b""
        return answer if answer and answers_question(query, answer) else None


async def _exactly(sock: trio.socket.SocketType, count: int) -> bytes:
    """Return `count` bytes, b"" where the stream ends before."""
    data = b""
    while len(data) < count:
        piece = await sock.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return data
