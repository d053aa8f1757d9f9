"""CheckRuns: every check of one agent, run when it is due, and what comes of it told.

One task looks after all that are at rest, whatever their number; a check costs a task of its own only while it runs.
A defect in one run makes that check critical, and touches no other.
"""

import random
from collections.abc import Awaitable, Callable

import trio

from agent.checks.aliases import Aliases
from agent.checks.interface import CheckSettings, LocalChecks, Report, Result
from agent.checks.output import cut_note, output_bytes_max
from agent.checks.schedule import INTERVAL_S_MIN, LANES, Lane, Planned, Schedule, interval_s_of, timeout_s_of
from agent.checks.status import StatusRule
from agent.checks.ttl import TTLTimers
from agent.http.registry import Delegate
from base.errors import InvalidRequest, InvariantBroken, NotFound, Refused
from base.lazily import imported
from base.log import get_logger, trace_of
from base.tasks import started_in
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec

Run = Callable[[CheckSpec, CheckSettings, float], Awaitable[Result]]


def _later(kind: str) -> Run:
    async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
        module = await imported(f"agent.checks.{kind}")
        result: Result = await module.run(spec, settings, timeout_s)
        return result

    return run


KINDS: dict[str, Run] = {kind: _later(kind) for kind in ("http", "tcp", "udp", "grpc", "h2ping", "docker", "script")}
"""Those that run at intervals."""
OVERTIME_S = 30.0
"""Every kind keeps its own deadline; one that does not, by a defect, is ended so long after it."""
SCRIPTS_OFF_TEXT = "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' to true"
SCRIPTS_LOCAL_TEXT = (
    "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
)
_STATUSES = frozenset(str(status) for status in CheckStatus)

_log = get_logger("agent.checks")


class _Runner:
    """One check that runs at intervals."""

    __slots__ = ("planned", "rule", "scope", "spec")

    def __init__(self, spec: CheckSpec, planned: Planned) -> None:
        self.spec = spec
        self.planned = planned
        self.rule = StatusRule(spec)
        self.scope: trio.CancelScope | None = None


class CheckRuns:
    """Checks may be started and stopped before, while and after `run` runs; they only run while it does."""

    def __init__(
        self, *, report: Report, local: LocalChecks, delegate: Delegate, settings: CheckSettings, rng: random.Random
    ) -> None:
        """`report` is called for each result, also one that equals the last."""
        self._report = report
        self._settings = settings
        self._schedule = Schedule({Lane.ASKING: settings.asking_max, Lane.PROCESSES: settings.processes_max}, rng)
        self._specs: dict[str, CheckSpec] = {}
        self._runners: dict[str, _Runner] = {}
        self._ttls = TTLTimers()
        self._aliases = Aliases(tell=self._tell_alias, local=local, delegate=delegate, settings=settings)
        self._changed = trio.Event()
        self._wake_s = float("inf")
        self._nursery: trio.Nursery | None = None

    @property
    def counts(self) -> dict[str, int]:
        """`check_ttls` and `check_monitors` of the agent's statistics: those that are told, those that find out."""
        return {"check_ttls": len(self._ttls), "check_monitors": len(self._specs) - len(self._ttls)}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run checks until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._aliases.run)
                self._nursery = nursery
                task_status.started()
                while True:
                    self._changed = trio.Event()
                    now_s = trio.current_time()
                    for check_id, output in self._ttls.expired(now_s):
                        _log.warn("check missed its TTL, is now critical", check=check_id)
                        self._report(check_id, CheckStatus.CRITICAL, output)
                    for planned in self._schedule.due(now_s):
                        self._begin(planned)
                    times = (at_s for at_s in (self._ttls.next_s(), self._schedule.next_s()) if at_s is not None)
                    self._wake_s = min(times, default=float("inf"))
                    with trio.move_on_at(self._wake_s):
                        await self._changed.wait()
        finally:
            self._nursery = None

    def check_allowed(self, spec: CheckSpec, *, from_file: bool) -> None:
        """Raise Refused for a program that this agent is not to run, InvalidRequest for what cannot be run at all."""
        settings = self._settings
        if spec.args and not settings.scripts_from_anywhere:
            if not settings.scripts_from_files:
                raise Refused(SCRIPTS_OFF_TEXT)
            if not from_file:
                raise Refused(SCRIPTS_LOCAL_TEXT)
        if spec.docker_container_id and not spec.args:
            raise InvalidRequest("Docker checks need Args")
        if spec.kind in KINDS and spec.interval_s <= 0:
            raise InvalidRequest("Interval must be > 0 for Script, HTTP, or TCP checks")
        if any("\0" in argument for argument in spec.args):
            raise InvalidRequest("Args must not contain null bytes")

    def start(self, spec: CheckSpec, *, status: str, output: str = "", ttl_left_s: float | None = None) -> None:
        """Begin to run a check, in place of the one with its id if there is one.

        Args: `status`, `output`: what is told of it now. `ttl_left_s`: what is left of a TTL check's time, from before
        a restart; None: all of it. Raises: Refused for one check too many, InvalidRequest as `check_allowed`.
        """
        check_id, kind = spec.check_id, spec.kind
        if check_id not in self._specs and len(self._specs) >= self._settings.checks_max:
            raise Refused(f"this agent has {self._settings.checks_max} checks, which is its limit")
        if kind in KINDS and spec.interval_s <= 0:
            raise InvalidRequest("Interval must be > 0 for Script, HTTP, or TCP checks")
        self.stop(check_id)
        self._specs[check_id] = spec
        if kind == "ttl":
            self._ttls.add(check_id, spec.ttl_s, trio.current_time(), left_s=ttl_left_s, output=output)
            self._wake()
        elif kind == "alias":
            self._aliases.add(spec)
        elif kind in KINDS:
            if spec.interval_s < INTERVAL_S_MIN:
                _log.warn("check has interval below minimum", check=check_id, minimum_s=INTERVAL_S_MIN)
            lane = LANES.get(kind, Lane.ASKING)
            interval_s = interval_s_of(spec)
            planned = self._schedule.add(check_id, interval_s=interval_s, lane=lane, now_s=trio.current_time())
            self._runners[check_id] = _Runner(spec, planned)
            self._wake()

    def stop(self, check_id: str) -> None:
        """Run it no more; a run under way is given up, and not told of. One that is unknown is no error."""
        if self._specs.pop(check_id, None) is None:
            return
        self._ttls.remove(check_id)
        self._aliases.remove(check_id)
        runner = self._runners.pop(check_id, None)
        if runner is not None:
            self._schedule.remove(runner.planned)
            if runner.scope is not None:
                runner.scope.cancel()

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Somebody speaks for a TTL check: tell it, and wait anew.

        Raises: InvalidRequest for a status that there is not, NotFound for a check nobody knows, Refused for one of
        another kind.
        """
        if status not in _STATUSES:
            raise InvalidRequest(f"Invalid check status: '{status}'")
        spec = self._specs.get(check_id)
        if spec is None:
            raise NotFound(f'Unknown check ID "{check_id}". Ensure that the check ID is passed, not the check name.')
        if check_id not in self._ttls:
            raise Refused(f'CheckID "{check_id}" does not have associated TTL')
        output = cut_note(output, output_bytes_max(spec, self._settings))
        self._ttls.heard(check_id, output, trio.current_time())
        self._report(check_id, status, output)
        self._wake()

    def ttl_left_s(self, check_id: str) -> float | None:
        """Return what is left of a TTL check's time, 0 after it expired; None: it is not one."""
        return self._ttls.left_s(check_id, trio.current_time())

    # Inside

    def _wake(self) -> None:
        """Look again, if something is due before the time at which that would be done anyway."""
        times = (self._ttls.next_s(), self._schedule.next_s())
        if any(at_s is not None and at_s < self._wake_s for at_s in times):
            self._changed.set()

    def _tell_alias(self, check_id: str, result: Result) -> None:
        if check_id in self._specs:
            self._report(check_id, result.status, result.output)

    def _begin(self, planned: Planned) -> None:
        runner = self._runners.get(planned.check_id)
        if runner is None or runner.planned is not planned or not started_in(self._nursery, self._run_once, runner):
            self._schedule.finished(planned, trio.current_time())

    async def _run_once(self, runner: _Runner) -> None:
        spec = runner.spec
        timeout_s = timeout_s_of(spec)
        result: Result | None = None
        try:
            with trio.CancelScope() as scope:
                runner.scope = scope
                if runner.planned.is_removed:
                    return
                with trio.move_on_after(timeout_s + OVERTIME_S):
                    result = await KINDS[spec.kind](spec, self._settings, timeout_s)
                if result is None:
                    result = Result(CheckStatus.CRITICAL, "the check did not end in time")
        except InvariantBroken:
            raise
        except Exception as error:  # the border: one check's defect must not end the others
            _log.error("a check failed by a defect", check=spec.check_id, error=repr(error), trace=trace_of(error))
            result = Result(CheckStatus.CRITICAL, f"the agent could not run this check: {error!r}")
        finally:
            runner.scope = None
            self._schedule.finished(runner.planned, trio.current_time())
            if self._schedule.is_anyone_waiting:
                self._changed.set()
            else:
                self._wake()
        if result is not None and not runner.planned.is_removed:
            told = runner.rule.take(result)
            if told is not None:
                self._report(spec.check_id, told.status, told.output)
            else:
                _log.debug("check has not reached its threshold", check=spec.check_id, result=result.status)
