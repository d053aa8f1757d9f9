"""Sans-IO: results of one check -> the status that is told, with thresholds.

Until a threshold is reached, the status that was told before stays. Passing and warning count as success, as for the
system we are compatible with. TTL checks do not come here. Source: later versions' deltas, section 5.
"""

from agent.checks.interface import Result
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec


class StatusRule:
    """Counts the results of one check in a row."""

    __slots__ = ("_critical_from", "_failures_count", "_passing_from", "_successes_count", "_warning_from")

    def __init__(self, spec: CheckSpec) -> None:
        self._passing_from = spec.success_before_passing
        self._critical_from = spec.failures_before_critical
        self._warning_from = spec.failures_before_warning or spec.failures_before_critical
        self._successes_count = 0
        self._failures_count = 0

    def take(self, result: Result) -> Result | None:
        """Return what is to be told now, None where the last one stays."""
        if result.status != CheckStatus.CRITICAL:
            self._failures_count = 0
            self._successes_count += 1
            return result if self._successes_count >= self._passing_from else None
        self._successes_count = 0
        self._failures_count += 1
        if self._failures_count >= self._critical_from:
            return result
        if self._failures_count >= self._warning_from:
            return Result(CheckStatus.WARNING, result.output)
        return None
