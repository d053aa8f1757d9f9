"""Anti-entropy at work: who waits for what, what is sent when, and what a failure leaves behind."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from agent.local import sync as module
from agent.local.definitions import service_from_api
from agent.local.state import OutputSettings
from agent.local.sync import scale_of
from base.errors import NoServers, PermissionDenied, Refused
from structs.catalog import NodeService
from tests.fakes.http_server import until
from tests.fakes.local import FakeCatalog, LocalSite

WEB: dict[str, object] = {"Name": "web", "Check": {"TTL": "10s"}}


@asynccontextmanager
async def running(site: LocalSite) -> AsyncGenerator[LocalSite, None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(site.local.run)
        await until(lambda: site.catalog.node is not None or site.catalog.error is not None)
        yield site
        nursery.cancel_scope.cancel()


def named(name: str) -> dict[str, object]:
    return {"Name": name}


async def register(site: LocalSite, body: dict[str, object]) -> None:
    await site.local.register_service(service_from_api(body), token="")


@pytest.mark.parametrize(("nodes", "scale"), [(0, 1), (128, 1), (129, 2), (256, 2), (257, 3), (1024, 4), (8192, 7)])
def test_agents_of_large_clusters_are_slower(nodes: int, scale: int) -> None:
    assert scale_of(nodes) == scale


async def test_one_registration_costs_one_call_and_the_same_again_none() -> None:
    async with running(LocalSite()) as site:
        before = len(site.catalog.calls)
        await register(site, WEB)
        assert site.catalog.calls[before:] == ["Catalog.Register"]
        assert (list(site.catalog.services), list(site.catalog.checks)) == (["web"], ["service:web"])
        await register(site, WEB)
        assert site.catalog.calls[before:] == ["Catalog.Register"]


async def test_many_who_register_at_once_wait_for_the_same_pass() -> None:
    async with running(LocalSite()) as site:
        site.catalog.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(register, site, named(f"web{number}"))
            await until(lambda: site.catalog.under_way_count)
            site.catalog.gate.set()
        assert len(site.catalog.services) == 100
        assert len(site.catalog.writes) == 101
        assert site.catalog.under_way_most <= module.WRITES_AT_ONCE


async def test_a_catalog_that_cannot_be_reached_is_no_error_and_hears_of_it_later() -> None:
    async with running(LocalSite()) as site:
        site.catalog.error = NoServers()
        await register(site, WEB)
        assert list(site.local.state.services) == ["web"]
        assert site.catalog.services == {}
        site.catalog.error = None
        site.now_s += 1000.0
        site.local.sync.server_up()
        site.now_s += 1000.0
        site.local.sync.look_again()
        await until(lambda: site.catalog.services)


async def test_a_failed_pass_is_followed_by_a_whole_comparison() -> None:
    async with running(LocalSite()) as site:
        site.catalog.error = NoServers()
        await register(site, WEB)
        site.catalog.error = None
        site.catalog.services["stray"] = NodeService(service_id="stray", service="stray")
        site.now_s += module.RETRY_S * 2
        site.local.sync.look_again()
        await until(lambda: list(site.catalog.services) == ["web"])


async def test_what_the_servers_refuse_keeps_nothing_else_from_being_sent() -> None:
    site = LocalSite()
    site.catalog.refused = {"bad": Refused("no"), "secret": PermissionDenied("Permission denied")}
    async with running(site):
        with site.local.sync.paused():
            for name in ("bad", "secret", "good"):
                await register(site, {"Name": name})
        await until(lambda: "good" in site.catalog.services)
        await until(lambda: not site.local.state.is_dirty)
        assert list(site.catalog.services) == ["good"]
        before = len(site.catalog.writes)
        await register(site, {"Name": "other"})
        assert len(site.catalog.writes) == before + 1, "what was refused rests"
        site.catalog.refused = {}
        site.now_s += 1000.0
        site.local.sync.look_again()
        await until(lambda: len(site.catalog.services) == 4)


async def test_nothing_is_sent_while_it_is_paused() -> None:
    async with running(LocalSite()) as site:
        before = len(site.catalog.calls)
        with site.local.sync.paused():
            await register(site, WEB)
            site.now_s += 1000.0
            site.local.sync.look_again()
            await trio.testing.wait_all_tasks_blocked()
            assert len(site.catalog.calls) == before
        await until(lambda: site.catalog.services)


async def test_a_deregistration_while_the_registration_is_under_way_wins() -> None:
    async with running(LocalSite()) as site:
        site.catalog.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(register, site, WEB)
            await until(lambda: site.catalog.under_way_count)
            nursery.start_soon(site.local.deregister_service, "web")
            await until(lambda: not site.local.state.services)
            site.catalog.gate.set()
        await until(lambda: not site.local.state.is_dirty)
        assert (site.catalog.services, site.catalog.checks) == ({}, {})


async def test_a_registration_while_the_deregistration_is_under_way_wins() -> None:
    async with running(LocalSite()) as site:
        await register(site, WEB)
        site.catalog.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.local.deregister_service, "web")
            await until(lambda: site.catalog.under_way_count)
            nursery.start_soon(register, site, {"Name": "web", "Port": 81})
            await until(lambda: site.local.state.services)
            site.catalog.gate.set()
        await until(lambda: not site.local.state.is_dirty)
        assert site.catalog.services["web"].port == 81
        assert site.catalog.checks == {}


async def test_a_service_that_changes_while_it_is_sent_is_sent_again() -> None:
    async with running(LocalSite()) as site:
        site.catalog.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(register, site, WEB)
            await until(lambda: site.catalog.under_way_count)
            nursery.start_soon(register, site, {**WEB, "Port": 81})
            await until(lambda: site.local.state.services["web"].service.port)
            site.catalog.gate.set()
        assert site.catalog.services["web"].port == 81


async def test_a_status_that_changes_while_it_is_sent_is_sent_again() -> None:
    async with running(LocalSite()) as site:
        await register(site, WEB)
        site.catalog.gate = trio.Event()
        site.local.update_ttl("service:web", "passing", "one")
        await until(lambda: site.catalog.under_way_count)
        site.local.update_ttl("service:web", "warning", "two")
        site.catalog.gate.set()
        await until(lambda: site.catalog.checks["service:web"].status == "warning")
        await until(lambda: not site.local.state.is_dirty)


async def test_an_output_that_was_held_back_is_sent_when_its_time_comes() -> None:
    async with running(LocalSite(outputs=OutputSettings(update_interval_s=10.0))) as site:
        await register(site, WEB)
        site.local.update_ttl("service:web", "critical", "news")
        await trio.testing.wait_all_tasks_blocked()
        assert site.catalog.checks["service:web"].output == ""
        before = len(site.catalog.calls)
        site.now_s += 15.0
        site.local.sync.look_again()
        await until(lambda: site.catalog.checks["service:web"].output == "news")
        assert site.catalog.calls[before:] == ["Catalog.Register"]


async def test_whoever_gives_up_waiting_does_not_stop_the_pass() -> None:
    async with running(LocalSite()) as site:
        site.catalog.gate = trio.Event()
        with trio.move_on_after(5.0) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(register, site, WEB)
                await until(lambda: site.catalog.under_way_count)
                scope.cancel()
        site.catalog.gate.set()
        await until(lambda: "web" in site.catalog.services)


async def test_whoever_waits_when_the_agent_ends_is_let_go() -> None:
    site = LocalSite(catalog=FakeCatalog())
    site.catalog.gate = trio.Event()
    async with trio.open_nursery() as nursery, trio.open_nursery() as agent:
        site.catalog.gate.set()
        await agent.start(site.local.run)
        await until(lambda: site.catalog.node is not None)
        site.catalog.gate = trio.Event()
        nursery.start_soon(register, site, WEB)
        await until(lambda: site.catalog.under_way_count)
        agent.cancel_scope.cancel()


async def test_tokens_are_the_services_own_or_the_agents() -> None:
    async with running(LocalSite()) as site:
        await site.local.register_service(service_from_api(WEB), token="own")
        assert site.catalog.tokens[-1] == "own"
        await site.local.deregister_service("web")
        assert site.catalog.tokens[-1] == "own"
