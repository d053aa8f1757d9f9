"""/v1/operator/autopilot: HTTP <-> Operator.* calls. Source: HTTP API, section 11; modern deltas, section 11."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from acl.access import OPERATOR_READ, OPERATOR_WRITE
from agent.http.asking import tell
from agent.http.parameters import parse_uint64
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, Response, json_response
from base.durations import format_duration
from base.errors import InvalidRequest
from structs.autopilot import (
    SECOND,
    AutopilotConfig,
    AutopilotGetRequest,
    AutopilotSetReply,
    AutopilotSetRequest,
    ServerHealth,
    ServerHealthReply,
    ServerHealthRequest,
)
from structs.json_codec import Fields, decode_json
from structs.query import Consistency

UNHEALTHY = 429
"""What the health endpoint answers beside its body, for those who look at the status only."""
TIME_UNKNOWN = "0001-01-01T00:00:00Z"
UNIX_S_MAX = 253_402_300_799
"""The last second that can be written with four digits of a year."""


class AutopilotConfigJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration as clients see it; durations are text."""

    cleanup_dead_servers: bool = msgspec.field(name="CleanupDeadServers")
    last_contact_threshold: str = msgspec.field(name="LastContactThreshold")
    max_trailing_logs: int = msgspec.field(name="MaxTrailingLogs")
    server_stabilization_time: str = msgspec.field(name="ServerStabilizationTime")
    redundancy_zone_tag: str = msgspec.field(name="RedundancyZoneTag")
    disable_upgrade_migration: bool = msgspec.field(name="DisableUpgradeMigration")
    upgrade_version_tag: str = msgspec.field(name="UpgradeVersionTag")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class ServerHealthJSON(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the health answer."""

    server_id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    address: str = msgspec.field(name="Address")
    serf_status: str = msgspec.field(name="SerfStatus")
    version: str = msgspec.field(name="Version")
    leader: bool = msgspec.field(name="Leader")
    last_contact: str = msgspec.field(name="LastContact")
    last_term: int = msgspec.field(name="LastTerm")
    last_index: int = msgspec.field(name="LastIndex")
    healthy: bool = msgspec.field(name="Healthy")
    voter: bool = msgspec.field(name="Voter")
    stable_since: str = msgspec.field(name="StableSince")


class HealthJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The health answer."""

    healthy: bool = msgspec.field(name="Healthy")
    failure_tolerance: int = msgspec.field(name="FailureTolerance")
    servers: list[ServerHealthJSON] | None = msgspec.field(name="Servers")


class ServerStateJSON(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the state answer."""

    server_id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    address: str = msgspec.field(name="Address")
    node_status: str = msgspec.field(name="NodeStatus")
    version: str = msgspec.field(name="Version")
    last_contact: str = msgspec.field(name="LastContact")
    last_term: int = msgspec.field(name="LastTerm")
    last_index: int = msgspec.field(name="LastIndex")
    healthy: bool = msgspec.field(name="Healthy")
    stable_since: str = msgspec.field(name="StableSince")
    read_replica: bool = msgspec.field(name="ReadReplica", default=False)
    status: str = msgspec.field(name="Status")
    meta: dict[str, str] = msgspec.field(name="Meta")
    node_type: str = msgspec.field(name="NodeType", default="voter")


class StateJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The state answer. Without redundancy zones nobody is more hopeful than the plain tolerance."""

    healthy: bool = msgspec.field(name="Healthy")
    failure_tolerance: int = msgspec.field(name="FailureTolerance")
    optimistic_failure_tolerance: int = msgspec.field(name="OptimisticFailureTolerance")
    servers: dict[str, ServerStateJSON] = msgspec.field(name="Servers")
    leader: str = msgspec.field(name="Leader")
    voters: list[str] = msgspec.field(name="Voters")


def _duration_text(nanoseconds: int) -> str:
    return format_duration(nanoseconds / SECOND)


def _time_text(unix_s: float) -> str:
    """Return a time to the second; 0 is "never"."""
    if not 0 < unix_s <= UNIX_S_MAX:
        return TIME_UNKNOWN
    return datetime.fromtimestamp(round(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@route("/v1/operator/autopilot/configuration", "GET", access=OPERATOR_READ, is_write=False)
def configuration(context: RequestContext) -> Response | Awaitable[Response]:
    """Return how servers are looked after. `stale` answers without a leader."""
    request = AutopilotGetRequest(options=context.read_parameters().options)
    return tell(context, "Operator.AutopilotGetConfiguration", request, AutopilotConfig, _configuration_answer)


def _configuration_answer(config: AutopilotConfig) -> Response:
    return json_response(
        AutopilotConfigJSON(
            cleanup_dead_servers=config.cleanup_dead_servers,
            last_contact_threshold=_duration_text(config.last_contact_threshold_ns),
            max_trailing_logs=config.max_trailing_logs,
            server_stabilization_time=_duration_text(config.server_stabilization_time_ns),
            redundancy_zone_tag=config.redundancy_zone_tag,
            disable_upgrade_migration=config.disable_upgrade_migration,
            upgrade_version_tag=config.upgrade_version_tag,
            create_index=config.create_index,
            modify_index=config.modify_index,
        )
    )


@route("/v1/operator/autopilot/configuration", "PUT", access=OPERATOR_WRITE, is_write=True)
def set_configuration(context: RequestContext) -> Response | Awaitable[Response]:
    """Replace the configuration as a whole: what the body does not name becomes zero, false or empty.

    Body: as the answer of GET; durations are text or nanoseconds. `cas`: only if its ModifyIndex is this. Answers
    `true`, or `false` where that did not hold.
    """
    query = context.query
    config = parse_configuration(context.body)
    is_conditional = query.has("cas")
    if is_conditional:
        try:
            config = replace(config, modify_index=parse_uint64(query.get("cas")))
        except ValueError as error:
            raise InvalidRequest(f"Error parsing cas value: {error}") from error
    request = AutopilotSetRequest(config=config, cas=is_conditional, options=context.write_options())

    def finish(reply: AutopilotSetReply) -> Response:
        return Response(200, b"true" if reply.ok or not is_conditional else b"false", JSON_TYPE)

    return tell(context, "Operator.AutopilotSetConfiguration", request, AutopilotSetReply, finish)


def parse_configuration(body: bytes) -> AutopilotConfig:
    """Return the configuration in a body; raises InvalidRequest."""
    try:
        fields = Fields(decode_json(body), "configuration")
        return AutopilotConfig(
            cleanup_dead_servers=fields.boolean("CleanupDeadServers"),
            last_contact_threshold_ns=fields.duration_ns("LastContactThreshold"),
            max_trailing_logs=fields.uint64("MaxTrailingLogs"),
            server_stabilization_time_ns=fields.duration_ns("ServerStabilizationTime"),
            redundancy_zone_tag=fields.text("RedundancyZoneTag"),
            disable_upgrade_migration=fields.boolean("DisableUpgradeMigration"),
            upgrade_version_tag=fields.text("UpgradeVersionTag"),
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"Error parsing autopilot config: {error}") from error


@route("/v1/operator/autopilot/health", "GET", access=OPERATOR_READ, is_write=False)
def health(context: RequestContext) -> Response | Awaitable[Response]:
    """Return how each server does, as the leader sees it. 429 with the same body where the cluster is not healthy."""

    def finish(reply: ServerHealthReply) -> Response:
        servers = reply.servers
        body = HealthJSON(
            healthy=reply.healthy,
            failure_tolerance=reply.failure_tolerance,
            servers=None if servers is None else [_server_json(server) for server in servers],
        )
        return json_response(body, status=200 if reply.healthy else UNHEALTHY)

    return _ask_health(context, finish)


@route("/v1/operator/autopilot/state", "GET", access=OPERATOR_READ, is_write=False)
def state(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the same in the form that newer clients read: servers by id, who leads, and who votes."""

    def finish(reply: ServerHealthReply) -> Response:
        servers = reply.servers or []
        return json_response(
            StateJSON(
                healthy=reply.healthy,
                failure_tolerance=reply.failure_tolerance,
                optimistic_failure_tolerance=reply.failure_tolerance,
                servers={server.server_id: _state_json(server) for server in servers},
                leader=next((server.server_id for server in servers if server.leader), ""),
                voters=[server.server_id for server in servers if server.voter],
            )
        )

    return _ask_health(context, finish)


def _ask_health(
    context: RequestContext, finish: Callable[[ServerHealthReply], Response]
) -> Response | Awaitable[Response]:
    """Ask the leader, whatever mode the client named: nobody else knows."""
    options = replace(context.read_parameters().options, consistency=Consistency.CONSISTENT, index_min=0)
    context.is_blocking = False
    return tell(context, "Operator.ServerHealth", ServerHealthRequest(options=options), ServerHealthReply, finish)


def _server_json(server: ServerHealth) -> ServerHealthJSON:
    return ServerHealthJSON(
        server_id=server.server_id,
        name=server.name,
        address=server.address,
        serf_status=server.serf_status.name.lower(),
        version=server.version,
        leader=server.leader,
        last_contact=_duration_text(server.last_contact_ns),
        last_term=server.last_term,
        last_index=server.last_index,
        healthy=server.healthy,
        voter=server.voter,
        stable_since=_time_text(server.stable_since_unix_s),
    )


def _state_json(server: ServerHealth) -> ServerStateJSON:
    return ServerStateJSON(
        server_id=server.server_id,
        name=server.name,
        address=server.address,
        node_status=server.serf_status.name.lower(),
        version=server.version,
        last_contact=_duration_text(server.last_contact_ns),
        last_term=server.last_term,
        last_index=server.last_index,
        healthy=server.healthy,
        stable_since=_time_text(server.stable_since_unix_s),
        status="leader" if server.leader else "voter" if server.voter else "non-voter",
        meta=server.meta,
    )
