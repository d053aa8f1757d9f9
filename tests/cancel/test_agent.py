"""What an agent waits for, cancelled at each of its steps: nobody who waits, process, place or file stays behind."""

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import trio

from agent.cache.cache import Cache
from agent.cache.kinds import HEALTH_SERVICE_NODES
from agent.checks.runs import KINDS
from agent.checks.script import Program
from agent.dns.lookups import CacheLookups
from agent.dns.names import ServiceName
from agent.dns.responder import Responder
from agent.dns.settings import DNSSettings
from structs.catalog import ServiceRequest
from structs.query import QueryOptions
from tests.cancel.test_rpc import STEPS_MAX, finished_despite_cancel_at
from tests.fakes.discovery import FakeDiscovery, instance
from tests.fakes.local import LocalSite
from tests.unit.agent.checks.servers import SETTINGS, read_request, serving, spec
from tests.unit.agent.local.test_services import WEB, register, running

Step = Callable[[int], Awaitable[bool]]


async def at_each_step(cancelled_at: Step) -> None:
    """Call with 1, 2, 3 … until the coroutine has ended before it was cancelled."""
    for step in range(1, STEPS_MAX):
        if await cancelled_at(step):
            return
    pytest.fail("it never ends")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_the_cache() -> None:
    async def cancelled_at(step: int) -> bool:
        servers = FakeDiscovery(instance("n1", "10.0.0.1"))
        cache = Cache(servers)
        request = ServiceRequest(service="web", options=QueryOptions(wait_s=5.0))

        async def ask() -> None:
            answer = cache.get(HEALTH_SERVICE_NODES, request)
            if isinstance(answer, Awaitable):
                await answer
            later = cache.get(HEALTH_SERVICE_NODES, ServiceRequest(service="web", options=QueryOptions(index_min=5)))
            assert isinstance(later, Awaitable)
            servers.change(instance("n2", "10.0.0.2"))
            await later

        async with trio.open_nursery() as nursery:
            await nursery.start(cache.run)
            ended = await finished_despite_cancel_at(step, ask)
            assert cache.statistics().waiters_count == 0
            with trio.fail_after(30.0):  # nobody who asks now is forgotten
                answer = cache.get(HEALTH_SERVICE_NODES, request)
                if isinstance(answer, Awaitable):
                    await answer
            nursery.cancel_scope.cancel()
        assert cache.statistics().fetches_count == 0
        return ended

    await at_each_step(cancelled_at)


@pytest.mark.parametrize("kind", ["http", "tcp", "udp", "grpc", "h2ping"])
async def test_checks_that_ask(kind: str) -> None:
    async def handle(stream: trio.abc.Stream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async with serving(handle) as address:
        target = {"http": {"http": f"http://{address}/"}}.get(kind, {kind: address})
        wanted = spec(**target, timeout_s=1.0)

        async def ask() -> None:
            with trio.move_on_after(0.5):
                await KINDS[kind](wanted, SETTINGS, 1.0)

        await ask()
        before = open_descriptors()

        async def cancelled_at(step: int) -> bool:
            return await finished_despite_cancel_at(step, ask)

        await at_each_step(cancelled_at)
        with trio.fail_after(30.0):
            while open_descriptors() > before:  # those of the server go a moment later
                await trio.sleep(0.01)


async def test_programs() -> None:
    before = open_descriptors()

    async def cancelled_at(step: int) -> bool:
        async def run() -> None:
            await Program(100).run(["/bin/sh", "-c", "cat; echo x"], 30.0, stdin=b"input")

        ended = await finished_despite_cancel_at(step, run)
        assert [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE] == []
        return ended

    await at_each_step(cancelled_at)
    assert open_descriptors() <= before + 1


@pytest.mark.parametrize("is_first", [True, False])
async def test_registrations_and_deregistrations(tmp_path: Path, *, is_first: bool) -> None:
    """Disk, claims and checks say the same whenever it was cancelled, and the catalog comes to say it, too."""

    async def cancelled_at(step: int) -> bool:
        folder = tmp_path / f"{step}"
        async with running(LocalSite(folder=folder)) as site:
            if not is_first:
                await register(site, WEB)

            async def change() -> None:
                if is_first:
                    await register(site, WEB)
                else:
                    await site.local.deregister_service("web")

            ended = await finished_despite_cancel_at(step, change)
            services = set(site.local.state.services)
            assert len(list((folder / "services").glob("*"))) == len(services)
            assert set(site.runs.running) == {f"service:{name}" for name in services}
            with trio.fail_after(30.0):
                while set(site.catalog.services) != services:
                    await trio.sleep(0.01)
                await site.local.maintain_node(enable=True, reason="the lock is free", token="")
        return ended

    await at_each_step(cancelled_at)


async def test_dns_answers() -> None:
    async def cancelled_at(step: int) -> bool:
        servers = FakeDiscovery(instance("n1", "10.0.0.1"))
        cache = Cache(servers)
        settings = DNSSettings()
        lookups = CacheLookups(settings, delegate=servers, cache=cache)
        responder = Responder(settings, lookups, rng=random.Random(1), wall_unix_s=lambda: 1.0)

        async def look_up() -> None:
            await lookups.service(ServiceName("web", "", ""))
            await responder.respond(QUERY, "127.0.0.1", is_udp=True)

        async with trio.open_nursery() as nursery:
            await nursery.start(cache.run)
            ended = await finished_despite_cancel_at(step, look_up)
            with trio.fail_after(30.0):
                answer = await responder.respond(QUERY, "127.0.0.1", is_udp=True)
            assert answer is not None
            assert answer.endswith(bytes([10, 0, 0, 1]))
            assert cache.statistics().waiters_count == 0
            nursery.cancel_scope.cancel()
        return ended

    await at_each_step(cancelled_at)


QUERY = b"\0\7\1\0\0\1\0\0\0\0\0\0\3web\7service\6consul\0\0\1\0\1"
