"""HTTP to one agent over kept-alive connections. One request at a time on each; thread-safe.

It stands on the standard library's client: the command line must start in a blink, and needs nothing more. It adds
whether a failed request may have been carried out (Unreachable: certainly not; OutcomeUnknown: perhaps), unix sockets,
bounded answers, and streams for snapshots.
"""

import http.client
import select
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from base.errors import InvalidRequest, MeshError, OutcomeUnknown, TooLarge, Unreachable
from mesh.address import Target, TLSFiles
from mesh.errors import error_of
from mesh.reply import Reply

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 2 << 30
"""One answer kept in memory. A recursive read of a million keys has some 200 MB."""
ERROR_BYTES_MAX = 64 << 10
CHUNK_BYTES = 256 << 10
IDLE_CONNECTIONS_MAX = 16


LINE_BYTES_MAX = 64 * 1024
"""Of a line that is read as it arrives: the agent's own are a sixteenth of it."""


class ByteStream:
    """The body of an answer, read piece by piece."""

    def __init__(self, response: http.client.HTTPResponse, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = self._response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise OutcomeUnknown(f"the answer broke off: {_reason(error)}") from error
            if not chunk:
                if self._response.length:  # sized reads do not raise at a body that is too short
                    raise OutcomeUnknown("the answer broke off")
                return
            yield chunk

    def lines(self) -> Iterator[bytes]:
        """Iterate over lines, without their ends, as they arrive; ends where the agent ends the answer or breaks off.

        A longer line than LINE_BYTES_MAX comes in pieces.
        """
        while True:
            try:
                line = self._response.readline(LINE_BYTES_MAX)
            except (OSError, ValueError, http.client.HTTPException):
                return  # an answer without an end of its own ends in no other way
            if not line:
                return
            yield line.rstrip(b"\r\n")


class Transport:
    """Connections to one agent; `close` ends them."""

    def __init__(self, target: Target, tls: TLSFiles, *, user_agent: str) -> None:
        self._target = target
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        if target.authorization:
            self._headers["Authorization"] = target.authorization.reveal()

    def close(self) -> None:
        """Close every idle connection and wake whoever pauses."""
        self._closed.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def pause(self, seconds: float) -> bool:
        """Wait between two attempts; returns whether the transport was closed meanwhile."""
        return self._closed.wait(seconds)

    def exchange(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Reply:
        """Send one request and return its answer, whatever its status.

        Raises Unreachable if the request certainly never left, OutcomeUnknown if the connection broke or `timeout_s`
        (for each wait on the socket) ran out after that, TooLarge for an answer beyond ANSWER_BYTES_MAX.
        """
        connection = self._take(timeout_s)
        try:
            response = self._send(connection, method, path, headers, body)
            data = _read_bounded(response, ANSWER_BYTES_MAX)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, response)
        return Reply(status=response.status, headers=_headers_of(response), body=data)

    @contextmanager
    def download(self, path: str, *, headers: Mapping[str, str], timeout_s: float) -> Iterator[ByteStream]:
        """GET whose body is read piece by piece; raises what `exchange` and `mesh.errors.error_of` name."""
        connection = self._take(timeout_s)
        try:
            response = self._send(connection, "GET", path, headers, None)
            if response.status != 200:
                raise _refusal(response, is_read=True)
            yield ByteStream(response, _headers_of(response))
        finally:
            connection.close()

    def upload(
        self, path: str, *, headers: Mapping[str, str], chunks: Iterable[bytes], bytes_count: int, timeout_s: float
    ) -> Reply:
        """PUT whose body of `bytes_count` bytes is sent piece by piece; raises like `exchange` and `error_of`."""
        connection = self._take(timeout_s)
        try:
            response = self._send(connection, "PUT", path, {**headers, "Content-Length": str(bytes_count)}, chunks)
            if response.status != 200:
                raise _refusal(response, is_read=False)
            return Reply(status=200, headers=_headers_of(response), body=_read_bounded(response, ERROR_BYTES_MAX))
        finally:
            connection.close()

    def _take(self, timeout_s: float) -> "_Connection":
        """An idle connection that is still open, or a new one; raises Unreachable."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._dial(timeout_s)
            if connection.is_quiet():
                connection.set_timeout(timeout_s)
                return connection
            connection.close()

    def _dial(self, timeout_s: float) -> "_Connection":
        if self._target.https and self._context is None:
            self._context = tls_context(self._tls)
        connection = _Connection(self._target, self._context, self._tls.server_name)
        try:
            connection.connect()
        except (OSError, ValueError) as error:
            connection.close()
            raise Unreachable(f"{self._target}: {_reason(error)}") from error
        connection.set_timeout(timeout_s)
        return connection

    def _give_back(self, connection: "_Connection", response: http.client.HTTPResponse) -> None:
        with self._lock:
            if not response.will_close and len(self._idle) < IDLE_CONNECTIONS_MAX and not self._closed.is_set():
                self._idle.append(connection)
                return
        connection.close()

    def _send(
        self,
        connection: "_Connection",
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> http.client.HTTPResponse:
        sent_error: OSError | None = None
        try:
            connection.request(method, self._target.path_prefix + path, body, {**self._headers, **headers})
        except OSError as error:
            # The agent may have answered before it had read everything (too large), then closed: that answer counts.
            sent_error = error
        except (ValueError, http.client.HTTPException) as error:
            raise InvalidRequest(f"{method} {path}: {error}") from error
        try:
            return connection.getresponse()
        except TimeoutError as error:
            raise OutcomeUnknown(f"{self._target}: no answer in time") from error
        except (OSError, http.client.HTTPException) as error:
            raise OutcomeUnknown(f"{self._target}: {_reason(sent_error or error)}") from error


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over TCP, TLS or a unix socket."""

    def __init__(self, target: Target, context: "ssl.SSLContext | None", server_name: str) -> None:
        super().__init__(target.host, target.port or None, timeout=CONNECT_TIMEOUT_S, blocksize=CHUNK_BYTES)
        self._target = target
        self._context = context
        self._server_name = server_name or target.host

    def connect(self) -> None:
        """Open the socket and do the handshake; raises OSError."""
        if self._target.unix_path:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(CONNECT_TIMEOUT_S)
            self.sock.connect(self._target.unix_path)
            return
        self.sock = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_name)

    def set_timeout(self, timeout_s: float) -> None:
        """Bound each wait on the socket."""
        self.sock.settimeout(timeout_s)

    def is_quiet(self) -> bool:
        """Whether the connection is open with nothing to read: only then may it carry another request."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


def tls_context(tls: TLSFiles) -> "ssl.SSLContext":
    """Return what connections are secured with; raises InvalidRequest for files that cannot be read."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None, capath=tls.ca_path or None)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot load TLS files: {_reason(error)}") from error
    return context


def _read_bounded(response: http.client.HTTPResponse, bytes_max: int) -> bytes:
    try:
        data = response.read(bytes_max + 1)
        if len(data) <= bytes_max:
            # A body of known length that is short of it does not raise on a sized read.
            if response.length:
                raise OutcomeUnknown("the answer broke off")
            return data
    except (OSError, http.client.HTTPException) as error:
        raise OutcomeUnknown(f"the answer broke off: {_reason(error)}") from error
    raise TooLarge(f"the answer is larger than {bytes_max} bytes")


def _refusal(response: http.client.HTTPResponse, *, is_read: bool) -> MeshError:
    body = response.read(ERROR_BYTES_MAX)
    return error_of(response.status, body, response.headers.get("X-Mesh-Outcome", ""), is_read=is_read)


def _headers_of(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
