"""Check kinds tcp, udp, h2ping and grpc, against small real servers."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from agent.checks import dial, grpc, h2ping, tcp, udp
from structs.catalog import CheckStatus
from tests.unit.agent.checks.servers import SETTINGS, over_tls, serving, spec


async def hold(stream: trio.abc.Stream) -> None:
    """Read until the other side leaves, and say nothing."""
    while await stream.receive_some():
        pass


class HTTP2Server:
    """Answers pings (by the library) and gRPC calls as it is told."""

    def __init__(
        self, data: bytes = b"", *, trailers: list[tuple[str, str]] | None = None, status: str = "200"
    ) -> None:
        self.data = data
        self.trailers = trailers
        self.status = status
        self.requests: list[tuple[dict[str, str], bytes]] = []

    async def handle(self, stream: trio.abc.Stream) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        headers: dict[str, str] = {}
        await stream.send_all(connection.data_to_send())
        while data := await stream.receive_some():
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers or []}
                elif isinstance(event, h2.events.DataReceived):
                    self.requests.append((headers, event.data or b""))
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(connection, event.stream_id or 0)
            await stream.send_all(connection.data_to_send())

    def _answer(self, connection: h2.connection.H2Connection, stream_id: int) -> None:
        connection.send_headers(stream_id, [(":status", self.status), ("content-type", "application/grpc")])
        if self.data:
            connection.send_data(stream_id, self.data)
        if self.trailers is None:
            connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
        elif self.trailers:
            connection.send_headers(stream_id, self.trailers, end_stream=True)
        else:
            connection.end_stream(stream_id)


def message(payload: bytes) -> bytes:
    return b"\0" + len(payload).to_bytes(4, "big") + payload


# tcp


async def test_tcp() -> None:
    async with serving(hold) as address:
        result = await tcp.run(spec(tcp=address), SETTINGS, 10.0)
    assert (result.status, result.output) == ("passing", f"TCP connect {address}: Success")


async def test_tcp_with_nobody_there() -> None:
    result = await tcp.run(spec(tcp="127.0.0.1:1"), SETTINGS, 10.0)
    assert result.status == "critical"
    assert result.output == "dial tcp 127.0.0.1:1: Connection refused"
    assert (await tcp.run(spec(tcp="nonsense"), SETTINGS, 10.0)).status == "critical"


async def test_tcp_over_tls(server_tls: ssl.SSLContext) -> None:
    async with serving(over_tls(hold, server_tls)) as address:
        strict = await tcp.run(spec(tcp=address, tcp_use_tls=True), SETTINGS, 10.0)
        lax = await tcp.run(spec(tcp=address, tcp_use_tls=True, tls_skip_verify=True), SETTINGS, 10.0)
    assert strict.status == "critical"
    assert strict.output.startswith("tls: failed to verify certificate: ")
    assert lax.status == "passing"


async def test_the_agents_authority_and_the_server_name_count(tmp_path: Path, server_tls: ssl.SSLContext) -> None:
    from msgspec.structs import replace

    settings = replace(SETTINGS, tls_ca_file=str(tmp_path / "consul-agent-ca.pem"))
    async with serving(over_tls(hold, server_tls)) as address:
        right = spec(tcp=address, tcp_use_tls=True, tls_server_name="server.dc1.consul")
        wrong = spec(tcp=address, tcp_use_tls=True, tls_server_name="another.example")
        assert (await tcp.run(right, settings, 10.0)).status == "passing"
        assert (await tcp.run(wrong, settings, 10.0)).status == "critical"
        missing = replace(SETTINGS, tls_ca_file=str(tmp_path / "none.pem"))
        assert "certificates cannot be used" in (await tcp.run(right, missing, 10.0)).output
    dial.forget_certificates()


async def test_tcp_to_one_that_is_silent_in_the_handshake(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(hold) as address:
        result = await tcp.run(spec(tcp=address, tcp_use_tls=True), SETTINGS, 5.0)
    assert (result.status, result.output) == ("critical", f"dial tcp {address}: i/o timeout")


# udp


async def test_udp_that_answers_or_is_silent_is_passing(autojump_clock: trio.testing.MockClock) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        result = await udp.run(spec(udp=address), SETTINGS, 5.0)
    assert (result.status, result.output) == ("passing", f"UDP connect {address}: Success")


async def test_udp_that_refuses_is_critical() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
    result = await udp.run(spec(udp=address), SETTINGS, 30.0)
    assert (result.status, result.output) == ("critical", f"dial udp {address}: Connection refused")
    assert (await udp.run(spec(udp="nonsense"), SETTINGS, 5.0)).status == "critical"


# h2ping


async def test_h2ping_in_clear_and_over_tls(server_tls: ssl.SSLContext) -> None:
    async with serving(HTTP2Server().handle) as address:
        result = await h2ping.run(spec(h2ping=address, h2ping_use_tls=False), SETTINGS, 10.0)
    assert (result.status, result.output) == ("passing", "HTTP2 ping was successful")
    async with serving(over_tls(HTTP2Server().handle, server_tls)) as address:
        assert (await h2ping.run(spec(h2ping=address, tls_skip_verify=True), SETTINGS, 10.0)).status == "passing"
        strict = await h2ping.run(spec(h2ping=address), SETTINGS, 10.0)
    assert strict.output.startswith(f"Failed to dial to {address}: tls: ")


async def answers_http1(stream: trio.abc.Stream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def leaves(stream: trio.abc.Stream) -> None:
    await stream.receive_some()


async def floods(stream: trio.abc.Stream) -> None:
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    await stream.send_all(server.data_to_send())
    ping = b"\0\0\x08\x06\x00\0\0\0\0otherone"
    while True:
        await stream.send_all(ping * 1000)


@pytest.mark.parametrize("handler", [answers_http1, leaves, floods])
async def test_h2ping_of_what_is_no_http2(handler: Callable[[trio.abc.Stream], None]) -> None:
    async with serving(handler) as address:  # type: ignore[arg-type]
        result = await h2ping.run(spec(h2ping=address, h2ping_use_tls=False), SETTINGS, 30.0)
    assert result.status == "critical"
    assert result.output.startswith("HTTP2 ping failed: ")
    assert "deadline" not in result.output


async def test_h2ping_that_is_not_answered(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(hold) as address:
        result = await h2ping.run(spec(h2ping=address, h2ping_use_tls=False), SETTINGS, 5.0)
    assert (result.status, result.output) == ("critical", "HTTP2 ping failed: context deadline exceeded")


# grpc


async def test_grpc_that_serves() -> None:
    server = HTTP2Server(message(b"\x08\x01"))
    async with serving(server.handle) as address:
        result = await grpc.run(spec(grpc=f"{address}/my.Service"), SETTINGS, 10.0)
        await grpc.run(spec(grpc=address), SETTINGS, 10.0)
    assert (result.status, result.output) == ("passing", f"gRPC check {address}/my.Service: success")
    headers, body = server.requests[0]
    assert headers[":path"] == "/grpc.health.v1.Health/Check"
    assert headers[":authority"] == address
    assert headers["te"] == "trailers"
    assert body == message(b"\x0a\x0amy.Service")
    assert server.requests[1][1] == message(b"")


@pytest.mark.parametrize(
    ("server", "output"),
    [
        (HTTP2Server(message(b"\x08\x02")), grpc.UNHEALTHY_TEXT),
        (HTTP2Server(message(b"")), grpc.UNHEALTHY_TEXT),
        (
            HTTP2Server(trailers=[("grpc-status", "12"), ("grpc-message", "unknown service")]),
            "rpc error: code = Unimplemented desc = unknown service",
        ),
        (
            HTTP2Server(trailers=[], status="404"),
            "rpc error: code = Unavailable desc = no gRPC: HTTP status 404 without a gRPC status",
        ),
        (HTTP2Server(b"\x01"), "rpc error: code = Unavailable desc = no gRPC message in the answer"),
        (HTTP2Server(message(b"\x0a\xff")), "rpc error: code = Unavailable desc = cut off"),
    ],
)
async def test_grpc_that_does_not(server: HTTP2Server, output: str) -> None:
    async with serving(server.handle) as address:
        result = await grpc.run(spec(grpc=address), SETTINGS, 10.0)
    assert (result.status, result.output) == (CheckStatus.CRITICAL, output)


async def test_grpc_over_tls(server_tls: ssl.SSLContext) -> None:
    async with serving(over_tls(HTTP2Server(message(b"\x08\x01")).handle, server_tls)) as address:
        result = await grpc.run(spec(grpc=address, grpc_use_tls=True, tls_skip_verify=True), SETTINGS, 10.0)
        assert result.status == "passing"
        assert (await grpc.run(spec(grpc=address, grpc_use_tls=True), SETTINGS, 10.0)).status == "critical"


async def test_grpc_that_is_silent_or_away(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(hold) as address:
        result = await grpc.run(spec(grpc=address), SETTINGS, 5.0)
    assert result.output == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    result = await grpc.run(spec(grpc="127.0.0.1:1"), SETTINGS, 5.0)
    assert result.output == "rpc error: code = Unavailable desc = dial tcp 127.0.0.1:1: Connection refused"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_status_or_an_error(data: bytes) -> None:
    try:
        assert grpc.decode_status(data) >= 0
    except ValueError:
        return


def test_fields_that_nobody_knows_are_passed_over() -> None:
    assert grpc.decode_status(b"\x12\x03abc\x08\x01\x1d1234\x2112345678\x30\x05") == 1
    with pytest.raises(ValueError, match="cut off"):
        grpc.decode_status(b"\x08\x01\x12\x09a")


@given(st.text(max_size=300))
def test_names_are_encoded_as_protobuf_does(name: str) -> None:
    data = grpc.encode_request(name)
    if not name:
        assert data == b""
        return
    assert data[0] == 0x0A
    size, position = grpc._read_varint(data, 1)
    assert data[position:] == name.encode()
    assert size == len(name.encode())
