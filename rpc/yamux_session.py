"""Runs one yamux session on a connection. `rpc/yamux.py` decides; one task reads, the hub's tasks do the rest."""

from collections.abc import Callable
from typing import Final

import trio

from base.errors import Unreachable
from base.network import Stream
from rpc.errors import ProtocolViolated
from rpc.hub import Hub
from rpc.kept import Kept
from rpc.outlet import Outlet
from rpc.yamux import GO_AWAY_NORMAL, GO_AWAY_PROTOCOL_ERROR, OUT_BYTES_MAX, WAITING_BYTES_MAX, Session, YamuxStream

RECEIVE_BYTES: Final = 64 * 1024
"""One receive; see rpc/connection.py."""
LOOK_INTERVAL_S: Final = 1.0
"""How often a session is looked at. Looks are counted, not the clock: a process that was stopped blames no peer."""
CONGESTED_BYTES_MIN: Final = WAITING_BYTES_MAX // 4
"""Data waiting for credit beyond which nothing more is answered or asked on this session. One large answer to somebody
far away, who grants credit once a round trip, holds up nobody else."""
STALLED_LOOKS_MAX: Final = 10
"""Output of which nothing is taken for so long ends the session."""


class YamuxConnection:
    """One session and its connection. `run` reads until it ends."""

    def __init__(
        self,
        stream: Stream,
        hub: Hub,
        *,
        dialler: bool,
        accept: Callable[[YamuxStream], None] | None = None,
        kept: Kept | None = None,
        served_count: Callable[[], int] = lambda: 0,
        idle_timeout_s: float | None = None,
        relieved: Callable[[], None] = lambda: None,
    ) -> None:
        """`accept` gets the streams of the other side; a session that is not busy for `idle_timeout_s` is closed;
        `relieved` is called while `congested` is false and something has moved."""
        self.session = Session(dialler=dialler, accept=accept, kept=kept)
        self.peer_address = stream.peer_address
        self.busy_count = 0
        """Streams with something under way, for whoever wants the session not to count as idle."""
        self._stream = stream
        self._hub = hub
        self._outlet = Outlet(stream, hub, take=self.session.take_out, broke=self.close, moved=self._moved)
        self._served_count = served_count
        self._relieved = relieved
        self._idle_timeout_s = idle_timeout_s
        self._idle_since_s = trio.current_time()
        self._heard = True
        self._marked = False
        self._closed_reason: str | None = None
        self.tick_at_s = self._idle_since_s + LOOK_INTERVAL_S
        hub.add(self)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed_reason is not None

    @property
    def usable(self) -> bool:
        """Whether streams can still be opened."""
        return self._closed_reason is None and self.session.may_open

    @property
    def calls_served_count(self) -> int:
        """See Member."""
        return self._served_count()

    @property
    def congested(self) -> bool:
        """Whether the other side should read before it is given more to read."""
        session = self.session
        return session.waiting_bytes > CONGESTED_BYTES_MIN or session.out_bytes > OUT_BYTES_MAX

    def may_have_left(self, stream: YamuxStream) -> bool:
        """Whether the other side may have everything that was written to the stream."""
        return not stream.waiting and stream.out_position <= self._outlet.handed_bytes

    def describe(self) -> str:
        """What happened to the connection, for errors."""
        return f"rpc: connection to {self.peer_address}: {self._closed_reason or 'is open'}"

    async def run(self) -> None:
        """Read until the session ends, then close it."""
        session = self.session
        reason = "is closed"
        try:
            while True:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                if not data:
                    reason = "was closed by the other side"
                    return
                self._heard = True
                session.feed(data)
                self.flush()
                self._moved()
                while session.out_bytes > OUT_BYTES_MAX and self._closed_reason is None:
                    await self._outlet.wait_progress()
                if self._closed_reason is not None:
                    return
        except Unreachable as error:
            reason = str(error)
        except ProtocolViolated as error:
            reason = f"broke the protocol: {error}"
            session.go_away(GO_AWAY_PROTOCOL_ERROR)
            self.flush()
        finally:
            self.close(reason)

    def mark_dirty(self) -> None:
        """Have gathered output sent soon."""
        if not self._marked and self._closed_reason is None:
            self._marked = True
            self._hub.mark_dirty(self)

    def flush(self) -> None:
        """See Member."""
        self._marked = False
        if self._closed_reason is None:
            self._outlet.flush()

    def _moved(self) -> None:
        if not self.congested and self._closed_reason is None:
            self._relieved()

    def tick(self, now_s: float) -> None:
        """See Member."""
        self.tick_at_s = now_s + LOOK_INTERVAL_S
        reason = self.session.look(heard=self._heard)
        self._heard = False
        if reason is None and self._outlet.look() >= STALLED_LOOKS_MAX:
            reason = "does not take our output"
        if self.busy_count or self._idle_timeout_s is None:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s > self._idle_timeout_s:
            self.session.go_away(GO_AWAY_NORMAL)
            reason = "was idle"
        self.flush()
        if reason is not None:
            self.close(reason)

    def doubt(self) -> None:
        """Something else speaks against the other side: close soon if it gives no sign of life."""
        self._heard = False
        self.session.doubt()
        self.mark_dirty()

    def close(self, reason: str) -> None:
        """See Member: every stream is over."""
        if self._closed_reason is not None:
            return
        self._closed_reason = reason
        self._hub.connections.discard(self)
        self._outlet.close()
        self._stream.close_now()
        self.session.end()
