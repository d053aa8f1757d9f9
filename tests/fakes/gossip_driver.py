"""One member of a pool with real sockets on the loopback, in the test's own loop."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from base.datagrams import SocketDatagrams, bind_both
from base.disk import RealDisk
from base.network import RealNetwork, SocketListener, join_address
from gossip import instructions as ins
from gossip.config import Settings, Timing
from gossip.driver import GossipDriver
from gossip.files import GossipFiles
from gossip.keyring import Keyring
from gossip.machine import GossipMachine

HOST = "127.0.0.1"
QUIET = Timing(probe_interval_s=60.0, gossip_interval_s=60.0, push_pull_interval_s=600.0)
"""Does nothing by itself while a test lasts."""


class Member:
    """The driver, where it is, and what it handed to the application."""

    def __init__(self, driver: GossipDriver, port: int, delivered: list[ins.Instruction]) -> None:
        self.driver = driver
        self.port = port
        self.delivered = delivered

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.driver.machine.members()]


@asynccontextmanager
async def real_member(
    name: str = "a", *, key: bytes = b"", timing: Timing = QUIET, files: GossipFiles | None = None
) -> AsyncGenerator[Member, None]:
    """Run one member until the block is left."""
    udp, tcp = bind_both(HOST, 0)
    tcp.listen()
    port = tcp.getsockname()[1]
    keyring = Keyring([key]) if key else None
    settings = Settings(name=name, host=HOST, port=port, tags={"role": "node"}, timing=timing, encrypted=bool(key))
    delivered: list[ins.Instruction] = []
    driver = GossipDriver(
        pool="test",
        machine=GossipMachine(settings, rng=random.Random(1), keys=[key] if key else []),
        datagrams=SocketDatagrams(udp),
        listener=SocketListener(tcp, join_address(HOST, port)),
        network=RealNetwork(),
        files=files or GossipFiles(RealDisk, snapshot=None, keyring=None),
        keyring=keyring,
        tcp_timeout_s=timing.tcp_timeout_s,
        deliver=delivered.append,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        yield Member(driver, port, delivered)
        nursery.cancel_scope.cancel()
