"""A DNS server over a fake catalog, asked by bytes or over real sockets."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import dns.message
import dns.rdatatype
import trio
from msgspec.structs import replace

from agent.cache.cache import Cache
from agent.dns.listener import DNSListener, address_of, bind_dns
from agent.dns.lookups import CacheLookups
from agent.dns.responder import Responder
from agent.dns.settings import DNSLimits, DNSSettings
from structs.catalog import ServiceInstance
from tests.fakes.discovery import FakeDiscovery

NOW_UNIX_S = 1_700_000_000.0


class DNSSite:
    """One server, its catalog, and a client."""

    def __init__(self, servers: FakeDiscovery, cache: Cache, responder: Responder) -> None:
        self.servers = servers
        self.cache = cache
        self.responder = responder
        self.host = ""
        self.port = 0

    async def respond(self, query: bytes, *, is_udp: bool = True) -> bytes | None:
        return await self.responder.respond(query, "127.0.0.1", is_udp=is_udp)

    async def ask(
        self, name: str, kind: str = "A", *, is_udp: bool = True, edns: int | None = None, **options: Any
    ) -> dns.message.Message:
        """Return the parsed answer to one question."""
        extra: dict[str, Any] = {} if edns is None else {"use_edns": 0, "payload": edns}
        query = dns.message.make_query(name, kind, **extra, **options)
        answer = await self.respond(query.to_wire(), is_udp=is_udp)
        assert answer is not None
        message = dns.message.from_wire(answer)
        assert message.id == query.id
        return message


@asynccontextmanager
async def dns_site(
    *instances: ServiceInstance,
    limits: DNSLimits | None = None,
    listens: bool = False,
    servers: FakeDiscovery | None = None,
    **settings: Any,
) -> AsyncGenerator[DNSSite, None]:
    """Run a cache and a responder, and with `listens` its sockets on a free port of the loopback."""
    told = replace(DNSSettings(limits=limits or DNSLimits()), **settings)
    servers = servers or FakeDiscovery(*instances)
    cache = Cache(servers)
    lookups = CacheLookups(told, delegate=servers, cache=cache)
    responder = Responder(told, lookups, rng=random.Random(1), wall_unix_s=lambda: NOW_UNIX_S)
    site = DNSSite(servers, cache, responder)
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        if listens:
            pair = bind_dns("127.0.0.1", 0)
            site.host, site.port = "127.0.0.1", int(address_of(pair).rpartition(":")[2])
            await nursery.start(DNSListener(told.limits, responder, [pair]).run)
        yield site
        nursery.cancel_scope.cancel()


def rows(message: dns.message.Message, section: str = "answer") -> list[str]:
    """Return the records of a section as texts, in their order."""
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {item}"
        for rrset in getattr(message, section)
        for item in rrset
    ]


def addresses(message: dns.message.Message) -> list[str]:
    """Return the addresses among the answers."""
    return [item.address for rrset in message.answer for item in rrset if rrset.rdtype in (1, 28)]
