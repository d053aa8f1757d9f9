"""The cache around its entries: who shares what, and its bounds."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from agent.cache.cache import Cache, Cached, CacheLimits
from agent.cache.entry import IDLE_EMPTY_S, Policy
from agent.cache.kinds import HEALTH_SERVICE_NODES, KINDS, Kind
from base.errors import NoLeader, NotReady, PermissionDenied, Unreachable
from structs.catalog import ServiceRequest
from structs.query import Consistency, QueryOptions
from tests.fakes.discovery import FakeDiscovery, instance

IDLE_S = 900.0
WEB = ServiceRequest(service="web")


@asynccontextmanager
async def running(*, limits: CacheLimits | None = None) -> AsyncGenerator[tuple[Cache, FakeDiscovery], None]:
    servers = FakeDiscovery(instance("n1", "10.0.0.1"))
    cache = Cache(servers, limits=limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        yield cache, servers
        nursery.cancel_scope.cancel()


async def get(cache: Cache, request: Any = WEB, *, kind: Kind = HEALTH_SERVICE_NODES, **options: Any) -> Cached:
    answer = cache.get(kind, replace(request, options=QueryOptions(**options)))
    return answer if isinstance(answer, Cached) else await answer


async def test_the_second_who_asks_the_same_is_answered_at_once_from_what_the_first_was_given() -> None:
    async with running() as (cache, servers):
        first = await get(cache)
        await trio.testing.wait_all_tasks_blocked()
        second = cache.get(HEALTH_SERVICE_NODES, WEB)
        assert isinstance(second, Cached)
        assert (first.is_hit, second.is_hit, second.age_s) == (False, True, 0.0)
        assert second.value is first.value
        assert [call[1].options.index_min for call in servers.calls] == [0, 5]
        assert all(call[1].options.consistency is Consistency.STALE for call in servers.calls)


async def test_a_change_arrives_without_anybody_asking() -> None:
    async with running() as (cache, servers):
        await get(cache)
        await trio.testing.wait_all_tasks_blocked()
        servers.change(instance("n2", "10.0.0.2"))
        await trio.testing.wait_all_tasks_blocked()
        answer = cache.get(HEALTH_SERVICE_NODES, WEB)
        assert isinstance(answer, Cached)
        assert answer.value.instances[0].node.node == "n2"


async def test_many_who_wait_for_news_cost_the_servers_one_query() -> None:
    async with running() as (cache, servers):
        await get(cache)
        woken: list[int] = []

        async def watch() -> None:
            answer = await get(cache, index_min=5, wait_s=300.0)
            woken.append(answer.value.meta.index)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            assert (servers.waiting_count, cache.statistics().waiters_count) == (1, 100)
            servers.change()
        assert woken == [6] * 100
        assert cache.statistics().waiters_count == 0


async def test_who_waits_in_vain_gets_the_old_value(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (cache, _):
        await get(cache)
        answer = await get(cache, index_min=5, wait_s=10.0)
        assert (answer.value.meta.index, answer.is_hit) == (5, False)


@pytest.mark.parametrize("other", [{"token": "t"}, {"datacenter": "dc2"}])
async def test_another_token_or_datacenter_is_another_entry(other: dict[str, Any]) -> None:
    async with running() as (cache, _):
        await get(cache)
        assert not (await get(cache, **other)).is_hit
        assert cache.statistics().entries_count == 2


async def test_wait_and_consistency_make_no_difference() -> None:
    async with running() as (cache, _):
        await get(cache)
        assert (await get(cache, index_min=3, wait_s=7.0, consistency=Consistency.STALE)).is_hit
        assert cache.statistics().entries_count == 1


async def test_a_value_outlives_the_servers_and_says_its_age(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (cache, servers):
        await get(cache)
        await trio.sleep(1)
        servers.fail(NoLeader())
        await trio.sleep(40)
        answer = await get(cache)
        assert answer.is_hit
        assert answer.age_s == pytest.approx(40.0)
        assert len(servers.calls) < 12  # it backs off
        servers.fail(None)
        await trio.sleep(90)
        assert (await get(cache)).age_s == 0.0


async def test_what_servers_refuse_is_refused_and_not_kept() -> None:
    async with running() as (cache, servers):
        servers.fail(PermissionDenied("Permission denied"))
        with pytest.raises(PermissionDenied, match="Permission denied"):
            await get(cache)
        assert cache.statistics().entries_count == 0
        servers.fail(None)
        assert (await get(cache)).value.instances


async def test_a_value_does_not_outlive_the_right_to_see_it() -> None:
    """A token that was taken back must not read on for as long as it goes on asking."""
    async with running() as (cache, servers):
        await get(cache, token="t")
        await trio.testing.wait_all_tasks_blocked()
        servers.fail(PermissionDenied("ACL not found"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(PermissionDenied, match="ACL not found"):
            await get(cache, token="t")
        assert cache.statistics().entries_count == 0


async def test_an_answer_that_does_not_come_is_an_error_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (cache, servers):

        async def hang(method: str, request: Any) -> Any:
            await trio.sleep_forever()

        servers._answer = hang  # type: ignore[method-assign]
        with pytest.raises(NotReady, match="no answer in time"):
            await get(cache, wait_s=8.0)


async def test_who_waits_when_the_agent_ends_is_sent_away() -> None:
    failures: list[BaseException] = []
    async with trio.open_nursery() as outer, running() as (cache, _):
        await get(cache)

        async def watch() -> None:
            try:
                await get(cache, index_min=5, wait_s=300.0)
            except Unreachable as error:
                failures.append(error)

        outer.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
    assert [str(error) for error in failures] == ["agent: shutting down"]


async def test_names_that_nobody_has_are_soon_forgotten_and_others_are_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kind = replace(HEALTH_SERVICE_NODES, policy=Policy(refreshes=True, idle_s=IDLE_S))
    async with running() as (cache, servers):
        await get(cache, kind=kind)
        await get(cache, ServiceRequest(service="made-up"), kind=kind)
        await trio.sleep(IDLE_EMPTY_S + 10)
        assert cache.statistics().entries_count == 1
        assert servers.waiting_count == 1
        await trio.sleep(IDLE_S + 10)
        statistics = cache.statistics()
        assert (statistics.entries_count, statistics.bytes_count, statistics.expirations_count) == (0, 0, 2)
        assert servers.waiting_count == 0


async def test_the_number_of_entries_is_bounded_and_the_one_used_longest_ago_goes() -> None:
    async with running(limits=CacheLimits(entries_max=3)) as (cache, servers):
        for name in ("web", "b", "c"):
            await get(cache, ServiceRequest(service=name))
        await get(cache)  # used again
        await get(cache, ServiceRequest(service="d"))
        await trio.testing.wait_all_tasks_blocked()
        assert cache.statistics().entries_count == 3
        assert servers.waiting_count == 3  # nothing is left of the fourth
        assert (await get(cache)).is_hit
        assert not (await get(cache, ServiceRequest(service="b"))).is_hit
        assert cache.statistics().evictions_count == 2


async def test_where_callers_wait_on_every_entry_calls_go_past_the_cache() -> None:
    async with running(limits=CacheLimits(entries_max=1)) as (cache, _), trio.open_nursery() as nursery:
        await get(cache)

        async def watch() -> None:
            await get(cache, index_min=5, wait_s=300.0)

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        other = await get(cache, ServiceRequest(service="b"))
        assert (other.is_hit, other.slot) == (False, None)
        assert cache.statistics().bypasses_count == 1
        nursery.cancel_scope.cancel()


async def test_the_bytes_of_all_values_are_bounded() -> None:
    async with running(limits=CacheLimits(bytes_max=2000)) as (cache, servers):
        servers.change(*(instance(f"n{number}", "10.0.0.1", service=f"s{number}") for number in range(100)))
        for number in range(100):
            await get(cache, ServiceRequest(service=f"s{number}"))
        statistics = cache.statistics()
        assert 0 < statistics.bytes_count <= 2000
        assert statistics.entries_count < 30


async def test_what_is_made_of_a_value_is_made_once() -> None:
    async with running() as (cache, servers):
        slot = (await get(cache)).slot
        assert slot is not None
        made: list[int] = []

        def make(value: Any) -> int:
            made.append(value.meta.index)
            return len(made)

        assert [slot.derived("x", make) for _ in range(3)] == [1, 1, 1]
        await trio.testing.wait_all_tasks_blocked()
        servers.change()
        await trio.testing.wait_all_tasks_blocked()
        assert slot.derived("x", make) == 2
        assert made == [5, 6]


async def test_before_it_runs_calls_go_past_it() -> None:
    servers = FakeDiscovery(instance("n1", "10.0.0.1"))
    answer = await get(Cache(servers))
    assert answer.slot is None
    assert answer.value.instances


def test_what_may_be_cached_is_named_by_its_method() -> None:
    assert {"Health.ServiceNodes", "Catalog.ServiceNodes", "Catalog.ListServices", "Catalog.NodeServices"} <= set(KINDS)
