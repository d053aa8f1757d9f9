"""When checks run: spread at first, then after pauses; places by lane; TTL deadlines."""

import random

from hypothesis import given
from hypothesis import strategies as st

from agent.checks.schedule import Lane, Planned, Schedule, interval_s_of, timeout_s_of
from agent.checks.ttl import EXPIRED_TEXT, TTLTimers
from structs.check_spec import CheckSpec


def schedule(asking: int = 10, processes: int = 2) -> Schedule:
    return Schedule({Lane.ASKING: asking, Lane.PROCESSES: processes}, random.Random(7))


def test_first_runs_are_spread_over_the_interval() -> None:
    subject = schedule(asking=10_000)
    for number in range(10_000):
        subject.add(f"c{number}", interval_s=10.0, lane=Lane.ASKING, now_s=100.0)
    counts = [len(subject.due(100.0 + second)) for second in range(1, 11)]
    assert sum(counts) == 10_000
    assert all(800 < count < 1200 for count in counts)


def test_the_next_run_comes_an_interval_after_the_end_of_the_last() -> None:
    subject = schedule()
    planned = subject.add("c", interval_s=10.0, lane=Lane.ASKING, now_s=0.0)
    assert subject.due(10.0) == [planned]
    assert subject.next_s() is None
    assert subject.due(99.0) == []
    subject.finished(planned, 50.0)
    assert subject.next_s() == 60.0
    assert subject.due(59.9) == []
    assert subject.due(60.0) == [planned]


def test_a_full_lane_keeps_its_own_waiting_in_line_and_nobody_else() -> None:
    subject = schedule(asking=1, processes=2)
    scripts = [subject.add(f"s{n}", interval_s=1.0, lane=Lane.PROCESSES, now_s=0.0) for n in range(4)]
    asks = subject.add("h", interval_s=1.0, lane=Lane.ASKING, now_s=0.0)
    started = subject.due(1.0)
    assert asks in started
    assert len(started) == 3
    assert subject.is_anyone_waiting
    running = [planned for planned in started if planned is not asks]
    assert subject.due(2.0) == []
    subject.finished(running[0], 2.0)
    (third,) = subject.due(2.0)
    subject.finished(running[1], 2.0)
    (fourth,) = subject.due(2.0)
    assert {third, fourth} == set(scripts) - set(running)


def test_what_is_removed_runs_no_more_and_gives_its_place_back() -> None:
    subject = schedule(processes=1)
    first = subject.add("a", interval_s=1.0, lane=Lane.PROCESSES, now_s=0.0)
    assert subject.due(1.0) == [first]
    second = subject.add("a", interval_s=1.0, lane=Lane.PROCESSES, now_s=1.0)
    subject.remove(first)
    assert subject.due(2.0) == []
    subject.finished(first, 2.0)
    assert subject.due(2.0) == [second]
    subject.remove(second)
    subject.finished(second, 3.0)
    assert subject.next_s() is None


def test_removed_checks_do_not_pile_up() -> None:
    subject = schedule()
    kept = subject.add("kept", interval_s=3600.0, lane=Lane.ASKING, now_s=0.0)
    for number in range(1000):
        subject.remove(subject.add(f"c{number}", interval_s=3600.0, lane=Lane.ASKING, now_s=0.0))
    assert len(subject._heap) < 10
    assert subject.due(3600.0) == [kept]


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "finish", "pass"]), st.integers(0, 9)), max_size=80))
def test_never_more_at_one_time_than_there_are_places(steps: list[tuple[str, int]]) -> None:
    subject = schedule(asking=3, processes=1)
    now_s = 0.0
    known: dict[int, Planned] = {}
    running: list[Planned] = []
    for step, number in steps:
        now_s += 0.5
        if step == "add" and number not in known:
            lane = Lane.PROCESSES if number % 2 else Lane.ASKING
            known[number] = subject.add(str(number), interval_s=1.0, lane=lane, now_s=now_s)
        elif step == "remove" and number in known:
            subject.remove(known.pop(number))
        elif step == "finish" and running:
            subject.finished(running.pop(number % len(running)), now_s)
        running += subject.due(now_s)
        assert sum(planned.lane is Lane.ASKING for planned in running) <= 3
        assert sum(planned.lane is Lane.PROCESSES for planned in running) <= 1
        assert len(set(running)) == len(running)
    while running:
        subject.finished(running.pop(), now_s)
    now_s += 5.0
    seen: set[Planned] = set()
    for _ in range(20):
        for planned in subject.due(now_s):
            seen.add(planned)
            subject.finished(planned, now_s)
    assert seen == set(known.values()), "every check that is left runs again"


def spec(**more: object) -> CheckSpec:
    return CheckSpec(check_id="c", name="c", **more)  # type: ignore[arg-type]


def test_deadlines_by_kind() -> None:
    assert timeout_s_of(spec(http="http://x", interval_s=30.0)) == 10.0
    assert timeout_s_of(spec(http="http://x", interval_s=5.0)) == 5.0
    assert timeout_s_of(spec(http="http://x", interval_s=5.0, timeout_s=2.0)) == 2.0
    assert timeout_s_of(spec(tcp="x:1", interval_s=5.0, timeout_s=6.0)) == 5.0
    assert timeout_s_of(spec(args=["x"], interval_s=5.0)) == 30.0
    assert timeout_s_of(spec(args=["x"], interval_s=5.0, timeout_s=60.0)) == 60.0
    assert timeout_s_of(spec(grpc="x:1", interval_s=5.0)) == 10.0
    assert interval_s_of(spec(tcp="x:1", interval_s=0.01)) == 1.0


def test_a_ttl_expires_once_and_every_word_begins_it_anew() -> None:
    timers = TTLTimers()
    timers.add("c", 10.0, 0.0)
    timers.heard("c", "fine", 5.0)
    assert timers.expired(10.0) == []
    assert timers.left_s("c", 10.0) == 5.0
    assert timers.expired(15.0) == [("c", "TTL expired (last output before timeout follows): fine")]
    assert timers.expired(99.0) == []
    assert timers.left_s("c", 99.0) == 0.0
    timers.heard("c", "", 100.0)
    assert timers.expired(110.0) == [("c", EXPIRED_TEXT)]


def test_what_was_left_before_a_restart_counts_and_never_more_than_the_ttl() -> None:
    timers = TTLTimers()
    timers.add("a", 10.0, 0.0, left_s=3.0, output="x")
    timers.add("b", 10.0, 0.0, left_s=1e9)
    assert [name for name, _ in timers.expired(3.0)] == ["a"]
    assert [name for name, _ in timers.expired(10.0)] == ["b"]


def test_timers_that_are_heard_often_or_removed_do_not_pile_up() -> None:
    timers = TTLTimers()
    for number in range(10_000):
        timers.add("c", 10.0, float(number))
        timers.heard("c", "", float(number))
    assert len(timers._heap) < 100
    timers.remove("c")
    assert timers.expired(1e9) == []
    assert "c" not in timers
    assert timers.left_s("c", 0.0) is None
