"""Services that come, change and go, at agents and directly in the catalog: in the end it is what each agent claims.

Operations, all with the same `key`. A service's id is used by one client only, and no more after an unknown end; its
`version` is a number, written once in a run. `node` is the agent that is asked, or a node that no agent has.

| function             | input                     | output                                           |
| -------------------- | ------------------------- | ------------------------------------------------ |
| `register`           | {"node", "id", "version"} | at the agent, with a TTL check                   |
| `deregister`         | {"node", "id"}            | at the agent                                     |
| `set_status`         | {"node", "id", "status"}  | passing, warning, critical                       |
| `agent`              | {"node"}                  | {id: [version, status]}: what the agent claims   |
| `catalog_register`   | {"node", "id", "version"} |                                                  |
| `catalog_deregister` | {"node", "id"}            |                                                  |
| `node_services`      | {"node"}                  | {id: version}; has a `mode`                      |
| `health`             |                           | {"instances", "index"}; has a `mode`             |

A change of a service that the agent does not know is declined (failed without an error). `instances` are {"node/id":
[version, {check: status}]}. All services have one name. In the end everybody gets CONVERGE_S to agree; then all nodes
are asked for everything.
"""

import itertools
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, cast

import msgspec
import trio

from jepsen import catalog_calls
from jepsen.checkers.catalog import check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, STRANGE, Answer, CallFailed, CallUnclear, Client
from jepsen.history import Operation, Outcome
from jepsen.session_calls import register_node
from jepsen.workloads.keys import choose_mode
from jepsen.workloads.workload import Worker, Workload

AT_AGENTS = 6
"""So many clients work at agents, the others in the catalog."""
SERVICES_MAX = 4
"""Of one client at a time."""
STATUSES = tuple(catalog_calls.VERBS)
CONVERGE_S = 90.0
"""An agent compares everything about once a minute, and 15 s after what failed."""
CONVERGE_POLL_S = 1.0
NOT_FOUND = re.compile("404 Unknown (service|check) ID")


class _Services(msgspec.Struct, kw_only=True):
    """What one client has registered, and may still change."""

    ids: list[str] = []


class Catalog(Workload):
    """See the module."""

    name: ClassVar[str] = "catalog"
    description: ClassVar[str] = "services at agents and in the catalog: what each agent claims, nothing lost or back"
    workers_count: ClassVar[int] = AT_AGENTS + 3
    rate_hz: ClassVar[float] = 5.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._service = self._node = self.prefix.strip("/").replace("/", "-")
        self._versions = itertools.count(1)
        self._ids = itertools.count(1)
        self._mine: dict[int, _Services] = {}

    async def prepare(self, client: Client) -> None:
        """Register the node that no agent has."""
        await super().prepare(client)
        await register_node(client.http, self._node, {})

    async def step(self, worker: Worker) -> None:
        """Change a service, or look."""
        mine = self._mine.setdefault(worker.client.process, _Services())
        dice = worker.rng.random()
        if dice < 0.35:
            await self._look(worker)
        elif worker.position < AT_AGENTS:
            await self._change_at_agent(worker, mine)
        else:
            await self._change_in_catalog(worker, mine)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Wait until all agree, or time is over; then ask every node for everything."""
        with trio.move_on_after(CONVERGE_S):
            while not await self._is_agreed(clients):  # noqa: ASYNC110  other processes cannot set an event of ours
                await trio.sleep(CONVERGE_POLL_S)
        for client in clients:
            await self._agent(client)
            await self._health(client, "default")
            await self._node_services(client, self._node, "default")
            for other in clients:
                await self._node_services(client, other.node, "default")

    @staticmethod
    def checkers() -> list[Checker]:
        """What each agent claims, nothing lost, nothing back."""
        return [check]

    async def _is_agreed(self, clients: Sequence[Client]) -> bool:
        """Whether all nodes show what each agent claims, now."""
        with suppress(CallFailed, CallUnclear, *STRANGE):
            claims = {each.node: await catalog_calls.claims_of_agent(each.http, self._service) for each in clients}
            for client in clients:
                instances, _ = await catalog_calls.health_of_service(client.http, self._service, mode="default")
                shown: dict[str, dict[str, list[Any]]] = {node: {} for node in claims}
                for each in instances:
                    if each["node"] in shown:
                        status = each["checks"].get(catalog_calls.check_of(each["id"]), "")
                        shown[each["node"]][each["id"]] = [each["version"], status]
                if shown != claims:
                    return False
            return True
        return False

    async def _look(self, worker: Worker) -> None:
        mode = choose_mode(worker.rng)
        dice = worker.rng.random()
        if dice < 0.6:
            await self._health(worker.client, mode)
        elif dice < 0.85:
            await self._node_services(worker.client, self._node, mode)
        else:
            await self._agent(worker.client)

    async def _change_at_agent(self, worker: Worker, mine: _Services) -> None:
        client, rng, dice = worker.client, worker.rng, worker.rng.random()
        if not mine.ids or (dice < 0.3 and len(mine.ids) < SERVICES_MAX):
            await self._register(client, mine, f"service-{next(self._ids)}")
        elif dice < 0.5:
            await self._register(client, mine, rng.choice(mine.ids))
        elif dice < 0.75:
            service_id, status = rng.choice(mine.ids), rng.choice(STATUSES)

            async def update(http: HTTP) -> Answer:
                await catalog_calls.set_status(http, service_id, status)
                return Answer()

            await self._write(client, mine, "set_status", update, client.node, service_id, status=status)
        else:
            service_id = rng.choice(mine.ids)

            async def remove(http: HTTP) -> Answer:
                await catalog_calls.deregister_at_agent(http, service_id)
                return Answer()

            await self._write(client, mine, "deregister", remove, client.node, service_id)

    async def _register(self, client: Client, mine: _Services, service_id: str) -> None:
        version = next(self._versions)

        async def action(http: HTTP) -> Answer:
            await catalog_calls.register_at_agent(http, self._service, service_id, version)
            return Answer()

        await self._write(client, mine, "register", action, client.node, service_id, version=version)

    async def _change_in_catalog(self, worker: Worker, mine: _Services) -> None:
        client, rng = worker.client, worker.rng
        if mine.ids and rng.random() < 0.35:
            service_id = rng.choice(mine.ids)

            async def remove(http: HTTP) -> Answer:
                await catalog_calls.deregister_in_catalog(http, self._node, service_id)
                return Answer()

            await self._write(client, mine, "catalog_deregister", remove, self._node, service_id)
            return
        is_new = not mine.ids or (len(mine.ids) < SERVICES_MAX and rng.random() < 0.5)
        service_id = f"service-{next(self._ids)}" if is_new else rng.choice(mine.ids)
        version = next(self._versions)

        async def action(http: HTTP) -> Answer:
            await catalog_calls.register_in_catalog(http, self._node, self._service, service_id, version)
            return Answer()

        await self._write(client, mine, "catalog_register", action, self._node, service_id, version=version)

    async def _write(
        self, client: Client, mine: _Services, function: str, action: Any, node: str, service_id: str, **more: Any
    ) -> None:
        """Make a change. A service of which one does not know how it stands is left as it is, for ever."""
        asked = {"node": node, "id": service_id, **more}

        async def known(http: HTTP) -> Answer:
            try:
                return cast(Answer, await action(http))
            except CallFailed as error:
                if NOT_FOUND.match(str(error)):
                    return Answer(happened=False)
                raise

        done = await client.call(function, known, key=self.prefix, value=asked)
        is_known = service_id in mine.ids
        is_declined = done.outcome is Outcome.FAILED and not done.error
        is_removed = is_declined or (done.outcome is Outcome.OK and function.endswith("deregister"))
        if is_known and (is_removed or done.outcome is Outcome.UNKNOWN):
            mine.ids.remove(service_id)
        elif done.outcome is Outcome.OK and not is_known:
            mine.ids.append(service_id)

    async def _agent(self, client: Client) -> Operation:
        async def action(http: HTTP) -> Answer:
            return Answer(output=await catalog_calls.claims_of_agent(http, self._service))

        return await client.call("agent", action, key=self.prefix, value={"node": client.node})

    async def _node_services(self, client: Client, node: str, mode: str) -> Operation:
        async def action(http: HTTP) -> Answer:
            found, index = await catalog_calls.services_of_node(http, node, self._service, mode=mode)
            return Answer(output=found, index=index)

        return await client.call("node_services", action, key=self.prefix, value={"node": node}, mode=mode)

    async def _health(self, client: Client, mode: str) -> Operation:
        async def action(http: HTTP) -> Answer:
            found, index = await catalog_calls.health_of_service(http, self._service, mode=mode)
            instances = {f"{each['node']}/{each['id']}": [each["version"], each["checks"]] for each in found}
            return Answer(output={"instances": instances, "index": index}, index=index)

        return await client.call("health", action, key=self.prefix, mode=mode)
