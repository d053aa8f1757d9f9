"""/v1/agent: answered here, whatever `dc` says. Source: HTTP API, section 1; modern deltas, sections 5 and 11."""

from collections.abc import Awaitable, Mapping

import msgspec

from acl.access import AGENT_READ, AGENT_WRITE
from agent.http.coordinate import CoordinateJSON, coordinate_json
from agent.http.errors import multi_error_text
from agent.http.filtering import predicate_of
from agent.http.parameters import checked_name
from agent.http.registry import AgentInfo, RequestContext, route
from agent.http.response import Response, json_response
from agent.membership import JOIN_WAN_TEXT, JoinReport
from base.errors import InvalidRequest, OutcomeUnknown, Refused
from base.expression import Predicate
from structs.cluster import Member

BUILD_DATE = "1970-01-01T00:00:01Z"
"""Builds are reproducible: they have no date. Clients parse it, so it is one."""
SEGMENTS_KNOWN = ("", "_all")
"""There are no segments but the default one."""


class MemberJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A member as clients see it. The protocol numbers are those of gossip."""

    name: str = msgspec.field(name="Name")
    address: str = msgspec.field(name="Addr")
    port: int = msgspec.field(name="Port")
    tags: dict[str, str] = msgspec.field(name="Tags")
    status: int = msgspec.field(name="Status")
    protocol_min: int = msgspec.field(name="ProtocolMin")
    protocol_max: int = msgspec.field(name="ProtocolMax")
    protocol_current: int = msgspec.field(name="ProtocolCur")
    delegate_min: int = msgspec.field(name="DelegateMin")
    delegate_max: int = msgspec.field(name="DelegateMax")
    delegate_current: int = msgspec.field(name="DelegateCur")


class ConfigJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The stable part of an agent's configuration."""

    datacenter: str = msgspec.field(name="Datacenter")
    primary_datacenter: str = msgspec.field(name="PrimaryDatacenter")
    node_name: str = msgspec.field(name="NodeName")
    node_id: str = msgspec.field(name="NodeID")
    revision: str = msgspec.field(name="Revision")
    server: bool = msgspec.field(name="Server")
    version: str = msgspec.field(name="Version")
    build_date: str = msgspec.field(name="BuildDate", default=BUILD_DATE)


class SelfJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /v1/agent/self."""

    config: ConfigJSON = msgspec.field(name="Config")
    debug_config: Mapping[str, object] = msgspec.field(name="DebugConfig")
    coordinate: CoordinateJSON | None = msgspec.field(name="Coord")
    member: MemberJSON = msgspec.field(name="Member")
    statistics: Mapping[str, Mapping[str, str]] = msgspec.field(name="Stats")
    meta: Mapping[str, str] = msgspec.field(name="Meta")
    xds: Mapping[str, object] = msgspec.field(name="xDS")


class VersionJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /v1/agent/version."""

    revision: str = msgspec.field(name="SHA")
    build_date: str = msgspec.field(name="BuildDate", default=BUILD_DATE)
    version: str = msgspec.field(name="HumanVersion")
    fips: str = msgspec.field(name="FIPS", default="")


def member_json(member: Member) -> MemberJSON:
    """Return a member in its wire shape."""
    least, most, spoken, upper_least, upper_most, upper_spoken = member.versions
    return MemberJSON(
        name=member.name,
        address=member.address,
        port=member.port,
        tags=member.tags,
        status=int(member.status),
        protocol_min=least,
        protocol_max=most,
        protocol_current=spoken,
        delegate_min=upper_least,
        delegate_max=upper_most,
        delegate_current=upper_spoken,
    )


def config_json(agent: AgentInfo) -> ConfigJSON:
    """Return the stable part of the configuration."""
    return ConfigJSON(
        datacenter=agent.datacenter,
        primary_datacenter=str(agent.configuration().get("primary_datacenter") or "") or agent.datacenter,
        node_name=agent.node_name,
        node_id=agent.node_id,
        revision=agent.revision,
        server=agent.is_server,
        version=agent.version,
    )


@route("/v1/agent/self", "GET", access=AGENT_READ, is_write=False)
def self(context: RequestContext) -> Response:
    """Return this agent's configuration, member row and statistics. All statistics are text."""
    agent = context.agent
    return json_response(
        SelfJSON(
            config=config_json(agent),
            debug_config=agent.configuration(),
            coordinate=coordinate_json(agent.coordinate()),
            member=member_json(agent.self_member()),
            statistics=agent.statistics(),
            meta=agent.meta(),
            xds=xds_json(agent.configuration()),
        )
    )


def xds_json(configuration: Mapping[str, object]) -> dict[str, object]:
    """Return where proxies get their configuration; -1: nowhere."""
    plain, secure = configuration.get("GRPCPort", -1), configuration.get("GRPCTLSPort", -1)
    return {"SupportedProxies": {}, "Port": plain, "Ports": {"Plaintext": plain, "TLS": secure}}


@route("/v1/agent/version", "GET", access=AGENT_READ, is_write=False)
def version(context: RequestContext) -> Response:
    """Return which version's API this is, and which build runs."""
    return json_response(VersionJSON(revision=context.agent.revision, version=context.agent.version))


@route("/v1/agent/members", "GET", access=AGENT_READ, is_write=False)
def members(context: RequestContext) -> Response | Awaitable[Response]:
    """Return everyone this agent knows of. `wan`: the servers of all datacenters, nobody on client agents.

    `segment`: only the default one exists. `filter`: an expression over one member.
    """
    query = context.query
    segment = query.get("segment")
    keep = predicate_of(context, MemberJSON)
    wan = bool(query.get("wan"))
    if segment not in SEGMENTS_KNOWN:
        if wan:
            raise InvalidRequest("Cannot provide a segment with wan=true")
        return json_response([])
    known = context.agent.members(wan=wan)
    return _members_answer(known, keep) if isinstance(known, list) else _members_later(known, keep)


async def _members_later(known: Awaitable[list[Member]], keep: Predicate | None) -> Response:
    return _members_answer(await known, keep)


def _members_answer(known: list[Member], keep: Predicate | None) -> Response:
    rows = [member_json(member) for member in known]
    return json_response(rows if keep is None else [row for row in rows if keep(row)])


@route("/v1/agent/join/", "PUT", access=AGENT_WRITE, is_write=True)
async def join(context: RequestContext) -> Response:
    """Join the cluster through an address (`host` or `host:port` of gossip). `wan`: the pool of all servers."""
    address = checked_name(context.remainder, "address to join")
    wan = bool(context.query.get("wan"))
    if wan and not context.agent.is_server:
        raise Refused(JOIN_WAN_TEXT)
    report = await context.agent.join([address], wan=wan)
    if not report.contacted_count:
        raise OutcomeUnknown(_join_errors(address, report))
    return Response(200)


def _join_errors(address: str, report: JoinReport) -> str:
    return multi_error_text([f"Failed to join {where}: {why}" for where, why in report.errors.items()]) or (
        f"Failed to join {address}"
    )


@route("/v1/agent/leave", "PUT", access=AGENT_WRITE, is_write=True)
async def leave(context: RequestContext) -> Response:
    """Leave the cluster gracefully; answers when that is done. The process ends soon after."""
    await context.agent.leave()
    return Response(200)


@route("/v1/agent/force-leave/", "PUT", access=AGENT_WRITE, is_write=True)
async def force_leave(context: RequestContext) -> Response:
    """Turn a failed member into one that left, which takes it out of the catalog. A member that lives stays.

    `prune`: this agent forgets it at once, instead of after a day. `wan`: in the pool of all servers. 500 for an
    unknown member.
    """
    query = context.query
    name = checked_name(context.remainder, "node name")
    known = await context.agent.force_leave(name, prune=query.has("prune"), wan=query.has("wan"))
    if not known:
        raise Refused(f"agent: No node found with name '{name}'")
    return Response(200)
