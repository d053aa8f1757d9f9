"""Connections of checks: a new one each run, in clear or over TLS, closed at once when a run ends or is given up."""

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache

import trio
from trio.abc import Stream

from agent.checks.interface import CheckSettings
from base.errors import Unreachable
from base.network import RealNetwork, split_address
from structs.check_spec import CheckSpec

CHAIN_COUNT_MAX = 32
_network = RealNetwork()


@cache
def _context(ca_file: str, cert_file: str, key_file: str, verify: bool, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """One context a use: making one reads all the system's certificates."""
    context = ssl.create_default_context(cafile=ca_file or None)
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def forget_certificates() -> None:
    """Read the files again at the next run."""
    _context.cache_clear()


def verified_or_not(skip_verify: bool) -> ssl.SSLContext:
    """Return how somebody is asked over HTTPS with whom the agent's own certificates have nothing to do."""
    return _context("", "", "", not skip_verify, ())


def tls_context(spec: CheckSpec, settings: CheckSettings, *protocols: str) -> ssl.SSLContext:
    """Return how this check does TLS; `protocols` are offered by ALPN. Raises Unreachable for unusable files."""
    try:
        return _context(
            settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file, not spec.tls_skip_verify, protocols
        )
    except (OSError, ssl.SSLError) as error:
        raise Unreachable(f"tls: the agent's certificates cannot be used: {error}") from error


@asynccontextmanager
async def connected(
    address: str, timeout_s: float, context: ssl.SSLContext | None = None, server_name: str = ""
) -> AsyncGenerator[Stream, None]:
    """Connect to host:port, over TLS where there is a context. Raises Unreachable, with the text that is told."""
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise Unreachable(f"dial tcp: {error}") from error
    dialled = await _network.dial(host, port, timeout_s)
    stream: Stream = trio.SocketStream(trio.socket.from_stdlib_socket(dialled.detach()))
    try:
        if context is not None:
            secured = trio.SSLStream(stream, context, server_hostname=server_name or host, https_compatible=True)
            stream = secured
            try:
                await secured.do_handshake()
            except (trio.BrokenResourceError, OSError) as error:
                raise Unreachable(f"tls: {reason_of(error)}") from error
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


def reason_of(error: BaseException) -> str:
    """Return why a connection failed: libraries wrap what the system said in errors that say less, or nothing."""
    chain: list[BaseException] = [error]
    for found in chain:  # which grows meanwhile
        parts = found.exceptions if isinstance(found, BaseExceptionGroup) else ()
        for part in (*parts, found.__cause__, found.__context__):
            if part is not None and part not in chain and len(chain) < CHAIN_COUNT_MAX:
                chain.append(part)
    for found in chain:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"failed to verify certificate: {found.verify_message}"
    for found in reversed(chain):
        if isinstance(found, OSError) and found.strerror and not isinstance(found, ssl.SSLError):
            return os.strerror(found.errno) if found.errno and found.errno > 0 else found.strerror
    return next((str(found) for found in chain if str(found)), "") or type(error).__name__
