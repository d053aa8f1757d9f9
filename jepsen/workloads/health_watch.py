"""Blocking queries on the health of services that change: as `watch`, on another view.

There are a few services of one instance each, one that changes all the time, others now and then; each has one writer.

| function | input                     | output                                      |                              |
| -------- | ------------------------- | ------------------------------------------- | ---------------------------- |
| `write`  | value, null               | {"modify_index": m}                         | null deregisters: m is null  |
| `wait`   | {"index": i, "wait_s": w} | {"value": v, "modify_index": m, "index": x} | has a `mode`                 |

A value is the service's version. Its modify index is read after the write, by its one writer, within the same
operation; m is null where that read did not show it. All else is as in `watch.py`: a service that is not there has the
index at which the last one went, so such an answer may come early, and tells nothing but that it is not there.
"""

import itertools
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from jepsen import catalog_calls
from jepsen.checkers.verdict import Checker
from jepsen.checkers.watch import check_health
from jepsen.client import HTTP, TIMEOUT_S, Answer, CallFailed, Client
from jepsen.history import Operation, Outcome
from jepsen.session_calls import register_node
from jepsen.workloads.workload import Worker, Workload

WRITERS_COUNT = 2
SELDOM = tuple(f"seldom-{number}" for number in range(1, 5))
SHARES = {"often": 0.6, "steadily": 0.2, **dict.fromkeys(SELDOM, 0.2 / len(SELDOM))}
"""Service -> its share of the writes."""
DELETE_SHARE = 0.1
WATCHERS = (
    ("seldom-1", "default"),
    ("seldom-2", "consistent"),
    ("often", "default"),
    ("seldom-3", "stale"),
    ("seldom-4", "default"),
    ("steadily", "default"),
)
"""Service and mode of each watcher."""
WAIT_S = (2.0, 5.0)
"""As in `watch`."""


class HealthWatch(Workload):
    """See the module."""

    name: ClassVar[str] = "health-watch"
    description: ClassVar[str] = "blocking queries on health: no change missed, no index back, nobody woken late"
    workers_count: ClassVar[int] = WRITERS_COUNT + len(WATCHERS)
    rate_hz: ClassVar[float] = 6.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._node = self.prefix.strip("/").replace("/", "-")
        self._values = itertools.count(1)
        self._indexes: dict[int, int] = {}
        """Process -> the index it asks with next."""

    async def prepare(self, client: Client) -> None:
        """Register the node of the services."""
        await super().prepare(client)
        await register_node(client.http, self._node, {})

    async def step(self, worker: Worker) -> None:
        """Write something, or wait once."""
        if worker.position < WRITERS_COUNT:
            await self._write(worker)
        else:
            await self._wait(worker)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read every service from every node."""
        for client in clients:
            for name in SHARES:
                await _wait(client, self._service(name), index=0, wait_s=0.0, mode="default")

    @staticmethod
    def checkers() -> list[Checker]:
        """Nothing missed, nothing back, nothing late."""
        return [check_health]

    async def _write(self, worker: Worker) -> None:
        own = list(SHARES)[worker.position :: WRITERS_COUNT]
        service = self._service(worker.rng.choices(own, [SHARES[name] for name in own])[0])
        value = None if worker.rng.random() < DELETE_SHARE else next(self._values)

        async def action(http: HTTP) -> Answer:
            if value is None:
                await catalog_calls.deregister_in_catalog(http, self._node, service)
                return Answer(output={"modify_index": None})
            await catalog_calls.register_in_catalog(http, self._node, service, service, value)
            modify_index = None
            with suppress(CallFailed):
                found, _ = await catalog_calls.health_of_service(http, service, mode="default")
                modify_index = next((each["modify_index"] for each in found if each["version"] == value), None)
            return Answer(output={"modify_index": modify_index})

        await worker.client.call("write", action, key=service, value=value)

    async def _wait(self, worker: Worker) -> None:
        name, mode = WATCHERS[(worker.position - WRITERS_COUNT) % len(WATCHERS)]
        process = worker.client.process
        asked = self._indexes.get(process, 0)
        wait_s = round(worker.rng.uniform(*WAIT_S), 1)
        operation = await _wait(worker.client, self._service(name), index=asked, wait_s=wait_s, mode=mode)
        if operation.outcome is Outcome.OK:
            self._indexes[process] = operation.index if operation.index >= asked else 0

    def _service(self, name: str) -> str:
        return f"{self._node}-{name}"


async def _wait(client: Client, service: str, *, index: int, wait_s: float, mode: str) -> Operation:
    async def action(http: HTTP) -> Answer:
        timeout_s = wait_s * 17 / 16 + TIMEOUT_S
        found, reached = await catalog_calls.health_of_service(
            http, service, mode=mode, index=index, wait_s=wait_s, timeout_s=timeout_s
        )
        return Answer(output={**_shown(found), "index": reached}, index=reached)

    return await client.call("wait", action, key=service, value={"index": index, "wait_s": wait_s}, mode=mode)


def _shown(instances: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not instances:
        return {"value": None, "modify_index": 0}
    return {"value": instances[0]["version"], "modify_index": instances[0]["modify_index"]}
