"""An agent that answers from a script: real HTTP on a real socket, no cluster behind it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `hang_up` closes the connection instead of answering; `cut` promises more than is sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}
    hang_up: bool = False
    cut: bool = False


Script = Callable[[Asked], Told]


class FakeAgent:
    """`asked` holds every request in order."""

    def __init__(self, address: str, asked: list[Asked]) -> None:
        self.address = address
        self.asked = asked


@contextmanager
def fake_agent(script: Script) -> Iterator[FakeAgent]:
    """Serve until the block ends."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            """As the base class does, for every method."""
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            length = int(self.headers.get("Content-Length") or 0)
            request = Asked(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length),
            )
            asked.append(request)
            self._answer(script(request))

        def _answer(self, told: Told) -> None:
            if told.hang_up:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body) + (100 if told.cut else 0)))
            self.end_headers()
            self.wfile.write(told.body)
            self.close_connection = self.close_connection or told.cut

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield FakeAgent(f"127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def script_of(*answers: Told) -> Script:
    """Give these answers one after the other; the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
