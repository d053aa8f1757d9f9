"""A connection without TLS: driven by the pump as long as nothing waits, by its lane, a task, where something does."""

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from inspect import iscoroutine
from typing import Final

import trio
import trio.lowlevel

from agent.http.connection import Connection, Shared, Work
from base.errors import Unreachable

RECEIVE_BYTES: Final = 64 * 1024
"""One receive. Bounds what can be pipelined in front of a request that waits."""
RECEIVE_STREAK_MAX: Final = 8
"""Full receives in a row before others are served."""
LINGER_BYTES_MAX: Final = 1024 * 1024
"""What a refused client may go on sending before the connection is cut."""
PEER_GONE_MASK: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
EVENTS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


class PlainConnection(Connection):
    """One socket. Exactly one of pump and lane works on it at any time; `_lane_running` says which."""

    __slots__ = (
        "_lane_running",
        "_lane_started",
        "_linger_bytes",
        "_on_close",
        "_parked",
        "_peer_gone",
        "_readable",
        "_work",
        "closed",
        "descriptor",
        "sock",
    )

    def __init__(
        self, shared: Shared, peer: str, sock: socket.socket, on_close: Callable[["PlainConnection"], None]
    ) -> None:
        super().__init__(shared, peer)
        self.sock = sock
        self.descriptor = sock.fileno()
        self._on_close = on_close
        self.closed = False
        self._readable = False
        self._peer_gone = False
        """The client has closed at least its sending side."""
        self._work: Work | None = None
        self._lane_started = False
        self._lane_running = False
        self._parked: trio.lowlevel.Task | None = None
        self._linger_bytes = -1
        """What may still be thrown away; below 0: not lingering."""

    def on_ready(self, mask: int) -> bool:
        """The pump saw events. Returns whether to call `run` again without waiting for another event."""
        if mask & PEER_GONE_MASK:
            self._peer_gone = True
            if self.is_blocking and self.scope is not None:
                self.scope.cancel()
        self._readable = True
        return False if self._lane_running else self.run()

    def run(self) -> bool:
        """Receive, answer and send until nothing is left or something must wait. Returns as `on_ready`."""
        for _ in range(RECEIVE_STREAK_MAX):
            if not self._readable or self.closed:
                return False
            try:
                data = self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                self._readable = False
                return False
            except OSError:
                data = b""
            if not data:
                self.close_now()
                return False
            if len(data) < RECEIVE_BYTES and not self._peer_gone:
                # Drained: the next byte makes a new event. The end of the stream, too, unless it has been seen already.
                self._readable = False
            if self._linger_bytes >= 0:
                self._throw_away(len(data))
            else:
                self.reader.feed(data)
                if not self._serve():
                    return False
        return self._readable and not self.closed

    def _serve(self) -> bool:
        """Answer what the reader holds; returns False if the lane took over or the connection has ended."""
        while True:
            work = self.advance()
            if work is not None:
                self._work = work
                self._to_lane()
                return False
            if self._out and not self._send_now():
                return False
            if not self.has_more:
                break
        if self.closing:
            self._end()
            return self._linger_bytes >= 0
        return True

    def _send_now(self) -> bool:
        data = self.take_out()
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close_now()
            return False
        if sent == len(data):
            return True
        self.write(data[sent:])
        self._to_lane()
        return False

    def _to_lane(self) -> None:
        self._lane_running = True
        task = self._parked
        if task is not None:
            self._parked = None
            trio.lowlevel.reschedule(task)
        elif not self._lane_started:
            self._lane_started = True
            self._shared.spawn(self.lane)

    async def lane(self) -> None:
        """The connection's own task: from the first request that must wait to the connection's end."""
        with trio.CancelScope() as scope:
            self.scope = scope
            try:
                await self._run_lane()
            except Unreachable:
                self.close_now()
        self.scope = None
        if scope.cancelled_caught:
            self.close_now()

    async def _run_lane(self) -> None:
        while not self.closed:
            if self._peer_gone and self.is_blocking:
                self._drop_work()
                self.close_now()
                return
            await self._settle()
            self._lane_running = False
            if self.closing:
                self._end()
                return
            if self.run():
                self._lane_running = True
                await trio.lowlevel.checkpoint()
            elif not self._lane_running and not self.closed:
                if self.closing:
                    return
                self._parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._unpark)

    def _unpark(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _settle(self) -> None:
        """Wait for what must be waited for, until there is nothing of the kind."""
        while True:
            work = self._work
            if work is not None:
                self._work = None
                await self.finish(work)
            if self._out:
                await self.send()
            if self.closing:
                return
            self._work = self.advance()
            if self._work is None and not self._out and not self.has_more:
                return

    def _drop_work(self) -> None:
        """Close a coroutine that will not be awaited."""
        work = self._work
        self._work = None
        if work is not None and iscoroutine(work.result):
            work.result.close()

    async def send(self) -> None:
        """See Connection."""
        rest = memoryview(self.take_out())
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                self.deadline_s = self._shared.now_s + self._shared.limits.write_s
                await trio.lowlevel.wait_writable(self.sock)
            except OSError as error:
                raise Unreachable(str(error)) from error

    async def receive(self) -> bytes:
        """See Connection."""
        self._readable = True  # whatever we leave in the kernel makes no further event
        while True:
            try:
                return self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
            except OSError as error:
                raise Unreachable(str(error)) from error

    def _end(self) -> None:
        """Everything is answered. Closing over unread bytes would reset the connection under the last answer."""
        if self.closed:
            return
        if self.reader.refusal is None and not self.reader.in_body and not self._readable:
            self.close_now()
            return
        self._linger_bytes = LINGER_BYTES_MAX
        self.deadline_s = self._shared.now_s + self._shared.limits.linger_s
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close_now()

    def _throw_away(self, count: int) -> None:
        self._linger_bytes -= count
        if self._linger_bytes < 0:
            self.close_now()

    def expire(self) -> None:
        """See Connection. A client in the middle of a request is told."""
        if (self.reader.in_head or self.reader.in_body) and not self._lane_running and not self.closing:
            self.write_last(408, "Request Timeout")
            with suppress(OSError):
                self.sock.send(self.take_out())
        self.cancel()

    def close_now(self) -> None:
        """See Connection."""
        if self.closed:
            return
        self.closed = True
        self.closing = True
        self._on_close(self)
        if self._lane_started:
            trio.lowlevel.notify_closing(self.sock)
        self.sock.close()
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)
