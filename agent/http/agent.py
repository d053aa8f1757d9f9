"""/v1/agent: answered here, not by a server. Source: HTTP API, section 1; modern deltas, section 11."""

from collections.abc import Awaitable, Mapping

import msgspec

from acl.access import AGENT_READ
from agent.http.registry import AgentInfo, RequestContext, route
from agent.http.response import Response, json_response
from base.errors import InvalidRequest
from structs.cluster import Member

SEGMENTS_KNOWN = ("", "_all")
"""There are no segments but the default one."""


class MemberJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A member as clients see it. The protocol numbers are those of the gossip that such clients expect."""

    name: str = msgspec.field(name="Name")
    address: str = msgspec.field(name="Addr")
    port: int = msgspec.field(name="Port")
    tags: dict[str, str] = msgspec.field(name="Tags")
    status: int = msgspec.field(name="Status")
    protocol_min: int = msgspec.field(name="ProtocolMin", default=1)
    protocol_max: int = msgspec.field(name="ProtocolMax", default=5)
    protocol_current: int = msgspec.field(name="ProtocolCur", default=2)
    delegate_min: int = msgspec.field(name="DelegateMin", default=2)
    delegate_max: int = msgspec.field(name="DelegateMax", default=5)
    delegate_current: int = msgspec.field(name="DelegateCur", default=4)


class ConfigJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The stable part of an agent's configuration."""

    datacenter: str = msgspec.field(name="Datacenter")
    node_name: str = msgspec.field(name="NodeName")
    node_id: str = msgspec.field(name="NodeID")
    revision: str = msgspec.field(name="Revision")
    server: bool = msgspec.field(name="Server")
    version: str = msgspec.field(name="Version")


class SelfJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /v1/agent/self."""

    config: ConfigJSON = msgspec.field(name="Config")
    debug_config: Mapping[str, object] = msgspec.field(name="DebugConfig")
    coordinate: None = msgspec.field(name="Coord", default=None)
    member: MemberJSON = msgspec.field(name="Member")
    statistics: Mapping[str, Mapping[str, str]] = msgspec.field(name="Stats")
    meta: Mapping[str, str] = msgspec.field(name="Meta")


class VersionJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /v1/agent/version."""

    revision: str = msgspec.field(name="SHA")
    build_date: str = msgspec.field(name="BuildDate", default="1970-01-01T00:00:01Z")
    version: str = msgspec.field(name="HumanVersion")
    fips: str = msgspec.field(name="FIPS", default="")


def member_json(member: Member) -> MemberJSON:
    """Return a member in its wire shape."""
    return MemberJSON(
        name=member.name, address=member.address, port=member.port, tags=member.tags, status=int(member.status)
    )


def config_json(agent: AgentInfo) -> ConfigJSON:
    """Return the stable part of the configuration."""
    return ConfigJSON(
        datacenter=agent.datacenter,
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
            member=member_json(agent.self_member()),
            statistics=agent.statistics(),
            meta=agent.meta(),
        )
    )


@route("/v1/agent/version", "GET", access=AGENT_READ, is_write=False)
def version(context: RequestContext) -> Response:
    """Return which version's API this is, and which build runs."""
    return json_response(VersionJSON(revision=context.agent.revision, version=context.agent.version))


@route("/v1/agent/members", "GET", access=AGENT_READ, is_write=False)
def members(context: RequestContext) -> Response | Awaitable[Response]:
    """Return everyone this agent knows of. `wan`: the servers of all datacenters, of which there is only this one.

    `segment`: only the default one exists. `filter` is refused, since ignoring it would answer something else.
    """
    query = context.query
    segment = query.get("segment")
    if query.get("filter"):
        raise InvalidRequest("Bad request: filter is not supported on this endpoint")
    if query.get("wan"):
        if segment not in SEGMENTS_KNOWN:
            raise InvalidRequest("Cannot provide a segment with wan=true")
        return json_response([])
    if segment not in SEGMENTS_KNOWN:
        return json_response([])
    known = context.agent.members()
    return _members_answer(known) if isinstance(known, list) else _members_later(known)


async def _members_later(known: Awaitable[list[Member]]) -> Response:
    return _members_answer(await known)


def _members_answer(known: list[Member]) -> Response:
    return json_response([member_json(member) for member in known])
