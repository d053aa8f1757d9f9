"""UDP sockets as gossip uses them."""

import errno
import os
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from base.datagrams import BATCH_COUNT_MAX, TRIES_MAX, SocketDatagrams, bind_both
from base.errors import Unreachable

HOST = "127.0.0.1"


def udp(host: str = HOST) -> SocketDatagrams:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.bind((host, 0))
    return SocketDatagrams(bound)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[SocketDatagrams, SocketDatagrams]]:
    made = udp(), udp()
    yield made
    for each in made:
        each.close()


Pair = tuple[SocketDatagrams, SocketDatagrams]


async def test_what_is_sent_arrives_with_its_sender(pair: Pair) -> None:
    near, far = pair
    for data in (b"x", b"", bytes(65_507)):
        assert near.send(data, *far.address)
        assert await far.receive() == [(data, near.address)]


async def test_a_flood_is_taken_in_batches_so_that_others_get_their_turn(pair: Pair) -> None:
    near, far = pair
    for number in range(BATCH_COUNT_MAX * 2 + 1):
        assert near.send(str(number).encode(), *far.address)
    taken: list[bytes] = []
    sizes = []
    while len(taken) < BATCH_COUNT_MAX * 2 + 1:
        batch = await far.receive()
        sizes.append(len(batch))
        taken += [data for data, _ in batch]
    assert max(sizes) <= BATCH_COUNT_MAX
    assert taken == [str(number).encode() for number in range(BATCH_COUNT_MAX * 2 + 1)]


async def test_what_the_kernel_does_not_take_is_dropped_without_a_word(pair: Pair) -> None:
    near, far = pair
    assert not near.send(bytes(70_000), *far.address), "larger than any datagram"
    assert not near.send(b"x", "256.0.0.1", 1)
    assert not near.send(b"x", "::1", far.address[1]), "another family"
    assert near.send(b"x", *far.address)
    assert await far.receive() == [(b"x", near.address)]


async def test_nobody_there_does_not_stop_what_comes_in(pair: Pair) -> None:
    near, far = pair
    closed = udp()
    closed.close()
    for _ in range(3):
        near.send(b"into nothing", *closed.address)  # an error comes back, and is read as one
    assert far.send(b"x", *near.address)
    assert await near.receive() == [(b"x", far.address)]


async def test_whoever_waits_when_it_is_closed_is_told_so() -> None:
    closing = udp()

    async def wait() -> None:
        with pytest.raises(Unreachable, match="the UDP socket is closed"):
            await closing.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        closing.close()
        closing.close()
    with pytest.raises(Unreachable):
        await closing.receive()
    assert not closing.send(b"x", HOST, 1)


async def test_ipv6_is_spoken_as_well() -> None:
    try:
        near, far = udp("::1"), udp("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert near.send(b"x", *far.address)
    assert await far.receive() == [(b"x", near.address)]
    near.close()
    far.close()


# Binding both protocols


def test_both_protocols_get_one_port() -> None:
    datagram, stream = bind_both(HOST, 0)
    assert datagram.getsockname() == stream.getsockname()
    stream.listen()
    for each in (datagram, stream):
        each.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((HOST, 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="in use"):
            bind_both(HOST, taken.getsockname()[1])
        assert len(os.listdir("/proc/self/fd")) == before


def test_where_any_port_will_do_another_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that the one protocol got may be taken in the other."""
    refused: list[int] = []

    class Unlucky(socket.socket):
        def bind(self, address: object) -> None:
            assert isinstance(address, tuple)
            if self.type == socket.SOCK_DGRAM and len(refused) < 3:
                refused.append(address[1])
                raise OSError(errno.EADDRINUSE, "in use")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Unlucky)
    datagram, stream = bind_both(HOST, 0)
    assert len(refused) == 3
    datagram.close()
    stream.close()


def test_it_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    class Hopeless(socket.socket):
        def bind(self, address: object) -> None:
            if self.type == socket.SOCK_DGRAM:
                tries.append(1)
                raise OSError(errno.EADDRINUSE, "in use")
            super().bind(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Hopeless)
    with pytest.raises(OSError, match="in use"):
        bind_both(HOST, 0)
    assert len(tries) == TRIES_MAX


def test_an_address_that_is_not_ours_is_not_tried_again() -> None:
    with pytest.raises(OSError, match="assign"):
        bind_both("192.0.2.1", 0)
