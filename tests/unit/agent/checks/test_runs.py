"""All checks of an agent together: who runs when, what is told, what may not run here."""

import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from agent.checks import runs
from agent.checks.alias import mirrored
from agent.checks.interface import CheckSettings, Result
from agent.checks.runs import CheckRuns
from base.errors import InvalidRequest, NoServers, NotFound, Refused
from structs.catalog import ChecksReply, HealthCheck
from structs.check_spec import CheckSpec
from structs.query import Consistency, QueryMeta
from tests.unit.agent.checks.servers import SETTINGS


class Local:
    """What this agent runs; a change is told to who asked for that."""

    def __init__(self) -> None:
        self.services: dict[str, list[HealthCheck]] = {}
        self.watchers: list[Callable[[], None]] = []

    def checks_of_service(self, service_id: str) -> list[HealthCheck] | None:
        return self.services.get(service_id)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append(changed)
        return lambda: self.watchers.remove(changed)

    def set(self, service_id: str, *checks: HealthCheck) -> None:
        self.services[service_id] = list(checks)
        for changed in self.watchers:
            changed()


class Servers:
    """Answers Health.NodeChecks from `nodes`, in order; then waits for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Any] = []

    def call(self, method: str, request: Any, reply: Any) -> Any:
        assert (method, reply) == ("Health.NodeChecks", ChecksReply)
        self.requests.append(request)
        return self._answer()

    async def _answer(self) -> Any:
        if not self.answers:
            await trio.sleep_forever()
        await trio.sleep(1)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    def __init__(self, settings: CheckSettings = SETTINGS, servers: Servers | None = None) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.local = Local()
        self.runs = CheckRuns(
            report=lambda *told: self.told.append(told),
            local=self.local,
            delegate=servers or Servers(),  # type: ignore[arg-type]
            settings=settings,
            rng=random.Random(1),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.runs.run)
            yield
            nursery.cancel_scope.cancel()


@contextmanager
def kind_tcp(run: Any) -> Iterator[None]:
    """Let checks of kind tcp be run by a double."""
    before = runs.KINDS["tcp"]
    runs.KINDS["tcp"] = run
    try:
        yield
    finally:
        runs.KINDS["tcp"] = before


def ttl(ttl_s: float = 10.0, check_id: str = "t") -> CheckSpec:
    return CheckSpec(check_id=check_id, name=check_id, ttl_s=ttl_s)


def tcp(check_id: str = "c", **more: Any) -> CheckSpec:
    return CheckSpec(check_id=check_id, name=check_id, tcp="127.0.0.1:1", **{"interval_s": 10.0, **more})


def health(check_id: str, status: str, output: str = "", **more: Any) -> HealthCheck:
    return HealthCheck(node="there", check_id=check_id, name=check_id, status=status, output=output, **more)


# TTL


async def test_a_ttl_check_expires_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with bench.running():
        bench.runs.start(ttl(), status="critical")
        bench.runs.update_ttl("t", "passing", "fine")
        assert bench.told == [("t", "passing", "fine")]
        await trio.sleep(9.9)
        assert bench.runs.ttl_left_s("t") == pytest.approx(0.1)
        await trio.sleep(0.2)
        assert bench.told[1:] == [("t", "critical", "TTL expired (last output before timeout follows): fine")]
        await trio.sleep(100)
        assert len(bench.told) == 2
        bench.runs.update_ttl("t", "warning", "")
        await trio.sleep(10.1)
    assert bench.told[2:] == [("t", "warning", ""), ("t", "critical", "TTL expired")]


async def test_a_ttl_check_goes_on_with_what_was_left(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.runs.start(ttl(), status="passing", output="before", ttl_left_s=2.0)
    async with bench.running():
        await trio.sleep(2.1)
    assert bench.told == [("t", "critical", "TTL expired (last output before timeout follows): before")]


async def test_refusals_of_updates_have_the_texts_clients_know() -> None:
    bench = Bench()
    bench.runs.start(tcp(), status="critical")
    bench.runs.start(CheckSpec(check_id="_node_maintenance", name="m"), status="critical")
    for check_id in ("c", "_node_maintenance"):
        with pytest.raises(Refused, match=f'^CheckID "{check_id}" does not have associated TTL$'):
            bench.runs.update_ttl(check_id, "passing", "")
    with pytest.raises(
        NotFound, match=r'^Unknown check ID "x"\. Ensure that the check ID is passed, not the check name'
    ):
        bench.runs.update_ttl("x", "passing", "")
    with pytest.raises(InvalidRequest, match=r"^Invalid check status: 'fine'$"):
        bench.runs.update_ttl("c", "fine", "")
    assert bench.runs.ttl_left_s("c") is None
    assert bench.told == []


async def test_a_long_note_is_cut() -> None:
    bench = Bench()
    bench.runs.start(ttl(), status="critical")
    bench.runs.update_ttl("t", "passing", "x" * 5000)
    assert bench.told[0][2] == "x" * 4096 + " ... (captured 4096 of 5000 bytes)"


# What may run


def test_programs_need_permission() -> None:
    program = CheckSpec(check_id="s", name="s", args=["x"], interval_s=10.0)
    inside = replace(program, docker_container_id="web")
    off, local, on = (
        Bench(SETTINGS).runs,
        Bench(replace(SETTINGS, scripts_from_files=True)).runs,
        Bench(replace(SETTINGS, scripts_from_anywhere=True)).runs,
    )
    text = "^Scripts are disabled on this agent; to enable, configure 'enable_script_checks' to true$"
    for spec in (program, inside):
        for from_file in (True, False):
            with pytest.raises(Refused, match=text):
                off.check_allowed(spec, from_file=from_file)
            on.check_allowed(spec, from_file=from_file)
        local.check_allowed(spec, from_file=True)
        with pytest.raises(Refused, match="from remote calls"):
            local.check_allowed(spec, from_file=False)


def test_what_cannot_be_run_is_refused() -> None:
    subject = Bench(replace(SETTINGS, scripts_from_anywhere=True, checks_max=2)).runs
    with pytest.raises(InvalidRequest, match="Interval must be > 0"):
        subject.check_allowed(tcp(interval_s=0.0), from_file=True)
    with pytest.raises(InvalidRequest, match="Interval must be > 0"):
        subject.start(tcp(interval_s=0.0), status="critical")
    with pytest.raises(InvalidRequest, match="need Args"):
        subject.check_allowed(
            CheckSpec(check_id="d", name="d", docker_container_id="x", interval_s=1.0), from_file=True
        )
    with pytest.raises(InvalidRequest, match="null bytes"):
        subject.check_allowed(CheckSpec(check_id="d", name="d", args=["a\0"], interval_s=1.0), from_file=True)


async def test_there_is_a_limit_of_checks() -> None:
    bench = Bench(replace(SETTINGS, checks_max=2))
    bench.runs.start(tcp("a"), status="critical")
    bench.runs.start(ttl(check_id="b"), status="critical")
    bench.runs.start(tcp("a"), status="critical")
    with pytest.raises(Refused, match="2 checks"):
        bench.runs.start(tcp("c"), status="critical")
    assert bench.runs.counts == {"check_ttls": 1, "check_monitors": 1}
    bench.runs.stop("b")
    bench.runs.start(tcp("c"), status="critical")
    bench.runs.stop("unknown")


# Runs at intervals


async def test_results_are_told_by_threshold(autojump_clock: trio.testing.MockClock) -> None:
    results = iter(["critical", "critical", "critical", "passing", "passing"])
    times: list[float] = []

    async def run(*_: object) -> Result:
        times.append(trio.current_time())
        await trio.sleep(1)
        return Result(next(results), "out")

    bench = Bench()
    with kind_tcp(run):
        async with bench.running():
            spec = tcp(failures_before_warning=2, failures_before_critical=3, success_before_passing=2)
            bench.runs.start(spec, status="passing")
            await trio.sleep(54.9)
    assert [status for _, status, _ in bench.told] == ["warning", "critical", "passing"]
    assert 0 <= times[0] < 10
    assert [later - earlier for earlier, later in pairwise(times)] == [pytest.approx(11)] * 4


async def test_ten_thousand_checks_are_spread_and_never_more_than_the_cap_at_one_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = most = 0
    seen: set[str] = set()

    async def run(spec: CheckSpec, *_: object) -> Result:
        nonlocal running, most
        running += 1
        most = max(most, running)
        seen.add(spec.check_id)
        await trio.sleep(0.2)
        running -= 1
        return Result("passing", "")

    bench = Bench(replace(SETTINGS, asking_max=50))
    with kind_tcp(run):
        async with bench.running():
            for number in range(10_000):
                bench.runs.start(tcp(f"c{number}", interval_s=60.0), status="critical")
            tasks = trio.lowlevel.current_statistics().tasks_living
            await trio.sleep(61)
    assert len(seen) == 10_000
    assert most <= 50
    assert tasks < 20


async def test_one_that_hangs_keeps_one_place_and_delays_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    counts: dict[str, int] = {}

    async def run(spec: CheckSpec, settings: object, timeout_s: float) -> Result:
        counts[spec.check_id] = counts.get(spec.check_id, 0) + 1
        if spec.check_id == "hangs":
            await trio.sleep_forever()  # not even its own deadline ends it
        return Result("passing", "")

    bench = Bench(replace(SETTINGS, asking_max=2))
    with kind_tcp(run):
        async with bench.running():
            for name in ("hangs", "a", "b", "c"):
                bench.runs.start(tcp(name), status="critical")
            await trio.sleep(45)
            assert min(counts[name] for name in "abc") >= 4
            await trio.sleep(30)
    assert ("hangs", "critical", "the check did not end in time") in bench.told
    assert counts["hangs"] == 2


async def test_a_defect_makes_its_check_critical_and_no_other(autojump_clock: trio.testing.MockClock) -> None:
    async def run(spec: CheckSpec, *_: object) -> Result:
        if spec.check_id == "broken":
            raise ZeroDivisionError("oops")
        return Result("passing", "fine")

    bench = Bench()
    with kind_tcp(run):
        async with bench.running():
            bench.runs.start(tcp("broken"), status="passing")
            bench.runs.start(tcp("good"), status="critical")
            await trio.sleep(25)
    assert {status for check, status, _ in bench.told if check == "broken"} == {"critical"}
    assert len([1 for check, _, _ in bench.told if check == "good"]) >= 2


async def test_a_check_that_is_stopped_or_replaced_while_it_runs_is_not_told_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def run(spec: CheckSpec, *_: object) -> Result:
        await trio.sleep(5)
        return Result("passing", spec.name)

    bench = Bench(replace(SETTINGS, asking_max=1))
    with kind_tcp(run):
        async with bench.running():
            bench.runs.start(tcp("c"), status="critical")
            await trio.sleep(11)
            bench.runs.start(replace(tcp("c"), name="new"), status="critical")
            await trio.sleep(16)
            assert {output for _, _, output in bench.told} <= {"c", "new"}
            before = len(bench.told)
            bench.runs.stop("c")
            await trio.sleep(60)
            assert len(bench.told) == before
    assert ("c", "passing", "new") in bench.told


async def test_a_real_check_from_start_to_report() -> None:
    bench = Bench(replace(SETTINGS, scripts_from_anywhere=True))
    async with bench.running():
        bench.runs.start(
            CheckSpec(check_id="s", name="s", args=["/bin/echo", "hi"], interval_s=0.001), status="critical"
        )
        with trio.fail_after(60):
            while not bench.told:
                await trio.sleep(0.01)
    assert bench.told[0] == ("s", "passing", "hi\n")


# Alias


def alias(check_id: str = "al", service: str = "web", node: str = "") -> CheckSpec:
    return CheckSpec(check_id=check_id, name=check_id, alias_service=service, alias_node=node)


def test_as_bad_as_the_worst() -> None:
    good, bad = health("g", "passing"), health("b", "critical", "broken", service_id="web")
    weak, other = health("w", "warning", "slow"), health("o", "critical", service_id="other")

    def look(*checks: HealthCheck) -> Result:
        return mirrored(checks, check_id="al", service_id="web")

    assert look() == Result("passing", "No checks found.")
    assert look(other) == Result("passing", "No checks found.")
    assert look(good, other) == Result("passing", "All checks passing.")
    assert look(weak, good, health("w2", "warning", "later")) == Result("warning", 'Aliased check "w" failing: slow')
    assert look(weak, bad) == Result("critical", 'Aliased check "b" failing: broken')
    assert look(health("al", "critical")) == Result("passing", "No checks found.")
    chain = health("al2", "critical", 'Aliased check "b" failing: broken', kind="alias")
    assert look(chain) == Result("critical", 'Aliased check "b" failing: broken')


async def test_an_alias_follows_its_service(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with bench.running():
        bench.runs.start(alias(), status="critical")
        await trio.sleep(1)
        assert bench.told.pop() == ("al", "critical", "Service web could not be found on node here")
        bench.local.set("web", health("c", "passing"))
        await trio.sleep(1)
        assert bench.told.pop() == ("al", "passing", "All checks passing.")
        bench.local.set("web", health("c", "passing", "other output"))
        await trio.sleep(100)
        assert bench.told == []
        bench.runs.stop("al")
        bench.local.set("web", health("c", "critical"))
        await trio.sleep(1)
    assert bench.told == []
    assert bench.local.watchers == []


async def test_aliases_of_another_node_share_one_query(autojump_clock: trio.testing.MockClock) -> None:
    servers = Servers(
        ChecksReply(checks=[health("a", "passing")], meta=QueryMeta(index=7)),
        ChecksReply(checks=[health("a", "critical", "out")], meta=QueryMeta(index=9)),
        NoServers(),
        ChecksReply(checks=[], meta=QueryMeta(index=3)),
    )
    bench = Bench(servers=servers)
    bench.runs.start(alias("a1", node="there"), status="critical")
    async with bench.running():
        bench.runs.start(alias("a2", "db", node="there"), status="critical")
        await trio.sleep(20)
    for name in ("a1", "a2"):
        assert [(status, output) for check, status, output in bench.told if check == name] == [
            ("passing", "All checks passing."),
            ("critical", 'Aliased check "a" failing: out'),
            ("critical", "Failure checking aliased node or service: No known Consul servers"),
            ("passing", "No checks found."),
        ]
    assert [request.options.index_min for request in servers.requests] == [0, 7, 9, 0, 3]
    assert {request.node for request in servers.requests} == {"there"}
    assert {request.options.consistency for request in servers.requests} == {Consistency.STALE}


async def test_nobody_watches_a_node_that_nobody_mirrors(autojump_clock: trio.testing.MockClock) -> None:
    servers = Servers()
    bench = Bench(servers=servers)
    async with bench.running():
        bench.runs.start(alias("a1", node="there"), status="critical")
        await trio.sleep(1)
        tasks = trio.lowlevel.current_statistics().tasks_living
        bench.runs.stop("a1")
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == tasks - 1


async def test_two_aliases_of_one_another_come_to_rest(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    states = {"a": ("critical", ""), "b": ("critical", "")}

    def report(check_id: str, status: str, output: str) -> None:
        bench.told.append((check_id, status, output))
        states[check_id] = (status, output)
        show()

    def show() -> None:
        bench.local.set("A", health("a", *states["a"], service_id="A", kind="alias"))
        bench.local.set("B", health("b", *states["b"], service_id="B", kind="alias"))

    bench.runs._report = report
    show()
    async with bench.running():
        bench.runs.start(replace(alias("a", "B"), service_id="A"), status="critical")
        bench.runs.start(replace(alias("b", "A"), service_id="B"), status="critical")
        await trio.sleep(60)
    assert len(bench.told) < 6
