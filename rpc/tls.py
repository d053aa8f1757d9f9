"""TLS: the stream class, the contexts, and who the peer is.

A non-blocking `ssl.SSLSocket` under trio's readiness calls carries 2.7 times what `trio.SSLStream` carries. TLS 1.2 is
the oldest version spoken; renegotiation is off, so that reading never has to write.

What the options imply is resolved in one place, `TLSConfig.resolved`: each of CVE-2018-19653 (verify_server_hostname
without verify_outgoing meant plaintext) and CVE-2019-9764 (an option silently without effect) came from resolving it
in several.
"""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio
import trio.lowlevel

from base.errors import ConfigInvalid, Unreachable
from base.network import RECEIVE_STREAK_MAX, Data, SocketStream, Stream
from rpc.caller import Role
from rpc.errors import PeerRefused

RECORD_BYTES: Final = 16 * 1024
"""The largest TLS record (RFC 8446, 5.1); OpenSSL takes and gives at most one at a time."""


class TLSConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of TLS, under its own key names."""

    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify_incoming: bool = False
    verify_incoming_rpc: bool = False
    verify_incoming_https: bool = False
    verify_outgoing: bool = False
    verify_server_hostname: bool = False
    server_name: str = ""
    """The name this node is known by in its certificate, for HTTPS checks; servers are `server.<dc>.<domain>`."""
    datacenter: str = "dc1"
    domain: str = "consul"
    version_min: str = "1.2"
    """Oldest TLS version spoken: 1.2 or 1.3."""

    def resolved(self) -> "TLSConfig":
        """Return the config with all that its options imply; raises ConfigInvalid if they cannot be honoured."""
        outgoing = self.verify_outgoing or self.verify_server_hostname
        incoming_rpc = self.verify_incoming or self.verify_incoming_rpc
        incoming_https = self.verify_incoming or self.verify_incoming_https
        has_authority = bool(self.ca_file or self.ca_path)
        if bool(self.cert_file) != bool(self.key_file):
            given, missing = ("cert_file", "key_file") if self.cert_file else ("key_file", "cert_file")
            raise ConfigInvalid(f"{given} is set, but {missing} is not")
        for key, wanted in (
            ("verify_server_hostname", self.verify_server_hostname),
            ("verify_outgoing", self.verify_outgoing),
            ("verify_incoming", incoming_rpc or incoming_https),
        ):
            if wanted and not has_authority:
                raise ConfigInvalid(f"{key} is set, but there is no CA certificate (ca_file or ca_path)")
        if (incoming_rpc or incoming_https) and not self.cert_file:
            raise ConfigInvalid("verify_incoming is set, but there is no certificate and key (cert_file, key_file)")
        return msgspec.structs.replace(
            self,
            verify_outgoing=outgoing,
            verify_incoming_rpc=incoming_rpc,
            verify_incoming_https=incoming_https,
        )

    def warnings(self) -> list[str]:
        """Return what an operator should hear about a valid config."""
        if (self.verify_incoming or self.verify_incoming_rpc) and not (
            self.verify_outgoing or self.verify_server_hostname
        ):
            return ["verify_incoming without verify_outgoing: this node refuses plaintext, but speaks it to servers"]
        return []

    @property
    def enabled(self) -> bool:
        """Whether anything here makes TLS be spoken."""
        return bool(self.cert_file or self.verify_outgoing or self.verify_server_hostname)

    @property
    def server_host(self) -> str:
        """The name in each server's certificate."""
        return self.server_host_in(self.datacenter)

    def server_host_in(self, datacenter: str) -> str:
        """Return the name in the certificate of each server of a datacenter."""
        return f"server.{datacenter}.{self.domain.rstrip('.')}".lower()


class PeerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a verified certificate proves the peer to be; no role where none was asked for."""

    role: Role | None
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


class TLSStream:
    """A Stream over a non-blocking SSLSocket. Made by `handshake`."""

    __slots__ = ("_closed", "_drained", "_sending", "_socket", "_streak", "peer_address")

    def __init__(self, wrapped: ssl.SSLSocket, peer_address: str) -> None:
        self.peer_address = peer_address
        self._socket = wrapped
        self._closed = False
        self._sending = False
        self._streak = 0
        self._drained = True
        """Nothing was left in OpenSSL's buffer: ask the kernel before asking OpenSSL."""

    @classmethod
    async def handshake(
        cls, stream: Stream, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> "TLSStream":
        """Return TLS over a plain stream, which is used up; raises Unreachable. Deadlines are the caller's."""
        if not isinstance(stream, SocketStream):
            raise Unreachable(f"connection to {stream.peer_address} cannot carry TLS")
        plain = stream.detach()
        try:
            wrapped = context.wrap_socket(
                plain,
                server_side=server_side,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=True,
                server_hostname=server_hostname,
            )
        except (OSError, ValueError) as error:
            plain.close()
            raise Unreachable(f"TLS with {stream.peer_address}: {error}") from error
        made = cls(wrapped, stream.peer_address)
        try:
            await made._shake_hands()
        except BaseException:
            made.close_now()
            raise
        return made

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._socket.do_handshake()
                return
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)
            except (OSError, ValueError) as error:
                raise Unreachable(f"TLS handshake with {self.peer_address}: {_reason(error)}") from error

    def certificate(self) -> dict[str, object]:
        """Return the peer's verified certificate as `ssl` decodes it; empty if none was verified."""
        return dict(self._socket.getpeercert() or {})

    @property
    def version(self) -> str:
        """The version spoken, as "TLSv1.3"."""
        return self._socket.version() or ""

    async def receive_some(self, bytes_max: int) -> bytes:
        """See Stream."""
        self._streak += 1
        if self._drained:
            self._streak = 0
            await self._wait_readable()
        elif self._streak > RECEIVE_STREAK_MAX:
            self._streak = 0
            await trio.lowlevel.checkpoint()
        pieces: list[bytes] = []
        room = bytes_max
        self._drained = False
        while room > 0:
            try:
                piece = self._socket.recv(room)
            except ssl.SSLWantReadError:
                self._drained = True
                if pieces:
                    break
                await self._wait_readable()
                self._drained = False
                continue
            except (OSError, ValueError) as error:
                if pieces:
                    break  # the next receive meets it again
                raise self._broken(error) from error
            if not piece:
                break
            pieces.append(piece)
            room -= len(piece)
            if len(piece) < RECORD_BYTES and self._socket.pending() == 0:
                self._drained = True  # a short record: most likely the last one for now
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait_readable(self) -> None:
        if self._closed:
            raise Unreachable(f"connection to {self.peer_address} is closed")
        try:
            await trio.lowlevel.wait_readable(self._socket)
        except (trio.ClosedResourceError, OSError, ValueError) as error:
            raise self._broken(error) from error

    def send_nowait(self, data: Data) -> int:
        """See Stream."""
        return 0 if self._sending else self._write(memoryview(data))

    def _write(self, rest: memoryview) -> int:
        written = 0
        try:
            while written < len(rest):
                # OpenSSL here writes all or "again, with the same bytes and no fewer": so it gets a record at a time.
                written += self._socket.send(rest[written : written + RECORD_BYTES])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return written
        except (OSError, ValueError) as error:
            raise self._broken(error) from error
        return written

    async def send_all(self, data: Data) -> None:
        """See Stream; raises trio.BusyResourceError when another task is sending."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        rest = memoryview(data)
        rest = rest[self._write(rest) :]
        if not rest:
            return
        self._sending = True
        try:
            while rest:
                if self._closed:
                    raise Unreachable(f"connection to {self.peer_address} is closed")
                await trio.lowlevel.wait_writable(self._socket)
                rest = rest[self._write(rest) :]
        except (trio.ClosedResourceError, OSError, ValueError) as error:
            raise self._broken(error) from error
        finally:
            self._sending = False

    def _broken(self, error: Exception) -> Unreachable:
        if self._closed or isinstance(error, trio.ClosedResourceError):
            return Unreachable(f"connection to {self.peer_address} is closed")
        return Unreachable(f"connection to {self.peer_address} broke: {_reason(error)}")

    def close_now(self) -> None:
        """See Stream. Tells the peer by a close_notify if that is possible at once."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            with suppress(OSError, ValueError):
                self._socket.unwrap()
            self._socket.close()

    async def aclose(self) -> None:
        """See Stream."""
        self.close_now()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return (error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)) or type(error).__name__


def identify_peer(stream: TLSStream, *, datacenter: str, domain: str) -> PeerIdentity:
    """Return who the certificate proves the peer to be; raises PeerRefused if no certificate was verified.

    A server has `server.<dc>.<domain>` among its names, letter for letter: a wildcard makes nobody a server.
    """
    names = stream.certificate().get("subjectAltName")
    if not stream.certificate() or not isinstance(names, tuple):
        raise PeerRefused(f"{stream.peer_address} has shown no certificate with names")
    dns_names = tuple(str(value).lower() for kind, value in names if kind == "DNS")
    server_host = TLSConfig(datacenter=datacenter, domain=domain).server_host
    return PeerIdentity(
        role=Role.SERVER if server_host in dns_names else Role.AGENT,
        dns_names=dns_names,
        uris=tuple(str(value) for kind, value in names if kind == "URI"),
    )


class TLSContexts:
    """The contexts of a process, built from files once and again at `reload`."""

    def __init__(self, config: TLSConfig) -> None:
        """Raises ConfigInvalid: options that contradict, or files that cannot be used."""
        self.config = config.resolved()
        self._incoming, self._incoming_https, self._outgoing = self._build()

    def reload(self) -> None:
        """Read the files again (rotation); raises ConfigInvalid, and then what was loaded before stays in use."""
        self._incoming, self._incoming_https, self._outgoing = self._build()

    def _build(self) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None, ssl.SSLContext | None]:
        config = self.config
        incoming = _server_context(config, verify=config.verify_incoming_rpc) if config.cert_file else None
        https = _server_context(config, verify=config.verify_incoming_https) if config.cert_file else None
        return incoming, https, _client_context(config) if config.verify_outgoing else None

    @property
    def identity_required(self) -> bool:
        """Whether plaintext and unknown peers are refused on the RPC port."""
        return self.config.verify_incoming_rpc

    @property
    def servers_prove_themselves(self) -> bool:
        """Whether only who shows a server's certificate counts as one; without, any certificate of the CA does."""
        return self._outgoing is not None and (self.config.verify_server_hostname or self.config.verify_incoming_rpc)

    @property
    def outgoing(self) -> bool:
        """Whether this node dials with TLS."""
        return self._outgoing is not None

    @property
    def https_context(self) -> ssl.SSLContext | None:
        """The context of the HTTPS listener as loaded last; None without a certificate."""
        return self._incoming_https

    async def accept(self, stream: Stream) -> tuple[TLSStream, PeerIdentity]:
        """Return TLS with who dialled us; raises Unreachable or PeerRefused, and then the stream is closed."""
        if self._incoming is None:
            stream.close_now()
            raise PeerRefused("TLS asked for, but this node has no certificate")
        made = await TLSStream.handshake(stream, self._incoming, server_side=True)
        if not self.config.verify_incoming_rpc:
            return made, PeerIdentity(role=None)
        return made, self._identify(made, self.config.datacenter)

    async def connect(self, stream: Stream, *, datacenter: str = "") -> tuple[TLSStream, PeerIdentity]:
        """Return TLS with the server we dialled, of our own datacenter or the one that is named; its role is one there.

        Raises Unreachable or PeerRefused, and then the stream is closed.
        """
        if self._outgoing is None:
            stream.close_now()
            raise PeerRefused("verify_outgoing is off")
        datacenter = datacenter or self.config.datacenter
        host = self.config.server_host_in(datacenter)
        made = await TLSStream.handshake(stream, self._outgoing, server_side=False, server_hostname=host)
        identity = self._identify(made, datacenter)
        if self.config.verify_server_hostname and identity.role is not Role.SERVER:
            made.close_now()
            raise PeerRefused(f"{made.peer_address} is not {host}: it has the names {', '.join(identity.dns_names)}")
        return made, identity

    def _identify(self, made: TLSStream, datacenter: str) -> PeerIdentity:
        try:
            return identify_peer(made, datacenter=datacenter, domain=self.config.domain)
        except PeerRefused:
            made.close_now()
            raise


def make_contexts(config: TLSConfig) -> TLSContexts | None:
    """Return the contexts, None where the config asks for no TLS; raises ConfigInvalid."""
    contexts = TLSContexts(config)
    return contexts if config.enabled else None


def _server_context(config: TLSConfig, *, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _common(context, config)
    # Connections live long: tickets for resuming would only be written and never used.
    context.num_tickets = 0
    # Foreign members end a snapshot by closing their direction of the TCP connection beneath, and then want an answer.
    # Nothing that is read here takes the end of a connection for the end of a message that has no length or checksum.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    return context


def _client_context(config: TLSConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = config.verify_server_hostname
    context.hostname_checks_common_name = False
    context.verify_mode = ssl.CERT_REQUIRED
    _common(context, config)
    return context


def _common(context: ssl.SSLContext, config: TLSConfig) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if config.version_min == "1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    for key, path in (("ca_file", config.ca_file), ("cert_file", config.cert_file), ("key_file", config.key_file)):
        if path and not Path(path).is_file():
            raise ConfigInvalid(f"{key}: no such file: {path}")
    if config.ca_path and not Path(config.ca_path).is_dir():
        raise ConfigInvalid(f"ca_path: no such directory: {config.ca_path}")
    try:
        if config.ca_file:
            context.load_verify_locations(cafile=config.ca_file)
        if config.ca_path:
            _load_folder(context, Path(config.ca_path))
    except (OSError, ssl.SSLError) as error:
        raise ConfigInvalid(f"ca_file or ca_path cannot be used: {_reason(error)}") from error
    if config.cert_file:
        try:
            context.load_cert_chain(config.cert_file, config.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigInvalid(
                f"cert_file {config.cert_file} with key_file cannot be used: {_reason(error)}"
            ) from error


def _load_folder(context: ssl.SSLContext, folder: Path) -> None:
    """Load every file of the folder: the hashed names that OpenSSL itself would want are not asked of anybody."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            context.load_verify_locations(cafile=str(path))
