"""The sockets of DNS: UDP read in batches, TCP with its connections; both bounded, in all and for each source."""

import errno
import socket
from collections.abc import Sequence
from typing import Final

import trio
import trio.lowlevel

from agent.dns.responder import DNSStatistics, Responder
from agent.dns.settings import DNSLimits
from base.datagrams import RECEIVE_BUFFER_BYTES, bind_both
from base.errors import Unreachable
from base.limits import KeyedCap
from base.network import SocketListener, SocketStream, join_address, split_address

BATCH_COUNT_MAX: Final = 128
"""Datagrams taken before other tasks get their turn: some 2 ms of work."""
BACKLOG: Final = 256
_GONE: Final = {errno.EBADF, errno.ENOTSOCK, errno.EINVAL}
Pair = tuple[socket.socket, socket.socket]
"""A UDP and a listening TCP socket on one address."""


def bind_dns(host: str, port: int) -> Pair:
    """Return the sockets for one address (port 0: any that is free for both protocols); raises OSError."""
    bound, listening = bind_both(host, port)
    bound.setblocking(False)
    listening.listen(BACKLOG)
    return bound, listening


def address_of(pair: Pair) -> str:
    """Return "host:port" that was really bound."""
    host, port = pair[0].getsockname()[:2]
    return join_address(host, port)


class DNSListener:
    """Answers what arrives. It closes the sockets."""

    def __init__(self, limits: DNSLimits, responder: Responder, pairs: Sequence[Pair]) -> None:
        self._limits = limits
        self._responder = responder
        self._pairs = list(pairs)
        self._lookups = KeyedCap(per_key_max=limits.lookups_per_source_max, total_max=limits.lookups_max)
        self._connections = KeyedCap(per_key_max=limits.connections_per_source_max, total_max=limits.connections_max)
        for bound, _ in self._pairs:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def statistics(self) -> DNSStatistics:
        """Return counts."""
        responder = self._responder
        return DNSStatistics(
            queries_count=responder.queries_count,
            remembered_hits_count=responder.remembered.hits_count,
            remembered_count=len(responder.remembered),
            errors_count=responder.resolver.errors_count,
            recursor_failures_count=responder.recursor_failures_count,
            defects_count=responder.defects_count,
            dropped_count=self._lookups.refused_count,
            lookups_count=self._lookups.count,
            connections_count=self._connections.count,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for bound, listening in self._pairs:
                    nursery.start_soon(self._serve_datagrams, bound, nursery)
                    nursery.start_soon(self._accept, SocketListener(listening, "dns"), nursery)
                task_status.started()
        finally:
            for bound, listening in self._pairs:
                bound.close()
                listening.close()

    # UDP

    async def _serve_datagrams(self, bound: socket.socket, nursery: trio.Nursery) -> None:
        most = self._limits.query_bytes_max + 1
        while True:
            await trio.lowlevel.wait_readable(bound)
            at_s = trio.current_time()
            for _ in range(BATCH_COUNT_MAX):
                try:
                    query, source = bound.recvfrom(most)
                except (BlockingIOError, InterruptedError):
                    break
                except OSError as error:
                    if error.errno in _GONE:
                        raise
                    continue  # an ICMP error of an answer that was sent before
                answer, more = self._responder.at_once(query, at_s)
                if answer is not None:
                    _send(bound, answer, source)
                if more and source[1] and self._lookups.enter(source[0]):
                    nursery.start_soon(self._look_up, bound, query, source, answer is not None)

    async def _look_up(self, bound: socket.socket, query: bytes, source: tuple[str, int], is_answered: bool) -> None:
        try:
            if is_answered:
                await self._responder.renew(query, source[0])
                return
            answer = await self._responder.respond(query, source[0], is_udp=True)
        finally:
            self._lookups.leave(source[0])
        if answer is not None:
            _send(bound, answer, source)

    # TCP

    async def _accept(self, listener: SocketListener, nursery: trio.Nursery) -> None:
        while True:
            stream = await listener.accept()
            host = split_address(stream.peer_address)[0]
            if self._connections.enter(host):
                nursery.start_soon(self._serve_connection, stream, host)
            else:
                stream.close_now()

    async def _serve_connection(self, stream: SocketStream, host: str) -> None:
        """Answer the questions of one connection, one after the other."""
        buffer = bytearray()
        try:
            while query := await self._next_query(stream, buffer):
                answer = await self._responder.respond(query, host, is_udp=False)
                if answer is None:
                    return
                with trio.move_on_after(self._limits.write_s) as scope:
                    await stream.send_all(len(answer).to_bytes(2, "big") + answer)
                if scope.cancelled_caught:
                    return
                await trio.lowlevel.checkpoint()  # who sends without end must not keep others waiting
        except Unreachable:
            return
        finally:
            self._connections.leave(host)
            stream.close_now()

    async def _next_query(self, stream: SocketStream, buffer: bytearray) -> bytes:
        """Return the next query; b"" where the connection has ended, is idle, slow, or sends what is no query."""
        if not buffer:
            with trio.move_on_after(self._limits.idle_s):
                buffer += await stream.receive_some(self._limits.query_bytes_max)
            if not buffer:
                return b""
        with trio.move_on_after(self._limits.read_s):
            while True:
                if len(buffer) >= 2:
                    size = buffer[0] << 8 | buffer[1]
                    if not 0 < size <= self._limits.query_bytes_max:
                        return b""
                    if len(buffer) >= 2 + size:
                        query = bytes(buffer[2 : 2 + size])
                        del buffer[: 2 + size]
                        return query
                piece = await stream.receive_some(self._limits.query_bytes_max)
                if not piece:
                    return b""
                buffer += piece
        return b""


def _send(bound: socket.socket, answer: bytes, source: tuple[str, int]) -> None:
    """Hand an answer to the kernel; one that is not taken at once is lost, as in a full network."""
    try:
        bound.sendto(answer, source)
    except OSError:
        return
