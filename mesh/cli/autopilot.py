"""`mesh operator autopilot get-config | set-config | state`. Source: command-line specification, operator."""

import json

from msgspec.structs import replace

from base.durations import format_duration, parse_duration_s
from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context
from structs.autopilot import SECOND, AutopilotConfig, ServerHealth

NUMBERS = {"max-trailing-logs": "max_trailing_logs"}
SWITCHES = {
    "cleanup-dead-servers": "cleanup_dead_servers",
    "disable-upgrade-migration": "disable_upgrade_migration",
}
TEXTS = {"redundancy-zone-tag": "redundancy_zone_tag", "upgrade-version-tag": "upgrade_version_tag"}
DURATIONS = {
    "last-contact-threshold": "last_contact_threshold_ns",
    "server-stabilization-time": "server_stabilization_time_ns",
}


def get_config(context: Context) -> int:
    """Print the configuration."""
    try:
        config = context.client.operator.autopilot.configuration(context.read())
    except MeshError as error:
        context.output.error(f"Error querying Autopilot configuration: {error}")
        return 1
    for name, text in (
        ("CleanupDeadServers", _boolean(config.cleanup_dead_servers)),
        ("LastContactThreshold", format_duration(config.last_contact_threshold_ns / SECOND)),
        ("MaxTrailingLogs", str(config.max_trailing_logs)),
        ("ServerStabilizationTime", format_duration(config.server_stabilization_time_ns / SECOND)),
        ("RedundancyZoneTag", _quoted(config.redundancy_zone_tag)),
        ("DisableUpgradeMigration", _boolean(config.disable_upgrade_migration)),
        ("UpgradeVersionTag", _quoted(config.upgrade_version_tag)),
    ):
        context.output.line(f"{name} = {text}")
    return 0


def set_config(context: Context) -> int:
    """Change what the flags name and nothing else, unless somebody else changes it meanwhile."""
    changes = _changes(context)
    autopilot = context.client.operator.autopilot
    try:
        config = autopilot.configuration()
    except MeshError as error:
        context.output.error(f"Error querying Autopilot configuration: {error}")
        return 1
    wanted: AutopilotConfig = replace(config, **changes)
    try:
        done = autopilot.set_configuration(wanted, cas=True)
    except MeshError as error:
        context.output.error(f"Error setting Autopilot configuration: {error}")
        return 1
    if not done:
        context.output.error("Configuration could not be atomically updated, please try again")
        return 1
    context.output.line("Configuration updated!")
    return 0


def _changes(context: Context) -> dict[str, object]:
    """Return the fields that are given; raises InvalidRequest for a text that is no duration."""
    given = context.given
    found: dict[str, object] = {}
    found.update({field: given.switch(name) for name, field in SWITCHES.items() if given.is_given(name)})
    found.update({field: given.number(name) for name, field in NUMBERS.items() if given.is_given(name)})
    found.update({field: given.text(name) for name, field in TEXTS.items() if given.is_given(name)})
    for name, field in DURATIONS.items():
        if given.is_given(name):
            try:
                seconds = parse_duration_s(given.text(name))
            except ValueError as error:
                raise InvalidRequest(f"-{name}: {error}") from error
            if seconds < 0:
                raise InvalidRequest(f"-{name}: a duration cannot be negative")
            found[field] = round(seconds * SECOND)
    return found


def state(context: Context) -> int:
    """Print how each server does."""
    try:
        found = context.client.operator.autopilot.state()
    except MeshError as error:
        context.output.error(f"Error querying Autopilot state: {error}")
        return 1
    lines = [
        f"Healthy:                      {_boolean(found.health.healthy)}",
        f"Failure Tolerance:            {found.health.failure_tolerance}",
        f"Optimistic Failure Tolerance: {found.optimistic_failure_tolerance}",
        f"Leader:                       {found.leader}",
        "Voters:",
        *(f"   {voter}" for voter in found.voters),
        "Servers:",
    ]
    for server in found.health.servers or []:
        lines += _server_lines(server)
    for line in lines:
        context.output.line(line)
    return 0


def _server_lines(server: ServerHealth) -> list[str]:
    pairs = (
        ("Name", server.name),
        ("Address", server.address),
        ("Version", server.version),
        ("Status", "leader" if server.leader else "voter" if server.voter else "non-voter"),
        ("Node Status", server.serf_status.name.lower()),
        ("Healthy", _boolean(server.healthy)),
        ("Last Contact", format_duration(server.last_contact_ns / SECOND)),
        ("Last Term", str(server.last_term)),
        ("Last Index", str(server.last_index)),
    )
    lines = [f"   {server.server_id}", *(f"      {name + ':':<17}{text}" for name, text in pairs)]
    if server.meta:
        lines += [
            "      Meta",
            *(f"         {_quoted(key)}: {_quoted(server.meta[key])}" for key in sorted(server.meta)),
        ]
    return lines


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
