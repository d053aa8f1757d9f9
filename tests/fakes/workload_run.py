"""Drives one workload as a run does, without processes, faults or files: a history in, say, 10 virtual seconds."""

import random
from collections.abc import Callable
from contextlib import closing

import trio

from jepsen.client import HTTP, Client
from jepsen.history import Begin, End, History
from jepsen.workloads.workload import Worker, Workload
from tests.fakes.kv_api import FakeHTTP
from tests.fakes.services_api import keep_time
from tests.fakes.store import Defect, World

NODES = ("server-1", "server-2", "server-3")
DELAY_S_MAX = 0.01


class Driver:
    """Clients of one workload and the history they write."""

    def __init__(self, workload: Workload, http_of: Callable[[str], HTTP], *, seed: int) -> None:
        self.history = History(
            begin=Begin(seed=seed, command="", version="", started="", options={}, machine={}),
        )
        self.phase = "main"
        self._workload = workload
        self._http_of = http_of
        self._seed = seed
        self._began_s = trio.current_time()
        self._processes = 0

    def now_ns(self) -> int:
        return int((trio.current_time() - self._began_s) * 1e9)

    def client(self, node: str) -> Client:
        self._processes += 1
        client = Client(
            address="127.0.0.1:1",
            node=node,
            workload=self._workload.name,
            process=self._processes,
            record=self.history.add,
            now_ns=self.now_ns,
            phase=lambda: self.phase,
        )
        client.http = self._http_of(node)
        return client

    async def work(self, nodes: tuple[str, ...], *, duration_s: float, rate: float = 1.0) -> None:
        """All workers, for this long."""
        with closing(self.client(nodes[0])) as client:
            await self._workload.prepare(client)
        async with trio.open_nursery() as nursery:
            for position in range(self._workload.workers_count):
                node = nodes[position % len(nodes)]
                nursery.start_soon(self._step_by_step, position, node, duration_s, rate)

    async def finish(self, nodes: tuple[str, ...]) -> None:
        """Final reads, and the end."""
        self.phase = "final"
        clients = [self.client(node) for node in nodes]
        await self._workload.finish(clients)
        for client in clients:
            client.close()
        self.history.add(End(at_ns=self.now_ns(), facts={"healed": True}))

    async def _step_by_step(self, position: int, node: str, duration_s: float, rate: float) -> None:
        rng = random.Random(f"{self._seed} {position}")
        client = self.client(node)
        worker = Worker(process=client.process, position=position, rng=rng, client=client)
        while trio.current_time() - self._began_s < duration_s:
            await self._workload.step(worker)
            await trio.sleep(rng.uniform(0.5, 1.5) / (self._workload.rate_hz * rate))
        client.close()


async def run_in_memory(
    kind: type[Workload],
    *,
    seed: int,
    duration_s: float,
    trouble: float = 0.0,
    defect: Defect | None = None,
    defect_share: float = 0.05,
) -> History:
    """Run a workload against a store in memory."""
    async with trio.open_nursery() as nursery:
        world = World(
            random.Random(f"world {seed}"),
            nursery=nursery,
            delay_s_max=DELAY_S_MAX,
            trouble=trouble,
            defect=defect,
            defect_share=defect_share,
        )
        nursery.start_soon(keep_time, world)
        driver = Driver(kind(random.Random(seed)), lambda node: FakeHTTP(world, node), seed=seed)
        await driver.work(NODES, duration_s=duration_s)
        world.trouble = 0.0
        world.settle()
        await driver.finish(NODES)
        nursery.cancel_scope.cancel()
    return driver.history
