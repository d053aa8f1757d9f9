"""Operator.Autopilot*: autopilot's configuration.

Source: HTTP API, section 11; state store specification, section 14.
"""

from acl.access import OPERATOR_READ, OPERATOR_WRITE
from base.errors import InvalidRequest, Refused
from fsm.commands.registry import AUTOPILOT, encode_command
from fsm.store import autopilot
from server.endpoints.registry import Call, Kind, Query, method
from structs.autopilot import (
    AutopilotCommand,
    AutopilotConfig,
    AutopilotGetRequest,
    AutopilotSetReply,
    AutopilotSetRequest,
)

DURATION_NS_MAX = (1 << 63) - 1
"""What clients can hold."""


@method(
    "Operator.AutopilotGetConfiguration",
    request=AutopilotGetRequest,
    reply=AutopilotConfig,
    access=OPERATOR_READ,
    kind=Kind.READ,
)
def get_configuration(query: Query, request: AutopilotGetRequest) -> AutopilotConfig:
    """The configuration; refused until the first leader has written one."""
    if request.options.index_min:
        raise InvalidRequest("Operator.AutopilotGetConfiguration does not block")
    config = autopilot.get(query.view)
    if config is None:
        raise Refused("autopilot config not initialized yet")
    return config


@method(
    "Operator.AutopilotSetConfiguration",
    request=AutopilotSetRequest,
    reply=AutopilotSetReply,
    access=OPERATOR_WRITE,
    kind=Kind.WRITE,
)
async def set_configuration(call: Call, request: AutopilotSetRequest) -> AutopilotSetReply:
    """Replace the whole configuration, with `cas` only if nobody has changed it since."""
    check_config(request.config)
    command = AutopilotCommand(config=request.config, cas=request.cas)
    services = call.services
    result = await services.raft.propose(encode_command(AUTOPILOT, command), timeout_s=services.config.write_timeout_s)
    assert isinstance(result, AutopilotSetReply)
    return result


def check_config(config: AutopilotConfig) -> None:
    """Raise Refused if no autopilot could work so."""
    for name, duration_ns in (
        ("LastContactThreshold", config.last_contact_threshold_ns),
        ("ServerStabilizationTime", config.server_stabilization_time_ns),
    ):
        if not 0 <= duration_ns <= DURATION_NS_MAX:
            raise Refused(f"{name} must not be negative or longer than {DURATION_NS_MAX} ns")
    if not 0 <= config.max_trailing_logs <= DURATION_NS_MAX:
        raise Refused(f"MaxTrailingLogs must not be negative or more than {DURATION_NS_MAX}")
