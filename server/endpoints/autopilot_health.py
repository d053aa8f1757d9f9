"""Operator.ServerHealth: how the servers are, as the leader's autopilot found in its last round.

Everything that `/v1/operator/autopilot/health` and `/v1/operator/autopilot/state` show is in the one answer.
Source: servers specification, section 5; HTTP API, section 11.
"""

from acl.access import OPERATOR_READ
from server.endpoints.registry import Call, Kind, method
from structs.autopilot import ServerHealthReply, ServerHealthRequest


@method(
    "Operator.ServerHealth",
    request=ServerHealthRequest,
    reply=ServerHealthReply,
    access=OPERATOR_READ,
    kind=Kind.LEADER,
)
async def server_health(call: Call, request: ServerHealthRequest) -> ServerHealthReply:
    """Each server's health, voters and those standing by; only of a leader that has just proved to be one."""
    services = call.services
    await services.raft.confirm_leadership(timeout_s=services.config.rpc_hold_timeout_s)
    return services.autopilot.health()
