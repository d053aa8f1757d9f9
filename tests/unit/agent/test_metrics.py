"""The task that closes intervals, what it measures of the process, and Prometheus' format."""

import gc

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from agent.exposition import exposition
from agent.metrics import Collector, dump_text
from base.telemetry import TELEMETRY, Telemetry, TelemetrySettings

BEGUN_UNIX_S = 1_795_428_003.0


class Wall:
    """A wall clock that goes with trio's."""

    def monotonic_s(self) -> float:
        return trio.current_time()

    def wall_unix_s(self) -> float:
        return BEGUN_UNIX_S + trio.current_time()


async def test_intervals_end_at_whole_tens_of_seconds(autojump_clock: MockClock) -> None:
    telemetry = Telemetry()
    async with trio.open_nursery() as nursery:
        await nursery.start(Collector(telemetry, clock=Wall()).run)
        await trio.sleep(6.9)
        assert telemetry.intervals_count == 0
        await trio.sleep(0.2)
        assert (telemetry.intervals_count, telemetry.latest(0).seconds) == (1, 7.0)
        await trio.sleep(10)
        assert (telemetry.intervals_count, telemetry.latest(0).seconds) == (2, 10.0)
        assert telemetry.latest(0).begun_unix_s % 10 == 0
        nursery.cancel_scope.cancel()


async def test_the_process_measures_itself_while_the_collector_runs() -> None:
    callbacks_count = len(gc.callbacks)
    async with trio.open_nursery() as nursery:
        await nursery.start(Collector().run)
        gc.collect()
        TELEMETRY.read_gauges()
        values = {name: one.value for name, one in TELEMETRY.everything()[1]}
        assert (values["consul.runtime.alloc_bytes"] or 0) > 1_000_000
        assert (values["consul.runtime.num_goroutines"] or 0) >= 2
        assert (values["consul.runtime.total_gc_runs"] or 0) >= 1
        assert (values["consul.runtime.open_files"] or 0) >= 3
        nursery.cancel_scope.cancel()
    assert len(gc.callbacks) == callbacks_count


def test_prometheus_can_read_what_is_exposed() -> None:
    telemetry = Telemetry()
    telemetry.configure(TelemetrySettings(host_name=""))
    telemetry.counter("raft.apply").add(3)
    telemetry.gauge("raft.leader-x.term").set(2.5)
    answers = telemetry.samples_by("api.http", "method", "path")
    answers.labelled("GET", 'a"b\\c\n').observe(4.0)
    answers.labelled("PUT", "v1.kv._").observe(1.0)
    text = exposition(telemetry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["consul_raft_apply"].type == "counter"
    assert families["consul_raft_leader_x_term"].type == "gauge"
    http = families["consul_api_http"]
    assert http.type == "summary"
    found = {
        (one.name, tuple(sorted((key, value) for key, value in one.labels.items()))): one.value for one in http.samples
    }
    assert found["consul_api_http_count", (("method", "PUT"), ("path", "v1.kv._"))] == 1.0
    assert found["consul_api_http_sum", (("method", "GET"), ("path", 'a"b\\c\n'))] == 4.0
    assert found["consul_api_http", (("method", "PUT"), ("path", "v1.kv._"), ("quantile", "0.99"))] == 1.0
    assert "# TYPE consul_raft_apply counter\nconsul_raft_apply 3.0\n" in text


@pytest.mark.parametrize("closed", [False, True])
def test_counters_of_prometheus_run_on_when_an_interval_ends(closed: bool) -> None:
    telemetry = Telemetry()
    telemetry.counter("a").add(2)
    telemetry.samples("b").observe(2.0)
    if closed:
        telemetry.roll(10.0)
    text = exposition(telemetry).decode()
    assert "consul_a 2.0\n" in text
    assert "consul_b_sum 2.0\nconsul_b_count 1.0\n" in text


def test_an_interval_can_be_written_as_text() -> None:
    telemetry = Telemetry()
    telemetry.gauge("g").set(1)
    telemetry.counters("c", "who").labelled("x").add(2)
    telemetry.samples("s").observe(4.0)
    telemetry.roll(10.0)
    assert dump_text(telemetry.latest(11.0)) == (
        "[G] 'consul.g': 1.000\n"
        "[C] 'consul.c.x': Count: 1 Min: 2.000 Mean: 2.000 Max: 2.000 Stddev: 0.000 Sum: 2.000\n"
        "[S] 'consul.s': Count: 1 Min: 4.000 Mean: 4.000 Max: 4.000 Stddev: 0.000 Sum: 4.000\n"
    )
