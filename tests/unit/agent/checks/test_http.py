"""Check kind http: what is asked, what its answer means, and servers that mean no good."""

import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import trio
from httpx import URL
from msgspec.structs import replace

from agent.checks import http
from agent.checks.body import PIECES_MAX, read_body
from agent.checks.http import is_link_local, may_follow
from tests.unit.agent.checks.servers import SETTINGS, over_tls, read_request, serving, spec


class Pieces(httpx.AsyncByteStream):
    """A body as it comes in pieces."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._pieces

    async def aclose(self) -> None:
        await self._pieces.aclose()


class Site:
    """Answers by path; keeps the requests."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []

    async def handle(self, stream: trio.abc.Stream) -> None:
        request = await read_request(stream)
        self.requests.append(request)
        await stream.send_all(self.answers[request.split(b" ")[1].decode()])


def answer(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


async def ask(site: Site, path: str = "/", **more: object) -> tuple[str, str, str]:
    async with serving(site.handle) as address:
        url = f"http://{address}{path}"
        result = await http.run(spec(http=url, **more), SETTINGS, 10.0)
    return result.status, result.output, url


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", "passing"),
        ("204 No Content", "passing"),
        ("299 Odd", "passing"),
        ("429 Too Many Requests", "warning"),
        ("404 Not Found", "critical"),
        ("503 Service Unavailable", "critical"),
        ("304 Not Modified", "critical"),
    ],
)
async def test_the_status_code_decides(status: str, expected: str) -> None:
    body = b"" if status[:3] in ("204", "304") else b"hello"
    raw = answer(status, body) if body else f"HTTP/1.1 {status}\r\n\r\n".encode()
    found, output, url = await ask(Site({"/": raw}))
    assert (found, output) == (expected, f"HTTP GET {url}: {status} Output: {body.decode()}")


async def test_what_is_sent() -> None:
    site = Site({"/x": answer("200 OK")})
    header = {"Host": ["service.example"], "X-Two": ["a", "b"], "accept": ["application/json"]}
    await ask(site, "/x", method="POST", header=header, body="ping")
    head, _, _ = site.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /x HTTP/1.1"
    assert "Host: service.example" in lines
    assert [line for line in lines if line.startswith("X-Two")] == ["X-Two: a", "X-Two: b"]
    assert [line.lower() for line in lines if line.lower().startswith("accept:")] == ["accept: application/json"]
    assert "User-Agent: Consul Health Check" in lines
    assert "Content-Length: 4" in lines
    plain = Site({"/": answer("200 OK")})
    await ask(plain)
    assert b"Accept: text/plain, text/*, */*\r\n" in plain.requests[0]


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert (await ask(Site({"/": answer("200 OK")})))[0] == "passing"


async def test_only_the_end_of_a_long_body_is_kept() -> None:
    _, output, _ = await ask(Site({"/": answer("200 OK", b"a" * 10_000 + b"end")}))
    assert output.endswith("Output: " + "a" * 4093 + "end")
    _, output, _ = await ask(Site({"/": answer("200 OK", b"0123456789")}), output_bytes_max=4)
    assert output.endswith("Output: 6789")


async def test_an_endless_body_is_cut_off() -> None:
    sent = 0

    async def flood(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 65536)
            sent += 65536

    with trio.fail_after(30):
        async with serving(flood) as address:
            result = await http.run(spec(http=f"http://{address}/"), SETTINGS, 20.0)
    assert result.status == "passing"
    assert len(result.output) < 5000
    assert sent < 64 * 1024 * 1024


async def test_a_body_that_drips_ends_with_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async def drip(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await stream.send_all(b".")
            await trio.sleep(1)

    async with serving(drip) as address:
        result = await http.run(spec(http=f"http://{address}/"), SETTINGS, 5.5)
    assert result.status == "passing"
    assert set(result.output.partition("Output: ")[2]) == {"."}


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 OK\r\nX: "])
async def test_silence_is_critical(autojump_clock: trio.testing.MockClock, greeting: bytes) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(greeting or b"")
        await trio.sleep_forever()

    async with serving(silent) as address:
        result = await http.run(spec(http=f"http://{address}/"), SETTINGS, 5.0)
    assert (result.status, result.output) == ("critical", f'Get "http://{address}/": context deadline exceeded')


@pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000])
async def test_what_is_no_http_is_critical(raw: bytes) -> None:
    status, output, url = await ask(Site({"/": raw}))
    assert status == "critical"
    assert output.startswith(f'Get "{url}": ')
    assert len(output) < 500


async def test_nobody_there_is_critical() -> None:
    result = await http.run(spec(http="http://127.0.0.1:1/"), SETTINGS, 5.0)
    assert (result.status, result.output) == ("critical", 'Get "http://127.0.0.1:1/": Connection refused')
    result = await http.run(spec(http="http://[::bad"), SETTINGS, 5.0)
    assert result.status == "critical"


async def test_a_redirect_on_the_same_host_and_port_is_followed() -> None:
    site = Site({"/": answer("302 Found", headers="Location: /b\r\n"), "/b": answer("200 OK", b"there")})
    status, output, url = await ask(site, method="PUT", body="x")
    assert (status, output) == ("passing", f"HTTP PUT {url}: 200 OK Output: there")
    assert site.requests[1].startswith(b"GET /b ")
    kept = Site({"/": answer("307 Moved", headers="Location: /b\r\n"), "/b": answer("200 OK")})
    await ask(kept, method="PUT", body="x")
    assert kept.requests[1].startswith(b"PUT /b ")


async def test_a_redirect_is_not_followed_where_that_is_asked() -> None:
    site = Site({"/": answer("302 Found", b"go", headers="Location: /b\r\n"), "/b": answer("200 OK")})
    status, output, url = await ask(site, disable_redirects=True)
    assert (status, output) == ("critical", f"HTTP GET {url}: 302 Found Output: go")
    assert len(site.requests) == 1


async def test_redirects_in_a_circle_end() -> None:
    site = Site({"/": answer("302 Found", headers="Location: /\r\n")})
    status, output, _ = await ask(site)
    assert status == "critical"
    assert "stopped after 5 redirects" in output
    assert len(site.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "//169.254.169.254/",
        "http://127.0.0.1:8500/v1/agent/self",
        "http://elsewhere.example/",
        "ftp://127.0.0.1/",
    ],
)
async def test_redirects_to_metadata_addresses_and_elsewhere_are_not_followed(location: str) -> None:
    site = Site({"/": answer("302 Found", b"body", headers=f"Location: {location}\r\n")})
    status, output, _ = await ask(site)
    assert status == "critical"
    assert "302 Found (redirect to" in output
    assert output.endswith("is not followed) Output: body")


def test_where_a_redirect_may_lead() -> None:
    def may(url: str, target: str) -> bool:
        return may_follow(URL(url), URL(target))

    assert may("http://a/x", "http://A/y")
    assert may("http://a/x", "https://a/x")
    assert may("https://a:8443/x", "https://a:8443/")
    assert not may("http://a/x", "https://a:8443/x")
    assert not may("https://a/x", "http://a/x")
    assert not may("http://a:1/x", "http://a:2/x")
    assert not may("http://169.254.169.254/a", "http://169.254.169.254/b")
    assert is_link_local("::ffff:169.254.169.254")
    assert is_link_local("fe80::1%eth0")
    assert not is_link_local("10.0.0.1")
    assert not is_link_local("a.example")


async def test_https(tmp_path: Path, server_tls: ssl.SSLContext) -> None:
    site = Site({"/": answer("200 OK")})
    server_tls.set_alpn_protocols(["http/1.1"])
    async with serving(over_tls(site.handle, server_tls)) as address:
        url = f"https://{address}/"
        trusting = replace(SETTINGS, tls_ca_file=str(tmp_path / "consul-agent-ca.pem"))
        named = spec(http=url, tls_server_name="server.dc1.consul")
        assert (await http.run(named, trusting, 10.0)).status == "passing"
        misnamed = await http.run(spec(http=url, tls_server_name="other.example"), trusting, 10.0)
        assert misnamed.status == "critical"
        assert "failed to verify certificate: Hostname mismatch" in misnamed.output
        assert (await http.run(named, SETTINGS, 10.0)).status == "critical"
        assert (await http.run(spec(http=url, tls_skip_verify=True), SETTINGS, 10.0)).status == "passing"


async def test_tiny_chunks_are_given_up() -> None:
    """Each costs more to read than to send; nobody else would get a turn."""
    sent_count = 0

    async def chunks() -> AsyncGenerator[bytes, None]:
        nonlocal sent_count
        while True:
            sent_count += 1
            yield b"x"

    kept = bytearray()
    with trio.fail_after(60.0):
        assert not await read_body(httpx.Response(200, stream=Pieces(chunks())), kept.extend, 1024 * 1024)
    assert len(kept) == PIECES_MAX
    assert sent_count == PIECES_MAX


async def test_interim_answers_without_end_are_given_up() -> None:
    async def handle(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        while True:
            await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    async with serving(handle) as address:
        result = await http.run(spec(http=f"http://{address}/"), SETTINGS, 60.0)
    assert result.status == "critical"
    assert "the other side sent more than 65536 bytes without an answer" in result.output


async def test_a_peer_that_floods_does_not_keep_others_from_their_turn() -> None:
    """What is read at a time is small, so others have had many turns by the time that the flood is given up."""
    turns_count = 0

    async def handle(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        while True:
            await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)

    async def others() -> None:
        nonlocal turns_count
        while True:
            await trio.lowlevel.checkpoint()
            turns_count += 1

    async with serving(handle) as address, trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await http.run(spec(http=f"http://{address}/"), SETTINGS, 60.0)
        nursery.cancel_scope.cancel()
    assert turns_count > 65_536 // 2048
