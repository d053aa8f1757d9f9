"""All workloads against real servers pass their own checkers; the store in memory answers as a real server does."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from jepsen import catalog_calls, session_calls
from jepsen.client import HTTP
from jepsen.cluster import Cluster
from jepsen.workloads.registry import WORKLOADS
from tests.fakes.kv_api import FakeHTTP
from tests.fakes.store import World
from tests.fakes.workload_run import Driver

DURATION_S = 2.0
WAIT_S = 0.3
ERRORS_SHARE_MAX = 0.02
"""Some clients do not wait long, and the machine may be busy."""


async def script(http: HTTP, other: HTTP, told: list[Any]) -> None:
    """A bit of everything that workloads ask for; what comes back goes into `told`, where all numbers are indexes."""

    async def show(key: str) -> int:
        entry, index = await http.get(key)
        told.append([key, entry and (entry.value, entry.create_index, entry.modify_index), index])
        return entry.modify_index if entry else 0

    await show("t/a")
    told.append(await http.scan("t/"))
    told.append(await http.put("t/a", "1"))
    index = await show("t/a")
    told.append(await http.put("t/a", "1"))
    await show("t/a")
    told.append(await http.put("t/b", "2", cas=0))
    told.append(await http.put("t/b", "3", cas=0))
    told.append(await http.put("t/a", "4", cas=index))
    told.append(await http.put("t/a", "5", cas=index))
    told.append(await http.put("t/none", "5", cas=index))
    for mode in ("default", "consistent", "stale"):
        told.append((await http.get("t/a", mode=mode), await http.scan("t/", mode=mode)))
    told.append(await http.delete("t/a", cas=index))
    told.append(await http.delete("t/a"))
    told.append(await http.delete("t/a"))
    await show("t/a")
    told.append(await http.scan("t/"))
    await transactions(http, told)
    await waits(http, other, told)
    await locks(http, told)
    await services(http, told)
    await http.request("DELETE", "/v1/kv/t/?recurse", is_write=True)
    told.append((await http.scan("t/"))[0])


async def transactions(http: HTTP, told: list[Any]) -> None:
    told.append(
        await http.txn(
            [
                {"Verb": "get-or-empty", "Key": "t/c"},
                {"Verb": "set", "Key": "t/c", "Value": "6"},
                {"Verb": "get-or-empty", "Key": "t/c"},
                {"Verb": "delete", "Key": "t/b"},
                {"Verb": "get-or-empty", "Key": "t/b"},
                {"Verb": "cas", "Key": "t/d", "Index": 0, "Value": "7"},
            ]
        )
    )
    told.append(
        await http.txn(
            [{"Verb": "set", "Key": "t/c", "Value": "8"}, {"Verb": "cas", "Key": "t/d", "Index": 0, "Value": "9"}]
        )
    )
    told.append(await http.txn([{"Verb": "delete", "Key": "t/absent"}]))
    for mode in ("default", "consistent", "stale"):
        reads = [{"Verb": "get-or-empty", "Key": key} for key in ("t/c", "t/b", "t/d")]
        told.append(await http.txn(reads, is_write=False, mode=mode))
    told.append(await http.scan("t/"))


async def locks(http: HTTP, told: list[Any]) -> None:
    """Ids of sessions are not told: they are everybody's own."""
    await session_calls.register_node(http, "t-node", {"t-check": "passing"})
    one = await session_calls.create_session(http, node="t-node", ttl_s=10, delay_s=1, check="t-check")
    two = await session_calls.create_session(http, node="t-node", ttl_s=10, delay_s=1, behavior="delete")
    assert one
    assert two
    names = {one: "one", two: "two", "": ""}

    async def show(key: str) -> None:
        entry, index = await http.get(key)
        told.append(entry and (entry.value, names[entry.session], f"lock index {entry.lock_index}", index))
        found, index = await session_calls.sessions_of(http, "t-node", mode="default")
        told.append((sorted(names[each] for each in found), index))

    for session, function in [
        *[(one, session_calls.acquire), (one, session_calls.acquire), (two, session_calls.acquire)],
        *[(two, session_calls.release), (one, session_calls.release), (two, session_calls.acquire)],
    ]:
        told.append(await function(http, "t/lock", session, "11"))
        await show("t/lock")
    for session in (one, two):
        told.append((await session_calls.renew_session(http, session), "renewed"))
    told.append(await session_calls.acquire(http, "t/held", one, "12"))
    await session_calls.register_node(http, "t-node", {"t-check": "critical"})
    await show("t/held")
    told.append(await session_calls.acquire(http, "t/held", two, "12"))
    told.append(await session_calls.acquire(http, "t/held", one, "12"))
    told.append(await session_calls.create_session(http, node="t-node", ttl_s=10, delay_s=1, check="t-check"))
    await session_calls.destroy_session(http, two)
    await show("t/lock")
    for session in (one, two):
        told.append((await session_calls.renew_session(http, session), "renewed"))
        told.append(await session_calls.is_session(http, session, mode="default"))


async def services(http: HTTP, told: list[Any]) -> None:
    """Indexes of answers that show nothing are not told: they are of what others have."""

    async def show() -> None:
        found, index = await catalog_calls.health_of_service(http, "t-service", mode="default")
        own = [(each["id"], f"version {each['version']}", each["modify_index"]) for each in found]
        told.append((own, index if own else "none"))
        listed, _ = await catalog_calls.services_of_node(http, "t-node", "t-service", mode="default")
        told.append({service_id: f"version {version}" for service_id, version in listed.items()})

    await show()
    await catalog_calls.register_in_catalog(http, "t-node", "t-service", "s1", 1)
    await show()
    await catalog_calls.register_in_catalog(http, "t-node", "t-service", "s1", 2)
    await show()
    await catalog_calls.deregister_in_catalog(http, "t-node", "s1")
    await show()
    await catalog_calls.register_at_agent(http, "t-service", "s2", 3)
    await show()
    for status in ("passing", "critical"):
        await catalog_calls.set_status(http, "s2", status)
        claims = await catalog_calls.claims_of_agent(http, "t-service")
        told.append({service_id: (f"version {version}", found) for service_id, (version, found) in claims.items()})
    await catalog_calls.deregister_at_agent(http, "s2")
    await show()


async def waits(http: HTTP, other: HTTP, told: list[Any]) -> None:
    entries, index = await http.wait("t/c", index=0, wait_s=0.0)
    told.append((entries, index))
    told.append(await http.wait("t/c", index=index - 1, wait_s=WAIT_S))
    told.append(await http.wait("t/c", index=index, wait_s=WAIT_S))
    told.append(await http.wait("t/", index=1, wait_s=WAIT_S, recurse=True))
    for change in ("set", "delete", "set"):  # the last one makes the key anew
        before = (await http.get("t/c"))[1]
        woken: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell_wait, http, before, woken)
            await trio.sleep(WAIT_S)
            assert woken == []
            told.append(await other.txn([{"Verb": change, "Key": "t/c", "Value": "10"}]))
        told += woken


async def _tell_wait(http: HTTP, index: int, told: list[Any]) -> None:
    told.append(("woken", await http.wait("t/c", index=index, wait_s=10.0)))


def with_ranks(told: list[Any]) -> Any:
    """Replace each index by its rank among all: real servers write entries of their own between ours."""
    plain = msgspec.to_builtins(told)
    ranks = {number: rank for rank, number in enumerate(sorted(set(_numbers(plain))))}
    return _replaced(plain, ranks)


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def _replaced(value: Any, ranks: dict[int, int]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(each, ranks) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(each, ranks) for each in value]
    return ranks[value] if isinstance(value, int) and not isinstance(value, bool) else value


async def test_the_store_in_memory_answers_as_a_real_server_does(tmp_path: Path) -> None:
    world = World(random.Random(1), lag_max=0)
    faked: list[Any] = []
    await script(FakeHTTP(world), FakeHTTP(world), faked)
    real: list[Any] = []
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        address = cluster.servers[0].http_address
        with closing(HTTP(address)) as http, closing(HTTP(address)) as other:
            await script(http, other, real)
    for position, (one, other) in enumerate(zip(with_ranks(faked), with_ranks(real), strict=True)):
        assert one == other, position


async def test_all_workloads_at_once_pass_on_a_healthy_cluster(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1, options=session_calls.OPTIONS) as cluster:
        addresses = {node.name: node.http_address for node in cluster.nodes}
        nodes = tuple(addresses)
        drivers = {
            name: Driver(kind(random.Random(name)), lambda node: HTTP(addresses[node]), seed=1)
            for name, kind in WORKLOADS.items()
        }
        async with trio.open_nursery() as nursery:
            for driver in drivers.values():
                nursery.start_soon(partial(driver.work, nodes, duration_s=DURATION_S))
        for driver in drivers.values():
            await driver.finish(nodes)

    for name, driver in drivers.items():
        operations = driver.history.operations
        errors = [operation for operation in operations if operation.error]
        print(f"{name}: {len(operations)} operations, {Counter(operation.outcome for operation in operations)}")
        assert len(operations) > DURATION_S * 5
        assert len(errors) <= len(operations) * ERRORS_SHARE_MAX, errors
        for check in WORKLOADS[name].checkers():
            verdict = check(driver.history)
            assert verdict.passed, verdict
            assert verdict.checked_count > 0
