"""Counters, gauges and samples in intervals; names as the configuration wants them; everything bounded."""

from base.telemetry import INTERVALS_KEPT, LABEL_SETS_MAX, OVERFLOW, RECENT_MAX, Telemetry, TelemetrySettings


class Clock:
    """Says what it is told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_interval_holds_what_was_counted_in_it_and_the_next_one_does_not() -> None:
    telemetry = Telemetry()
    applied = telemetry.counter("raft.apply")
    telemetry.begin(100.0)
    applied.increment()
    applied.increment()
    applied.add(5)
    telemetry.roll(110.0)
    (row,) = telemetry.latest(111.0).counters
    assert (row.name, row.count, row.sum, row.least, row.most) == ("consul.raft.apply", 3, 7.0, 1.0, 5.0)
    assert (telemetry.latest(111.0).begun_unix_s, telemetry.latest(111.0).seconds) == (100.0, 10.0)
    telemetry.roll(120.0)
    assert telemetry.latest(121.0).counters == []
    assert applied.total == 7


def test_before_the_first_interval_is_closed_what_there_is_of_it_is_shown() -> None:
    telemetry = Telemetry()
    telemetry.begin(100.0)
    telemetry.counter("a").increment()
    assert telemetry.latest(105.0).counters[0].sum == 1.0
    assert telemetry.latest(105.0).seconds == 5.0
    telemetry.roll(110.0)
    assert telemetry.latest(111.0).counters[0].sum == 1.0


def test_samples_have_mean_extremes_and_deviation() -> None:
    telemetry = Telemetry()
    took_ms = telemetry.samples("kvs.apply")
    for value in (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0):
        took_ms.observe(value)
    telemetry.roll(10.0)
    (row,) = telemetry.latest(11.0).samples
    assert (row.count, row.sum, row.mean, row.least, row.most) == (8, 40.0, 5.0, 2.0, 9.0)
    assert abs(row.deviation - 2.138) < 0.001
    assert took_ms.totals() == (8, 40.0)
    assert took_ms.quantiles() == {0.5: 5.0, 0.9: 9.0, 0.99: 9.0}
    telemetry.roll(20.0)
    assert took_ms.quantiles() == {}
    assert took_ms.totals() == (8, 40.0)


def test_durations_are_milliseconds_of_the_clock_that_was_handed_in() -> None:
    clock = Clock()
    telemetry = Telemetry(clock=clock)
    took_ms = telemetry.samples("a")
    begun_s = telemetry.now_s()
    clock.now_s = 0.25
    took_ms.since(begun_s)
    assert (took_ms.count, took_ms.sum) == (1, 250.0)


def test_gauges_stand_until_they_are_set_and_unset_ones_are_not_shown() -> None:
    telemetry = Telemetry()
    gauge = telemetry.gauge("raft.term")
    telemetry.gauge("never.set")
    gauge.set(3)
    for end_s in (10.0, 20.0):
        telemetry.roll(end_s)
        assert [(row.name, row.value) for row in telemetry.latest(30.0).gauges] == [("consul.raft.term", 3)]


def test_readers_are_asked_before_gauges_are_looked_at_and_not_after_their_block() -> None:
    telemetry = Telemetry()
    gauge = telemetry.gauge("a")
    asked: list[int] = []

    def read() -> None:
        asked.append(1)
        gauge.set(len(asked))

    with telemetry.reader(read):
        telemetry.roll(10.0)
        assert telemetry.latest(11.0).gauges[0].value == 1
        telemetry.everything()
    telemetry.roll(20.0)
    assert len(asked) == 2


def test_lists_are_sorted_by_name_and_labels() -> None:
    telemetry = Telemetry()
    answers = telemetry.counters("b", "method", "path")
    for values in (("PUT", "x"), ("GET", "z"), ("GET", "a")):
        answers.labelled(*values).increment()
    telemetry.counter("a").increment()
    telemetry.roll(10.0)
    rows = telemetry.latest(11.0).counters
    assert [(row.name, tuple(value for _, value in row.labels)) for row in rows] == [
        ("consul.a", ()),
        ("consul.b", ("GET", "a")),
        ("consul.b", ("GET", "z")),
        ("consul.b", ("PUT", "x")),
    ]


def test_a_handle_is_made_once_and_label_sets_have_a_bound() -> None:
    telemetry = Telemetry()
    family = telemetry.counters("a", "who")
    assert family.labelled("x") is family.labelled("x")
    handles = {id(family.labelled(f"client-{number}")) for number in range(LABEL_SETS_MAX * 3)}
    assert len(handles) == LABEL_SETS_MAX
    assert family.labelled("one more").labels == (("who", OVERFLOW),)


def test_memory_does_not_grow_with_time_or_values() -> None:
    telemetry = Telemetry()
    took_ms = telemetry.samples("a")
    for number in range(RECENT_MAX * 4):
        took_ms.observe(float(number))
    assert len(took_ms.recent) == RECENT_MAX
    for number in range(100):
        telemetry.roll(float(number))
    assert len(telemetry._closed) == INTERVALS_KEPT
    assert telemetry.intervals_count == 100


def test_names_have_the_configured_prefix_and_gauges_the_host() -> None:
    telemetry = Telemetry()
    telemetry.configure(TelemetrySettings(prefix="mine", host_name="h1"))
    telemetry.gauge("g").set(1)
    telemetry.counter("c").increment()
    telemetry.roll(10.0)
    interval = telemetry.latest(11.0)
    assert (interval.gauges[0].name, interval.counters[0].name) == ("mine.h1.g", "mine.c")


def test_the_longest_filter_that_fits_decides() -> None:
    telemetry = Telemetry()
    telemetry.configure(TelemetrySettings(allowed=("consul.raft.apply",), blocked=("consul.raft", "consul.rpc")))
    assert telemetry.is_shown("raft.apply")
    assert not telemetry.is_shown("raft.commitTime")
    assert not telemetry.is_shown("rpc.request")
    assert telemetry.is_shown("kvs.apply")
    telemetry.configure(TelemetrySettings(allowed=("consul.kvs",), filter_default=False))
    assert telemetry.is_shown("kvs.apply")
    assert not telemetry.is_shown("raft.apply")
    for name in ("kvs.apply", "raft.apply"):
        telemetry.counter(name).increment()
    assert [name for name, _ in telemetry.everything()[0]] == ["consul.kvs.apply"]


def test_a_reader_that_fails_is_counted_and_hurts_nobody() -> None:
    telemetry = Telemetry()
    gauge = telemetry.gauge("a")
    asked: list[int] = []

    def fail() -> None:
        asked.append(1)
        raise OSError("no /proc")

    with telemetry.reader(fail), telemetry.reader(lambda: gauge.set(1)):
        telemetry.roll(10.0)
    (row,) = telemetry.latest(11.0).counters
    assert (row.name, row.sum, asked) == ("consul.telemetry.reader_failures", 1.0, [1])
    assert telemetry.latest(11.0).gauges[0].value == 1
