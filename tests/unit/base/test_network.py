"""The real network on the loopback: streams, listeners, dialling."""

import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from base.errors import Unreachable
from base.network import RealNetwork, SocketListener, SocketStream, join_address, split_address

TIMEOUT_S = 5.0


async def _pair(network: RealNetwork) -> tuple[SocketListener, SocketStream, SocketStream]:
    listener = await network.listen("127.0.0.1", 0)
    dialled = await network.dial("127.0.0.1", listener.port, TIMEOUT_S)
    return listener, dialled, await listener.accept()


async def test_bytes_arrive_in_both_directions_and_end_is_empty() -> None:
    listener, near, far = await _pair(RealNetwork())
    await near.send_all(b"hello")
    assert await far.receive_some(100) == b"hello"
    await far.send_all(bytearray(b"back"))
    assert await near.receive_some(2) == b"ba"
    assert await near.receive_some(2) == b"ck"
    await near.aclose()
    assert await far.receive_some(100) == b""
    far.close_now()
    listener.close()


async def test_more_than_the_kernel_takes_is_sent_completely() -> None:
    listener, near, far = await _pair(RealNetwork())
    payload = bytes(range(256)) * 65536
    received = bytearray()

    async def receive() -> None:
        while len(received) < len(payload):
            received.extend(await far.receive_some(65536))

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await near.send_all(payload)
    assert received == payload
    for closing in (near, far, listener):
        closing.close_now() if isinstance(closing, SocketStream) else closing.close()


async def test_send_nowait_takes_nothing_when_the_peer_does_not_read() -> None:
    listener, near, far = await _pair(RealNetwork())
    chunk = bytes(1 << 20)
    while near.send_nowait(chunk):
        pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_until_closed, near, chunk)
        await trio.testing.wait_all_tasks_blocked()
        assert near.send_nowait(b"x") == 0
        with pytest.raises(trio.BusyResourceError):
            await near.send_all(b"x")
        near.close_now()
    far.close_now()
    listener.close()


async def _send_until_closed(stream: SocketStream, data: bytes) -> None:
    with pytest.raises(Unreachable, match="closed"):
        await stream.send_all(data)


async def test_closing_wakes_the_receiver_with_an_error() -> None:
    listener, near, far = await _pair(RealNetwork())

    async def receive() -> None:
        with pytest.raises(Unreachable, match="closed"):
            await near.receive_some(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        near.close_now()
        near.close_now()
    with pytest.raises(Unreachable):
        near.send_nowait(b"x")
    with pytest.raises(Unreachable):
        await near.send_all(b"x")
    with pytest.raises(Unreachable):
        await near.receive_some(1)
    far.close_now()
    listener.close()


async def test_a_reset_is_unreachable() -> None:
    listener, near, far = await _pair(RealNetwork())
    raw = far.detach()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    raw.close()
    with pytest.raises(Unreachable, match="broke"):
        await near.receive_some(1)
    near.close_now()
    listener.close()


async def test_dialling_nobody_is_unreachable_and_names_the_address() -> None:
    network = RealNetwork()
    listener = await network.listen("127.0.0.1", 0)
    port = listener.port
    listener.close()
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}") as caught:
        await network.dial("127.0.0.1", port, TIMEOUT_S)
    assert caught.value.definite
    with pytest.raises(Unreachable):
        await listener.accept()


async def test_closing_a_listener_wakes_who_accepts() -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)

    async def accept() -> None:
        with pytest.raises(Unreachable, match="closed"):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        listener.close()


async def test_a_name_is_resolved() -> None:
    network = RealNetwork()
    listener = await network.listen("localhost", 0)
    stream = await network.dial("localhost", listener.port, TIMEOUT_S)
    stream.close_now()
    listener.close()


async def test_a_unix_socket_replaces_one_left_behind_but_no_other_file(tmp_path: Path) -> None:
    network = RealNetwork()
    path = tmp_path / "http.sock"
    left_behind = await network.listen_unix(str(path))
    left_behind.close()
    listener = await network.listen_unix(str(path), mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        accepted = await listener.accept()
        assert accepted.peer_address == "unix"
        client.sendall(b"x")
        assert await accepted.receive_some(10) == b"x"
        accepted.close_now()
    listener.close()
    other = tmp_path / "file"
    other.write_text("precious")
    with pytest.raises(FileExistsError):
        await network.listen_unix(str(other))
    assert other.read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("a:1", "a", 1), ("[::1]:8300", "::1", 8300), ("h", "h", 7), ("[::1]", "::1", 7), ("::1", "::1", 7)],
)
def test_addresses_are_split(text: str, host: str, port: int) -> None:
    assert split_address(text, port_default=7) == (host, port)
    assert split_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:b", "a:70000", "a", "a:-1", "a:²"])
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        split_address(text)
