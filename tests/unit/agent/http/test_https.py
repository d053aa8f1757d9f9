"""HTTPS: the same answers over TLS, and what a broken or absent handshake costs."""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from agent.http.listener import HTTPListener, listen_tcp
from agent.http.settings import HTTPLimits, HTTPSettings
from rpc.certificates import make_authority, make_server_certificate
from rpc.tls import TLSConfig, TLSContexts
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.delegate import FakeDelegate
from tests.fakes.http_server import RawClient, request, until

GET = request("GET", "/v1/kv/a")
Dial = Callable[[], "trio.SSLStream[trio.SocketStream]"]


class SecureSite:
    """An HTTPS listener."""

    def __init__(self, listener: HTTPListener, delegate: FakeDelegate, port: int, trusted: ssl.SSLContext) -> None:
        self.listener = listener
        self.delegate = delegate
        self.port = port
        self._trusted = trusted

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[RawClient, None]:
        tcp = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with trio.SSLStream(tcp, self._trusted, server_hostname="localhost", https_compatible=True) as stream:
            yield RawClient(stream)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TLSConfig:
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    leaf = make_server_certificate(folder, ca_file=authority.certificate, ca_key_file=authority.key)
    return TLSConfig(ca_file=str(authority.certificate), cert_file=str(leaf.certificate), key_file=str(leaf.key))


@asynccontextmanager
async def secure_site(files: TLSConfig, limits: HTTPLimits | None = None) -> AsyncGenerator[SecureSite, None]:
    contexts = TLSContexts(files)
    sock = listen_tcp("127.0.0.1", 0)
    delegate = FakeDelegate()
    listener = HTTPListener(
        HTTPSettings(limits=limits or HTTPLimits()),
        delegate,
        FakeAgentInfo(),
        [],
        tls_sockets=[sock],
        tls_context=lambda: contexts.https_context,
    )
    trusted = ssl.create_default_context(cafile=files.ca_file)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        yield SecureSite(listener, delegate, sock.getsockname()[1], trusted)
        nursery.cancel_scope.cancel()


async def test_requests_are_answered_over_tls(files: TLSConfig) -> None:
    async with secure_site(files) as site, site.client() as client:
        value = b"v" * 500_000
        assert (await client.exchange(request("PUT", "/v1/kv/a", value)))[2] == b"true"
        await client.send(request("GET", "/v1/kv/a?raw") * 10 + request("GET", "/v1/kv/none"))
        for _ in range(10):
            assert (await client.reply())[2] == value
        assert (await client.reply())[0] == 404
        assert (await client.exchange(request("GET", "/v1/snapshot")))[0] == 200
        assert (await client.exchange(request("PUT", "/v1/snapshot", b"archive-" + b"x" * 200_000)))[0] == 200


async def test_a_blocking_query_over_tls_ends_when_its_client_hangs_up(files: TLSConfig) -> None:
    async with secure_site(files) as site:
        async with site.client() as client:
            await client.send(request("GET", f"/v1/kv/w?index={site.delegate.index}&wait=10m"))
            await until(lambda: site.delegate.waiting_count == 1)
        await until(lambda: site.delegate.waiting_count == 0)
        await until(lambda: site.listener.statistics().connections_count == 0)


async def test_plaintext_on_the_tls_port_harms_nobody(files: TLSConfig) -> None:
    async with secure_site(files) as site:
        async with await trio.open_tcp_stream("127.0.0.1", site.port) as plain:
            await plain.send_all(GET)
            while True:
                try:
                    if await plain.receive_some(4096) == b"":
                        break
                except trio.BrokenResourceError:
                    break
        async with site.client() as client:
            assert (await client.exchange(GET))[0] == 404


async def test_a_handshake_that_never_ends_is_dropped(files: TLSConfig, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with (
        secure_site(files, HTTPLimits(head_s=2.0)) as site,
        await trio.open_tcp_stream("127.0.0.1", site.port),
    ):
        await trio.sleep(5.0)
        assert site.listener.statistics().expired_count == 1
        assert site.listener.statistics().connections_count == 0


async def test_a_refusal_over_tls_ends_the_connection(files: TLSConfig) -> None:
    async with secure_site(files) as site, site.client() as client:
        status, headers, _ = await client.exchange(b"GET /v1/kv/a HTTP/1.1\r\n\r\n")
        assert (status, headers["connection"]) == (400, "close")
        assert await client.is_closed()
