"""Asking for what an answer is made of: from the agent's cache, else from the servers. No decisions about answers."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
import trio
from msgspec.structs import replace

from agent.cache.cache import Cache, Cached, Slot
from agent.cache.entry import ANYTHING, Control
from agent.cache.kinds import HEALTH_SERVICE_NODES, NODE_SERVICES, NODES, PREPARED_QUERY, SERVICE_NODES, Kind
from agent.dns.names import NodeName, QueryName, ServiceName
from agent.dns.settings import DNSSettings
from base.errors import NotReady
from structs.catalog import ListNodesRequest, NodeRequest, QuerySource, ServiceRequest
from structs.prepared_query import ExecuteRequest
from structs.query import Consistency, QueryOptions

T = TypeVar("T")
TOO_LATE_TEXT = "DNS: no server has answered in time"


class Found(msgspec.Struct, frozen=True):
    """A reply of the servers, and where it is kept."""

    value: Any
    slot: Slot | None

    def derived(self, name: Any, make: Callable[[Any], T]) -> T:
        """Return `make(value)`, made once while the value is kept."""
        return make(self.value) if self.slot is None else self.slot.derived(name, make)


class Lookups(Protocol):
    """What the resolver asks for; every method raises MeshErrors."""

    async def service(self, asked: ServiceName) -> Found:
        """Return a ServiceNodesReply."""
        ...

    async def node(self, asked: NodeName) -> Found:
        """Return a NodeServicesReply."""
        ...

    async def nodes(self) -> Found:
        """Return a ListNodesReply: all nodes of this datacenter."""
        ...

    async def query(self, asked: QueryName, source: str) -> Found:
        """Return an ExecuteReply of a prepared query that is asked for from the address `source`."""
        ...

    async def services_at(self, address: str) -> Found:
        """Return a ServiceNodesReply: the instances whose own address this is."""
        ...


class Delegate(Protocol):
    """See `agent.http.registry.Delegate`."""

    def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        """Return the reply or an awaitable of it; raises MeshErrors."""


class CacheLookups:
    """Lookups of an agent. Stale answers come from the cache, if it is to be used; others always from a server."""

    def __init__(self, settings: DNSSettings, *, delegate: Delegate, cache: Cache) -> None:
        self._settings = settings
        self._delegate = delegate
        self._cache = cache
        self._uses_cache = settings.use_cache and settings.allow_stale

    async def service(self, asked: ServiceName) -> Found:
        """See Lookups."""
        return await self._ask(
            HEALTH_SERVICE_NODES,
            ServiceRequest(
                service=asked.service,
                tags=[asked.tag] if asked.tag else [],
                connect=asked.connect,
                options=self._options(asked.datacenter),
            ),
        )

    async def node(self, asked: NodeName) -> Found:
        """See Lookups."""
        return await self._ask(NODE_SERVICES, NodeRequest(node=asked.node, options=self._options(asked.datacenter)))

    async def nodes(self) -> Found:
        """See Lookups."""
        return await self._ask(NODES, ListNodesRequest(options=self._options("")))

    async def query(self, asked: QueryName, source: str) -> Found:
        """See Lookups. From the cache only as far as `cache_max_age` says: nothing keeps such an answer fresh."""
        settings = self._settings
        request = ExecuteRequest(
            name=asked.query,
            source=QuerySource(address=source),
            agent=QuerySource(datacenter=settings.datacenter, node=settings.node_name),
            options=self._options(asked.datacenter),
        )
        age_s_max = settings.cache_max_age_s
        return await self._ask(PREPARED_QUERY, request, Control(age_s_max=age_s_max), caches=age_s_max > 0)

    async def services_at(self, address: str) -> Found:
        """See Lookups. Never from the cache: such a query would be woken by every change of the catalog."""
        request = ServiceRequest(service="", address=address, options=self._options(""))
        return Found(await self._call(SERVICE_NODES, request), None)

    def _options(self, datacenter: str) -> QueryOptions:
        foreign = "" if datacenter == self._settings.datacenter else datacenter
        consistency = Consistency.STALE if self._settings.allow_stale else Consistency.DEFAULT
        return QueryOptions(consistency=consistency, token=self._settings.token.reveal(), datacenter=foreign)

    async def _ask(self, kind: Kind, request: Any, control: Control = ANYTHING, *, caches: bool = True) -> Found:
        if caches and self._uses_cache:
            waiting = replace(request, options=replace(request.options, wait_s=self._settings.limits.lookup_s))
            answer = self._cache.get(kind, waiting, control=control)
            cached = answer if isinstance(answer, Cached) else await self._in_time(answer)
            found, age_s = Found(cached.value, cached.slot), cached.age_s
        else:
            found, age_s = Found(await self._call(kind, request), None), 0.0
        is_old = found.value.meta.last_contact_ms + age_s * 1000 > self._settings.max_stale_s * 1000
        if self._settings.allow_stale and is_old:
            fresh = replace(request, options=replace(request.options, consistency=Consistency.DEFAULT))
            found = Found(await self._call(kind, fresh), None)
        return found

    async def _call(self, kind: Kind, request: Any) -> Any:
        answer = self._delegate.call(kind.method, request, kind.reply)
        return answer if isinstance(answer, kind.reply) else await self._in_time(answer)

    async def _in_time(self, answer: Any) -> Any:
        with trio.move_on_after(self._settings.limits.lookup_s):
            return await answer
        raise NotReady(TOO_LATE_TEXT)
