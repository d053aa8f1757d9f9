"""One question -> its reply: asks the lookups, follows CNAMEs, and turns errors into codes."""

import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from agent.dns.answers import (
    AAAA,
    ANY,
    NOTIMP,
    REFUSED,
    SERVFAIL,
    A,
    Answering,
    Ready,
    Reply,
    Row,
    followed,
    names_to_follow,
    ready,
)
from agent.dns.lookups import Found, Lookups
from agent.dns.message import TTL_MAX, Question
from agent.dns.names import (
    AddressName,
    Apex,
    Asked,
    Elsewhere,
    NodeName,
    QueryName,
    ReverseName,
    ServiceName,
    domain_of,
    parse,
)
from agent.dns.recursors import Recursors
from agent.dns.remembered import Source
from agent.dns.settings import DNSSettings
from base.durations import parse_duration_s
from base.errors import MeshError, NotFound
from base.log import get_logger
from structs.afar import from_afar
from structs.catalog import CONSUL_SERVICE, ListNodesReply, ServiceNodesReply
from structs.prepared_query import ExecuteReply

FOLLOW_DEPTH_MAX: Final = 3
"""CNAMEs of our own that lead to one another."""
FOLLOWED_ROWS_MAX: Final = 5
"""Records of a CNAME's target, without EDNS by UDP. Source: agent specification, section 9."""
FOLLOWED_ROWS_MAX_LARGE: Final = 25
FOLLOWED_NAMES_MAX: Final = 3

_log = get_logger("dns")


class Resolved(msgspec.Struct, frozen=True):
    """A reply, or the bytes of one that a recursor gave. `sources` None: it must not be used again."""

    reply: Reply | bytes
    sources: tuple[tuple[Source, int], ...] | None = None


class _Trail:
    """What a reply was made of, as far as that is known."""

    __slots__ = ("is_known", "sources")

    def __init__(self) -> None:
        self.sources: list[tuple[Source, int]] = []
        self.is_known = True

    def note(self, found: Found) -> None:
        """One more lookup."""
        if found.slot is None or not found.slot.kind.policy.refreshes:
            self.is_known = False
        else:
            self.sources.append((found.slot.entry, found.slot.entry.version))


class Resolver:
    """Answers questions of parsed messages."""

    def __init__(
        self,
        settings: DNSSettings,
        lookups: Lookups,
        recursors: Recursors,
        *,
        rng: random.Random,
        wall_unix_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._lookups = lookups
        self._recursors = recursors
        self._answering = Answering(settings, rng)
        self._wall = wall_unix_s
        self.errors_count = 0

    async def resolve(self, question: Question, query: bytes, source: str, *, is_udp: bool) -> Resolved:
        """Return the reply to a question that came from the address `source` as the message `query`; never raises
        MeshErrors.
        """
        domain = domain_of(question.name, self._settings.domains)
        asked = parse(question.name, domain, is_srv=question.type == "SRV")
        if question.type in ("AXFR", "IXFR"):
            return Resolved(Reply(code=NOTIMP, authoritative=domain is not None))
        trail = _Trail()
        try:
            reply = await self._reply(asked, question.type, domain, question.subnet or source, trail)
            if reply is None:
                return Resolved(await self._forward(question, query, source, is_udp=is_udp))
            is_small = is_udp and (question.edns_bytes or 0) <= 512
            most = FOLLOWED_ROWS_MAX if is_small else FOLLOWED_ROWS_MAX_LARGE
            reply = await self._follow(reply, question.type, trail, depth=0, most=most)
        except NotFound:
            return Resolved(self._answering.no_such_name(domain or self._settings.domain, self._wall()))
        except MeshError as error:
            self.errors_count += 1
            _log.debug("a question cannot be answered", name=question.name, error=str(error))
            return Resolved(Reply(code=SERVFAIL))
        return Resolved(reply, tuple(trail.sources) if trail.is_known else None)

    async def _reply(
        self, asked: Asked, type_name: str, domain: str | None, source: str, trail: _Trail
    ) -> Reply | None:
        """Return the reply, None where others are to be asked."""
        own = domain or self._settings.domain
        unix_s = self._wall()
        match asked:
            case ServiceName():
                return await self._service(asked, type_name, own, trail)
            case NodeName():
                found = await self._lookups.node(asked)
                trail.note(found)
                node = found.value.node
                if node is None or node.node.lower() != asked.node:  # servers also find nodes by their ids
                    return self._answering.no_such_name(own, unix_s)
                if self._translates(asked.datacenter):
                    node = from_afar(node)
                return self._answering.node(node, type_name, domain=own, unix_s=unix_s)
            case QueryName():
                return await self._query(asked, type_name, own, source, trail)
            case AddressName(address):
                return self._answering.address(address, type_name, domain=own, unix_s=unix_s)
            case Apex():
                instances = await self._ready(ServiceName(CONSUL_SERVICE, "", ""), trail)
                return self._answering.apex(instances, type_name, domain=own, unix_s=unix_s)
            case ReverseName():
                return await self._reverse(asked, type_name, trail)
            case Elsewhere():
                return None
        return self._answering.no_such_name(own, unix_s)

    async def _ready(self, asked: ServiceName, trail: _Trail) -> tuple[Ready, ...]:
        found = await self._lookups.service(asked)
        trail.note(found)
        return found.derived("dns", self._usable_afar if self._translates(asked.datacenter) else self._usable)

    def _usable(self, reply: ServiceNodesReply) -> tuple[Ready, ...]:
        return ready(reply.instances, only_passing=self._settings.only_passing)

    def _usable_afar(self, reply: ServiceNodesReply) -> tuple[Ready, ...]:
        return ready(map(from_afar, reply.instances), only_passing=self._settings.only_passing)

    def _translates(self, datacenter: str) -> bool:
        return self._settings.translate_wan_addresses and datacenter not in ("", self._settings.datacenter)

    async def _service(self, asked: ServiceName, type_name: str, domain: str, trail: _Trail) -> Reply:
        return self._answering.service(
            await self._ready(asked, trail),
            type_name,
            domain=domain,
            datacenter=asked.datacenter or self._settings.datacenter,
            ttl_s=self._settings.service_ttl_s(asked.service),
            unix_s=self._wall(),
        )

    async def _query(self, asked: QueryName, type_name: str, domain: str, source: str, trail: _Trail) -> Reply:
        found = await self._lookups.query(asked, source)
        trail.note(found)
        reply: ExecuteReply = found.value
        try:
            ttl_s = int(parse_duration_s(reply.dns_ttl)) if reply.dns_ttl else None
        except ValueError:
            ttl_s = None
        instances = map(from_afar, reply.instances) if self._translates(reply.datacenter) else reply.instances
        return self._answering.service(
            ready(instances, only_passing=False),  # the query itself has said whom it wants
            type_name,
            domain=domain,
            datacenter=reply.datacenter or asked.datacenter or self._settings.datacenter,
            ttl_s=self._settings.service_ttl_s(reply.service) if ttl_s is None else min(max(ttl_s, 0), TTL_MAX),
            unix_s=self._wall(),
            shuffles=False,
        )

    async def _reverse(self, asked: ReverseName, type_name: str, trail: _Trail) -> Reply | None:
        if type_name not in ("PTR", ANY):
            return None
        found = await self._lookups.nodes()
        trail.note(found)
        node = found.derived("dns by address", _by_address).get(str(asked.address))
        if node is not None:
            return self._answering.pointer(f"{node}.node.{self._settings.datacenter}.{self._settings.domain}".lower())
        at = await self._lookups.services_at(str(asked.address))
        trail.note(at)
        names = sorted({one.service.service for one in at.value.instances})
        return self._answering.pointer(f"{names[0]}.service.{self._settings.domain}".lower()) if names else None

    # Other domains

    async def _forward(self, question: Question, query: bytes, source: str, *, is_udp: bool) -> Reply | bytes:
        domain = self._settings.domain
        if not self._recursors.exist:
            if question.name.endswith((".in-addr.arpa", ".ip6.arpa")):
                return self._answering.no_such_name(domain, self._wall())
            return Reply(code=REFUSED, authoritative=False)
        return await self._recursors.forward(question, query, source, is_udp=is_udp)

    async def _follow(self, reply: Reply, type_name: str, trail: _Trail, *, depth: int, most: int) -> Reply:
        """Return the reply with what its CNAMEs lead to."""
        for name in names_to_follow(reply, type_name)[:FOLLOWED_NAMES_MAX]:
            wanted = AAAA if type_name == AAAA else A
            domain = domain_of(name, self._settings.domains)
            rows: Sequence[Row]
            if domain is None:
                trail.is_known = False
                rows = await self._recursors.look_up(name, wanted)
            elif depth >= FOLLOW_DEPTH_MAX:
                continue
            else:
                inner = await self._reply(parse(name, domain, is_srv=False), wanted, domain, "", trail)
                if inner is None:
                    continue
                inner = await self._follow(inner, wanted, trail, depth=depth + 1, most=most)
                rows = [row if row.name else msgspec.structs.replace(row, name=name) for row in inner.answers]
            reply = followed(reply, rows[:most])
        return reply


def _by_address(reply: ListNodesReply) -> dict[str, str]:
    """Return the names of all nodes by address; the first of several."""
    names: dict[str, str] = {}
    for node in reply.nodes:
        names.setdefault(node.address, node.node)
    return names
