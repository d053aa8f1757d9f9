"""CVE-2020-13250: the agent's cache could be filled without limit over HTTP and DNS, by asking for names made up."""

import random

import dns.message
import trio
import trio.testing
from msgspec.structs import replace

from agent.cache.cache import Cache, CacheLimits
from agent.cache.entry import IDLE_EMPTY_S
from agent.cache.kinds import HEALTH_SERVICE_NODES
from agent.dns.lookups import CacheLookups
from agent.dns.responder import Responder
from agent.dns.settings import DNSLimits, DNSSettings
from structs.catalog import ServiceRequest
from structs.query import QueryOptions
from tests.fakes.discovery import FakeDiscovery, instance

ENTRIES_MAX = 50


async def test_made_up_names_tokens_and_datacenters_fill_nothing_and_are_not_watched_for_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = FakeDiscovery(instance("n1", "10.0.0.1"))
    cache = Cache(servers, limits=CacheLimits(entries_max=ENTRIES_MAX))
    settings = DNSSettings(limits=DNSLimits(remembered_max=ENTRIES_MAX))
    lookups = CacheLookups(settings, delegate=servers, cache=cache)
    responder = Responder(settings, lookups, rng=random.Random(0), wall_unix_s=lambda: 0.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        for number in range(500):
            query = dns.message.make_query(f"made-up-{number}.service.dc{number}.consul", "A").to_wire()
            assert await responder.respond(query, "192.0.2.1", is_udp=True)
            options = QueryOptions(token=f"t{number}", datacenter=f"dc{number}")
            answer = cache.get(HEALTH_SERVICE_NODES, replace(ServiceRequest(service="made-up"), options=options))
            await answer  # type: ignore[misc]
        await trio.testing.wait_all_tasks_blocked()
        statistics = cache.statistics()
        assert statistics.entries_count == ENTRIES_MAX
        assert statistics.fetches_count == servers.waiting_count == ENTRIES_MAX
        assert len(responder.remembered) <= ENTRIES_MAX
        await trio.sleep(IDLE_EMPTY_S + 10)
        assert (cache.statistics().entries_count, servers.waiting_count) == (0, 0)
        nursery.cancel_scope.cancel()
