"""Sans-IO: what a check that mirrors another service says. Source: agent specification, section 4.

It is as bad as the worst of the checks it mirrors. Of another alias the output is taken over as it is: two that mirror
one another would else tell each other's words back and forth, longer each time.
"""

from collections.abc import Iterable

from agent.checks.interface import Result
from structs.catalog import CheckStatus, HealthCheck

NO_CHECKS = Result(CheckStatus.PASSING, "No checks found.")
ALL_PASSING = Result(CheckStatus.PASSING, "All checks passing.")
RETRY_S_MAX = 60.0
_FAILURES_FREE = 3


def mirrored(checks: Iterable[HealthCheck], *, check_id: str, service_id: str) -> Result:
    """Return what the checks of one node say of `service_id`, "": of the node alone; `check_id` is who asks."""
    found = NO_CHECKS
    for check in checks:
        if check.check_id == check_id or check.service_id not in ("", service_id):
            continue
        if check.status in (CheckStatus.CRITICAL, CheckStatus.WARNING):
            text = f'Aliased check "{check.name}" failing: {check.output}' if check.kind != "alias" else check.output
            if check.status == CheckStatus.CRITICAL:
                return Result(CheckStatus.CRITICAL, text)
            if found.status != CheckStatus.WARNING:
                found = Result(CheckStatus.WARNING, text)
        elif found is NO_CHECKS:
            found = ALL_PASSING
    return found


def unknown_service(service_id: str, node_name: str) -> Result:
    """Return what is said of a service that the own agent does not have."""
    return Result(CheckStatus.CRITICAL, f"Service {service_id} could not be found on node {node_name}")


def unreadable(error: Exception) -> Result:
    """Return what is said while another node's checks cannot be read."""
    return Result(CheckStatus.CRITICAL, f"Failure checking aliased node or service: {error}")


def retry_s(failures_count: int) -> float:
    """Return the pause after so many failures in a row."""
    return min(RETRY_S_MAX, 2.0 ** max(0, min(failures_count, 16) - _FAILURES_FREE))
