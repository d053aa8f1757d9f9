"""One gossip member on the loopback: real sockets, files and machine, with nothing of an agent around it."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import trio

from base.datagrams import SocketDatagrams, bind_both
from base.disk import RealDisk
from base.network import RealNetwork, SocketListener, join_address
from gossip.config import Settings, Timing
from gossip.driver import Deliver, GossipDriver
from gossip.files import GossipFiles
from gossip.instructions import Address, Instruction
from gossip.keyring import Keyring
from gossip.machine import GossipMachine

HOST = "127.0.0.1"
TIMEOUT_S = 20.0
"""Far beyond what anything here takes; tests fail by it instead of hanging."""
QUICK = Timing(
    probe_interval_s=0.1, probe_timeout_s=0.05, gossip_interval_s=0.02, suspicion_multiplier=2, tcp_timeout_s=2.0,
    broadcast_timeout_s=1.0, leave_propagate_s=0.05,
)  # fmt: skip


class LoneMember:
    """Sockets and settings of one member; `make_driver` is what a `GossipPool` calls, `run` drives it without one."""

    def __init__(
        self,
        name: str,
        *,
        folder: Path | None = None,
        keys: list[bytes] | None = None,
        timing: Timing = QUICK,
        machine_options: dict[str, Any] | None = None,
        **driver_options: Any,
    ) -> None:
        self.name = name
        udp, tcp = bind_both(HOST, 0)
        tcp.listen(128)
        self.udp, self.tcp = udp, tcp
        self.address = Address(HOST, udp.getsockname()[1])
        self.settings = Settings(
            name=name, host=HOST, port=self.address.port, tags={"role": "node"}, timing=timing, encrypted=bool(keys)
        )
        self.keys = keys or []
        self.files = GossipFiles(
            RealDisk,
            snapshot=folder / "serf" / "local.snapshot" if folder is not None else None,
            keyring=folder / "serf" / "local.keyring" if folder is not None else None,
        )
        self.delivered: list[Instruction] = []
        self.network: Any = driver_options.pop("network", None) or RealNetwork()
        self._machine_options = machine_options or {}
        self._driver_options = driver_options
        self._driver: GossipDriver | None = None

    def make_driver(self, deliver: Deliver) -> GossipDriver:
        """Return a driver on the sockets; once."""
        machine = GossipMachine(self.settings, rng=random.Random(self.name), keys=self.keys, **self._machine_options)
        self._driver = GossipDriver(
            pool="test",
            machine=machine,
            datagrams=SocketDatagrams(self.udp),
            listener=SocketListener(self.tcp, join_address(*self.address)),
            network=self.network,
            files=self.files,
            keyring=Keyring(self.keys) if self.keys else None,
            tcp_timeout_s=self.settings.timing.tcp_timeout_s,
            deliver=deliver,
            **self._driver_options,
        )
        return self._driver

    @property
    def driver(self) -> GossipDriver:
        assert self._driver is not None, "it does not run"
        return self._driver

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in this loop until cancelled; what is for the application is kept in `delivered`."""
        await self.make_driver(self.delivered.append).run(task_status=task_status)

    def statuses(self) -> dict[str, str]:
        """Everybody it knows."""
        return {member.name: member.status.name.lower() for member in self.driver.machine.members()}


async def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Poll until the condition holds; AssertionError after TIMEOUT_S."""
    with trio.move_on_after(TIMEOUT_S):
        while not condition():
            await trio.sleep(0.005)
        return
    raise AssertionError(f"{what} did not come about")


class Runs(Protocol):
    """What has a task."""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """See GossipPool."""


@asynccontextmanager
async def running(*pools: Runs) -> AsyncIterator[None]:
    """All of them, for the time of the block."""
    with trio.fail_after(TIMEOUT_S * 2):
        async with trio.open_nursery() as nursery:
            for pool in pools:
                await nursery.start(pool.run)
            yield
            nursery.cancel_scope.cancel()
