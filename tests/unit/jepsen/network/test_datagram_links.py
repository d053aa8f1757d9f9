"""Datagrams through links: two nodes that live in this process, each with one UDP socket."""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from jepsen.network.links import LinkNetwork
from jepsen.network.network import Direction, count

THERE: list[Direction] = [("a", "b")]
BACK: list[Direction] = [("b", "a")]
SOON_S = 0.2
PATIENCE_S = 5.0


class Node:
    """One node's socket, and where the others find it."""

    def __init__(self, network: LinkNetwork, name: str, port: int) -> None:
        addresses = network.addresses(name)
        self.socket = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bound = (addresses.bind, port)
        self.told = (addresses.advertise, port)

    async def hears(self) -> tuple[bytes, tuple[str, int]] | None:
        """What comes within a while, None for nothing."""
        with trio.move_on_after(SOON_S):
            data, source = await self.socket.recvfrom(1000)
            return data, source
        return None


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[LinkNetwork, Node, Node]]:
    network = LinkNetwork(random.Random(0))
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        nodes = []
        for name in ("a", "b"):
            with socket.socket() as probe:
                probe.bind((network.addresses(name).advertise, 0))
                port = probe.getsockname()[1]
            node = Node(network, name, port)
            await node.socket.bind(node.bound)
            await network.open_port(name, port)
            nodes.append(node)
        yield network, nodes[0], nodes[1]
        for node in nodes:
            node.socket.close()
        await network.close()
        nursery.cancel_scope.cancel()


async def test_a_datagram_arrives_from_where_its_sender_says_it_is_and_the_answer_finds_back() -> None:
    async with two_nodes() as (_, a, b):
        await a.socket.sendto(b"ping", b.told)
        assert await b.hears() == (b"ping", a.told)
        await b.socket.sendto(b"ack", a.told)
        assert await a.hears() == (b"ack", b.told)


async def test_what_meets_a_cut_is_gone_and_one_direction_can_be_cut_alone() -> None:
    async with two_nodes() as (network, a, b):
        await network.cut(THERE)
        await a.socket.sendto(b"lost", b.told)
        await b.socket.sendto(b"heard", a.told)
        assert await a.hears() == (b"heard", b.told)
        assert await b.hears() is None
        assert count(await network.effects(), ["dropped"], THERE) == 1
        assert count(await network.effects(), ["dropped"], BACK) == 0
        await network.heal()
        await a.socket.sendto(b"again", b.told)
        assert await b.hears() == (b"again", a.told)


async def test_loss_takes_about_its_share() -> None:
    async with two_nodes() as (network, a, b):
        await network.lose(THERE, share=0.5)
        for number in range(200):
            await a.socket.sendto(b"%d" % number, b.told)
        arrived = 0
        while await b.hears() is not None:
            arrived += 1
        assert 40 < arrived < 160
        assert count(await network.effects(), ["lost"], THERE) == 200 - arrived


async def test_a_delay_holds_datagrams_back_and_counts_those_that_came_late() -> None:
    async with two_nodes() as (network, a, b):
        await network.delay(THERE, mean_s=0.1, jitter_s=0.05)
        began_s = trio.current_time()
        await a.socket.sendto(b"late", b.told)
        with trio.fail_after(PATIENCE_S):
            assert (await b.socket.recvfrom(10))[0] == b"late"
        assert trio.current_time() - began_s >= 0.05
        assert count(await network.effects(), ["delayed"], THERE) == 1


async def test_who_is_no_node_is_not_carried() -> None:
    async with two_nodes() as (_, __, b):
        stranger = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await stranger.sendto(b"hello", b.told)
        assert await b.hears() is None
        stranger.close()
