"""`mesh maint`: takes a node or a service out of service. Source: command-line specification, maint."""

from base.errors import MeshError
from mesh.cli.context import Context

NODE_CHECK = "_node_maintenance"
SERVICE_CHECK_PREFIX = "_service_maintenance:"


def maint(context: Context) -> int:
    """Enable, disable, or list what is under maintenance."""
    given = context.given
    enable, disable = given.switch("enable"), given.switch("disable")
    reason, service_id = given.text("reason"), given.text("service")
    if given.arguments:
        context.output.error(f"Too many arguments (expected 0, got {len(given.arguments)})")
        return 1
    if enable and disable:
        context.output.error("Only one of -enable or -disable may be provided")
        return 1
    if not enable and (reason or (service_id and not disable)):
        context.output.error("Reason may only be provided with -enable" if reason else "-enable or -disable is needed")
        return 1
    try:
        if not enable and not disable:
            return _list(context)
        _change(context, service_id, enable=enable, reason=reason)
    except MeshError as error:
        what = "enabling" if enable else "disabling" if disable else "listing"
        context.output.error(f"Error {what} {'service' if service_id else 'node'} maintenance: {error}")
        return 1
    return 0


def _change(context: Context, service_id: str, *, enable: bool, reason: str) -> None:
    now = "enabled" if enable else "disabled"
    if service_id:
        context.client.agent.service_maintenance(service_id, enable=enable, reason=reason)
        context.output.line(f'Service maintenance is now {now} for "{service_id}"')
        return
    context.client.agent.maintenance(enable=enable, reason=reason)
    context.output.line(f"Node maintenance is now {now}")


def _list(context: Context) -> int:
    name = str(context.client.agent.self().get("Config", {}).get("NodeName", ""))
    checks = context.client.agent.checks()
    if NODE_CHECK in checks:
        context.output.line(f"Node:\n  Name:   {name}\n  Reason: {checks[NODE_CHECK].notes}\n")
    for check_id, check in sorted(checks.items()):
        if check_id.startswith(SERVICE_CHECK_PREFIX):
            service_id = check_id.removeprefix(SERVICE_CHECK_PREFIX)
            context.output.line(f"Service:\n  ID:     {service_id}\n  Reason: {check.notes}\n")
    return 0
