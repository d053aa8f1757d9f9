"""A foreign member as seen on the wire: blocking sockets, a yamux session and calls, written after the specification.

Nothing of `rpc/` is used here, so that what the two have in common is only the wire.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgpack

WINDOW = 262_144
DATA, UPDATE, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
PATIENCE_S = 20.0
"""Far beyond what anything here takes."""

Answer = tuple[str, Any]
"""Error text and body."""
Later = Callable[[Callable[[Answer], None]], None]
"""Takes what is to be called with the answer, from any thread, once there is one."""


def frame(kind: int, flags: int, number: int, length: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return struct.pack(">BBHII", 0, kind, flags, number, length) + payload


def old(value: Any) -> bytes:
    """The old form of msgpack."""
    return bytes(msgpack.packb(value, use_bin_type=False))


def request_bytes(seq: int, method: str, argument: Any) -> bytes:
    """One call."""
    return old({"Seq": seq, "ServiceMethod": method}) + old(argument)


def readable(value: Any) -> Any:
    """Raw that is text becomes text, so that tests can say what they expect."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, dict):
        return {readable(key): readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [readable(item) for item in value]
    return value


class Line:
    """One stream."""

    def __init__(self, session: "ForeignSession", number: int) -> None:
        self.session = session
        self.number = number
        self.arrived = bytearray()
        self.credit = WINDOW
        self.not_granted = 0
        self.accepted = False
        self.ended = False
        self.reset = False

    def write(self, data: bytes) -> None:
        """Send as credit allows."""
        while data:
            while not self.credit:
                self.session.pump()
            size = min(len(data), self.credit)
            self.credit -= size
            self.session.send(frame(DATA, 0, self.number, size, data[:size]))
            data = data[size:]

    def objects(self, count: int) -> list[Any]:
        """So many msgpack values, once they are all there; raises EOFError if the stream ends before."""
        while True:
            reader = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=2**30)
            reader.feed(bytes(self.arrived))
            try:
                found = [reader.unpack() for _ in range(count)]
            except msgpack.OutOfData:
                if self.ended or self.reset:
                    raise EOFError from None
                self.session.pump()
                continue
            del self.arrived[: reader.tell()]
            return [readable(each) for each in found]

    def call(self, method: str, argument: Any, seq: int = 1) -> Answer:
        """Ask and wait."""
        self.write(request_bytes(seq, method, argument))
        return self.answer(seq)

    def answer(self, seq: int = 1) -> Answer:
        """Wait for what was asked."""
        header, body = self.objects(2)
        assert header["Seq"] == seq
        return header["Error"], body

    def close(self) -> None:
        """FIN."""
        self.session.send(frame(UPDATE, FIN, self.number, 0))


class ForeignSession:
    """One session, pumped by whoever waits; no threads."""

    def __init__(self, connection: socket.socket, *, dialler: bool) -> None:
        connection.settimeout(PATIENCE_S)
        self.connection = connection
        self.next = 1 if dialler else 2
        self.lines: dict[int, Line] = {}
        self.opened: list[Line] = []
        self.pongs: list[int] = []
        self.gone: int | None = None
        self.sent = bytearray()
        self.seen = bytearray()
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._sending:
            self.sent += data
            self.connection.sendall(data)

    def open(self) -> Line:
        line = self.lines[self.next] = Line(self, self.next)
        self.next += 2
        self.send(frame(UPDATE, SYN, line.number, 0))
        return line

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.connection.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        self.seen += data
        return data

    def pump(self) -> None:
        """Take one frame; raises EOFError when the connection has ended."""
        version, kind, flags, number, length = struct.unpack(">BBHII", self.exactly(12))
        assert version == 0
        if kind == PING:
            if flags & SYN:
                self.send(frame(PING, ACK, 0, length))
            else:
                self.pongs.append(length)
            return
        if kind == GO_AWAY:
            self.gone = length
            return
        payload = self.exactly(length) if kind == DATA else b""
        if flags & SYN:
            line = self.lines[number] = Line(self, number)
            self.opened.append(line)
            self.send(frame(UPDATE, ACK, number, 0))
        found = self.lines.get(number)
        if found is None:
            return
        found.accepted |= bool(flags & ACK)
        found.arrived += payload
        found.not_granted += len(payload)
        if found.not_granted >= WINDOW // 2:
            self.send(frame(UPDATE, 0, number, found.not_granted))
            found.not_granted = 0
        if kind == UPDATE:
            found.credit += length
        found.ended |= bool(flags & FIN)
        found.reset |= bool(flags & RST)

    def close(self) -> None:
        self.connection.close()


def dial(address: str, first: bytes = b"\x04") -> ForeignSession:
    """A session as a client agent opens it."""
    return ForeignSession(dial_raw(address, first), dialler=True)


class PlainLine(Line):
    """Request and answer pairs directly on a connection."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(ForeignSession(connection, dialler=True), 0)
        self.connection = connection
        self.session.pump = self._pump  # type: ignore[method-assign]

    def _pump(self) -> None:
        piece = self.connection.recv(WINDOW)
        self.ended |= not piece
        self.arrived += piece

    def write(self, data: bytes) -> None:
        """Send."""
        self.connection.sendall(data)

    def close(self) -> None:
        """End the connection."""
        self.connection.close()


def dial_plain(address: str) -> PlainLine:
    """A plain connection, ready for calls."""
    return PlainLine(dial_raw(address, b"\x00"))


def secured(address: str, context: ssl.SSLContext, first: bytes) -> socket.socket:
    """A connection with TLS inside, as byte 3 asks for, that has sent its first bytes there."""
    connection: socket.socket = context.wrap_socket(dial_raw(address, b"\x03"), server_hostname="server.dc1.consul")
    connection.sendall(first)
    return connection


def dial_raw(address: str, first: bytes = b"") -> socket.socket:
    """A connection that has sent its first bytes."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(first)
    return connection


class ForeignServerDouble:
    """A foreign server: answers calls on each stream one after the other.

    `answer(method, argument)` returns error text and body, or who brings them later; None: no answer ever; an
    exception closes the connection.
    """

    def __init__(self, answer: Callable[[str, Any], Answer | Later | None]) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.sessions: list[ForeignSession] = []
        self.first_bytes: list[bytes] = []
        self.asked: list[tuple[str, Any]] = []
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> "ForeignServerDouble":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._listening.close()
        for session in self.sessions:
            try:
                session.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it had ended already
        dial_to_wake(self.address)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for session in self.sessions:
            session.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            if self._closing:
                connection.close()
                return
            self.first_bytes.append(connection.recv(1))
            session = ForeignSession(connection, dialler=False)
            self.sessions.append(session)
            thread = threading.Thread(target=self._serve, args=(session,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, session: ForeignSession) -> None:
        try:
            while True:
                session.pump()
                for line in list(session.lines.values()):
                    self._advance(session, line)
        except (EOFError, OSError, ConnectionError):
            session.close()

    def _advance(self, session: ForeignSession, line: Line) -> None:
        if line.reset or line.ended:
            if line.ended and not line.reset:
                line.close()
            del session.lines[line.number]
            return
        reader = msgpack.Unpacker(raw=True, max_buffer_size=2**30)
        reader.feed(bytes(line.arrived))
        try:
            header, argument = reader.unpack(), reader.unpack()
        except msgpack.OutOfData:
            return
        del line.arrived[: reader.tell()]
        method = header[b"ServiceMethod"].decode()
        self.asked.append((method, readable(argument)))
        given = self._answer(method, readable(argument))

        def send(answer: Answer) -> None:
            error, body = answer
            try:
                line.write(old({"Error": error, "Seq": header[b"Seq"], "ServiceMethod": method}) + old(body))
            except OSError:
                return  # whoever asked has gone

        if callable(given):
            given(send)
        elif given is not None:
            send(given)


def dial_to_wake(address: str) -> None:
    """End a blocked accept."""
    try:
        dial_raw(address).close()
    except OSError:
        return
