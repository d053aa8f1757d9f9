"""What the agent's own services need of whoever runs their checks."""

from typing import Protocol

import trio

from structs.check_spec import CheckSpec


class Runs(Protocol):
    """Runs checks and reports what they find; `agent.checks.runs.CheckRuns`."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the tasks of all checks until cancelled."""
        ...

    def start(self, spec: CheckSpec, *, status: str, output: str = "", ttl_left_s: float | None = None) -> None:
        """Run this check instead of any other of its id; raises Refused, InvalidRequest for what can't be run.

        `ttl_left_s`: what is left of a TTL check's time, None: all of it.
        """
        ...

    def check_allowed(self, spec: CheckSpec, *, from_file: bool) -> None:
        """Raise Refused or InvalidRequest where `start` would."""
        ...

    def stop(self, check_id: str) -> None:
        """Run it no more; one that does not run is no error."""
        ...

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Take what somebody says of a TTL check; raises NotFound, Refused."""
        ...

    def ttl_left_s(self, check_id: str) -> float | None:
        """Return for how long that holds, None where it is no TTL check."""
        ...
