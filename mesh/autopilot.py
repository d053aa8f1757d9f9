"""How servers are looked after, and how they do."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from base.durations import format_duration, parse_duration_s
from base.errors import Internal
from mesh.call import Call, Noun, World, method, plain_call, read_call, value_of, write_call
from mesh.query import DEFAULT_READ, Read
from mesh.rows import text_map
from structs.autopilot import SECOND, AutopilotConfig, ServerHealth, ServerHealthReply
from structs.cluster import MemberStatus

PATH = "/v1/operator/autopilot"
UNHEALTHY = 429
"""The status of an answer about a cluster that is not healthy."""


class AutopilotState(msgspec.Struct, frozen=True, kw_only=True):
    """What newer agents tell of the servers. `leader` and `voters` are ids."""

    health: ServerHealthReply
    optimistic_failure_tolerance: int
    leader: str
    voters: list[str]


class Autopilot(Noun[World]):
    """`client.operator.autopilot`."""

    @method
    def configuration(self, read: Read = DEFAULT_READ) -> Call[AutopilotConfig]:
        """Return the configuration; a stale read works without a leader too."""
        return value_of(read_call(f"{PATH}/configuration", _configuration, read))

    @method
    def set_configuration(self, config: AutopilotConfig, *, cas: bool = False) -> Call[bool]:
        """Replace the configuration, with `cas` only if nobody has since `config` was read; returns whether it was."""
        row = {
            "CleanupDeadServers": config.cleanup_dead_servers,
            "LastContactThreshold": format_duration(config.last_contact_threshold_ns / SECOND),
            "MaxTrailingLogs": config.max_trailing_logs,
            "ServerStabilizationTime": format_duration(config.server_stabilization_time_ns / SECOND),
            "RedundancyZoneTag": config.redundancy_zone_tag,
            "DisableUpgradeMigration": config.disable_upgrade_migration,
            "UpgradeVersionTag": config.upgrade_version_tag,
        }
        parameters = {"cas": str(config.modify_index)} if cas else {}
        return write_call(f"{PATH}/configuration", lambda reply: b"true" in reply.body, parameters, value=row)

    @method
    def health(self) -> Call[ServerHealthReply]:
        """Return how each server does, as the leader sees it; that the cluster is ill is an answer, no error."""
        return replace(plain_call(f"{PATH}/health", _health), accept=(UNHEALTHY,))

    @method
    def state(self) -> Call[AutopilotState]:
        """Return the same as newer agents tell it, with who leads and who votes."""
        return replace(plain_call(f"{PATH}/state", _state), accept=(UNHEALTHY,))


def _configuration(value: Any) -> AutopilotConfig:
    row = text_map(value)
    return AutopilotConfig(
        cleanup_dead_servers=row.get("CleanupDeadServers", False),
        last_contact_threshold_ns=_nanoseconds(row.get("LastContactThreshold")),
        max_trailing_logs=row.get("MaxTrailingLogs", 0),
        server_stabilization_time_ns=_nanoseconds(row.get("ServerStabilizationTime")),
        redundancy_zone_tag=row.get("RedundancyZoneTag") or "",
        disable_upgrade_migration=row.get("DisableUpgradeMigration", False),
        upgrade_version_tag=row.get("UpgradeVersionTag") or "",
        create_index=row.get("CreateIndex", 0),
        modify_index=row.get("ModifyIndex", 0),
    )


def _health(value: Any) -> ServerHealthReply:
    row = text_map(value)
    servers = row.get("Servers")
    return ServerHealthReply(
        healthy=row.get("Healthy", False),
        failure_tolerance=row.get("FailureTolerance", 0),
        servers=None if servers is None else [_server(each, each.get("Leader", False)) for each in servers],
    )


def _state(value: Any) -> AutopilotState:
    row = text_map(value)
    leader = row.get("Leader") or ""
    return AutopilotState(
        health=ServerHealthReply(
            healthy=row.get("Healthy", False),
            failure_tolerance=row.get("FailureTolerance", 0),
            servers=[_server(each, name == leader) for name, each in sorted((row.get("Servers") or {}).items())],
        ),
        optimistic_failure_tolerance=row.get("OptimisticFailureTolerance", 0),
        leader=leader,
        voters=row.get("Voters") or [],
    )


def _server(row: Mapping[str, Any], leads: bool) -> ServerHealth:
    """Return one server of either answer: they differ in some names."""
    status = str(row.get("SerfStatus") or row.get("NodeStatus") or "none").upper()
    return ServerHealth(
        server_id=row["ID"],
        name=row.get("Name") or "",
        address=row.get("Address") or "",
        serf_status=MemberStatus[status] if status in MemberStatus.__members__ else MemberStatus.NONE,
        version=row.get("Version") or "",
        leader=leads,
        last_contact_ns=_nanoseconds(row.get("LastContact")),
        last_term=row.get("LastTerm", 0),
        last_index=row.get("LastIndex", 0),
        healthy=row.get("Healthy", False),
        voter=row["Voter"] if "Voter" in row else row.get("Status") in ("leader", "voter"),
        stable_since_unix_s=_unix_s(row.get("StableSince")),
        meta=row.get("Meta") or {},
    )


def _nanoseconds(value: object) -> int:
    """Return a duration of an answer; raises Internal for a text that is none."""
    if isinstance(value, int):
        return value
    try:
        return round(parse_duration_s(str(value or "0s")) * SECOND)
    except ValueError as error:
        raise Internal(str(error)) from error


def _unix_s(value: object) -> float:
    """Return a time of an answer, 0 for none; raises Internal for a text that is no time."""
    try:
        found = datetime.fromisoformat(str(value)) if value else None
    except ValueError as error:
        raise Internal(str(error)) from error
    return max(found.timestamp(), 0.0) if found is not None and found.year > 1 else 0.0
