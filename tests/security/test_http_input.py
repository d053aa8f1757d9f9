"""Whatever comes in on the HTTP port, the next healthy client is served, and nothing of it reaches a server."""

import random

import pytest
import trio

from agent.http.settings import HTTPLimits, HTTPSettings
from tests.fakes.http_server import PATIENCE_S, RawClient, Site, http_site, request

GET = request("GET", "/v1/kv/a")
PUT = request("PUT", "/v1/kv/a", b"value", {"X-Consul-Token": "t"})
UNLIMITED = HTTPSettings(limits=HTTPLimits(connections_per_client_max=0))


async def drain(client: RawClient) -> bytes:
    """Return everything until the server ends the connection, or resets it."""
    received = b""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                data = await client.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return received
            if not data:
                return received
            received += data


async def assert_healthy(site: Site) -> None:
    status, _, body = await site.ask("GET", "/v1/status/leader")
    assert (status, body) == (200, b'"10.0.0.1:8300"')


@pytest.mark.parametrize("seed", range(20))
async def test_garbage_ends_only_its_own_connection(seed: int) -> None:
    rng = random.Random(seed)
    async with http_site(UNLIMITED) as site:
        for _ in range(20):
            async with site.client() as client:
                message = bytearray(rng.choice([GET, PUT]) * rng.randint(1, 3))
                for _ in range(rng.randint(1, 8)):
                    position = rng.randrange(len(message))
                    message[position : position + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
                try:
                    await client.send(bytes(message) if rng.random() < 0.8 else rng.randbytes(300))
                    await client.stream.send_eof()
                except trio.BrokenResourceError:
                    continue
                answer = await drain(client)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
                assert b"Internal server error" not in answer
        await assert_healthy(site)
        assert site.listener.statistics().defects_count == 0


@pytest.mark.parametrize(
    "smuggled",
    [
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 60\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\n Content-Length: 5\r\n\r\n",
    ],
)
async def test_smuggling_shapes_are_refused_and_what_follows_is_not_read(smuggled: bytes) -> None:
    async with http_site() as site, site.client() as client:
        await client.send(smuggled + request("PUT", "/v1/kv/smuggled", b"1"))
        status, headers, _ = await client.reply()
        assert (status, headers["connection"]) == (400, "close")
        await client.stream.send_eof()
        assert await client.is_closed()
        assert site.delegate.calls == []


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    "target",
    [
        "/v1/kv/%00", "/v1/kv/%0a", "/v1/kv/%7f", "/v1/kv/%ff", "/v1/kv/%c3%28", "/v1/kv/%zz", "/v1/kv/%1",
        "/v1/kv/%c2%85", "/v1/kv/%e2%80%ae", "/v1/kv/%ed%a0%80",
    ],
)  # fmt: skip
async def test_paths_that_nobody_can_print_are_refused(target: str, warm: bool) -> None:
    async with http_site() as site, site.client() as client:
        if warm:
            await client.exchange(GET)
            site.delegate.calls.clear()
        assert (await client.exchange(request("GET", target)))[0] == 400
        assert site.delegate.calls == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/kv/../agent/self",
        "/v1/kv/%2e%2e/agent/self",
        "/v1/kv//etc/passwd",
        "/v1/kv/a%2fb",
        "/v1/kv/%252e%252e",
    ],
)
async def test_keys_stay_keys_whatever_they_look_like(target: str) -> None:
    async with http_site() as site:
        assert (await site.ask("PUT", target, b"1"))[2] == b"true"
        assert (await site.ask("GET", target))[0] == 200
        (key,) = site.delegate.entries
        assert "%2f" not in key


@pytest.mark.parametrize("target", ["*", "h:1", "http:/v1/kv/a", "ftp://h/v1/kv/a", "v1/kv/a", "?x", "//v1/kv/a"])
async def test_targets_that_are_no_path_reach_no_handler(target: str) -> None:
    async with http_site() as site:
        status, _, _ = await site.ask("GET", target)
        assert status in (400, 404)
        assert site.delegate.calls == []


async def test_a_target_with_scheme_and_host_is_its_path() -> None:
    async with http_site() as site:
        assert (await site.ask("PUT", "http://h:80/v1/kv/abs", b"1"))[2] == b"true"
        assert (await site.ask("GET", "http://h"))[2] == b"Consul Agent"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PATCH", "PROPFIND", "HEAD", "M-SEARCH", "POST"])
async def test_other_methods_reach_no_handler(method: str) -> None:
    async with http_site() as site:
        target = "h:1" if method == "CONNECT" else "/v1/kv/a"
        status, _, _ = await site.ask(method, target)
        assert status in (400, 405)
        assert site.delegate.calls == []


async def test_a_blocked_prefix_cannot_be_walked_around() -> None:
    settings = HTTPSettings(block_endpoints=("/v1/agent", "/v1/kv/secret"))
    async with http_site(settings) as site:
        for target in (
            "/v1/agent/self",
            "/v1/%61gent/self",
            "/v1/kv/secret/x",
            "/v1/kv/secre%74",
            "http://h/v1/agent/self",
        ):
            assert (await site.ask("GET", target))[0] == 403


async def test_slow_clients_do_not_keep_others_out(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    settings = HTTPSettings(limits=HTTPLimits(connections_max=50, connections_per_client_max=0))
    async with http_site(settings) as site, trio.open_nursery() as nursery:
        clients = []
        for _ in range(50):
            clients.append(await trio.open_tcp_stream("127.0.0.1", site.port))
            await clients[-1].send_all(b"GET /v1/kv/a HTTP/1.1\r\nX: ")
        await trio.sleep(15)
        assert site.listener.statistics().connections_count == 0
        await assert_healthy(site)
        for client in clients:
            nursery.start_soon(client.aclose)


async def test_tokens_stay_out_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    from base import log

    level = log.SINK.level
    log.set_level("DEBUG")
    try:
        async with http_site() as site:
            await site.ask("GET", "/v1/kv/a?token=sesame&x=1", headers={"X-Consul-Token": "open"})
            await site.ask("GET", "/v1/kv/a?x=1&token=sesame")
    finally:
        log.set_level(log.Level(level).name)
    written = capfd.readouterr().out
    assert written.count("<hidden>") == 2
    assert "sesame" not in written
    assert "open" not in written


async def test_memory_for_a_client_that_pipelines_without_reading_is_bounded() -> None:
    async with http_site() as site, site.client() as client:
        await client.exchange(request("PUT", "/v1/kv/big", b"v" * 400_000))
        with trio.move_on_after(0.3):
            while True:
                await client.send(request("GET", "/v1/kv/big?raw") * 100)
        (connection,) = site.listener._connections.values()
        assert connection._out_bytes <= 1_000_000
        assert len(connection.reader.requests) <= 65536 // 40
        await assert_healthy(site)
