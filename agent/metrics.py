"""The process's own gauges, and the task that closes the intervals of telemetry. Source: agent specification, 13."""

import gc
import time
from collections.abc import Mapping

import psutil
import trio

from base.clock import Clock, RealClock
from base.telemetry import INTERVAL_S, TELEMETRY, Interval, Labels, Telemetry, gauge, samples
from base.version import VERSION

_alloc_bytes = gauge("runtime.alloc_bytes")
_sys_bytes = gauge("runtime.sys_bytes")
_tasks = gauge("runtime.num_goroutines")
_threads = gauge("runtime.num_threads")
_descriptors = gauge("runtime.open_files")
_cpu_s = gauge("runtime.cpu_seconds")
_gc_runs = gauge("runtime.total_gc_runs")
_gc_pause_total_ns = gauge("runtime.total_gc_pause_ns")
_gc_pause_ns = samples("runtime.gc_pause_ns")
_uptime_s = gauge("process.uptime_seconds")
gauge("version", (("version", VERSION),)).set(1.0)


class ProcessGauges:
    """Memory, processor time, descriptors, tasks and collections of this process."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._begun_s = time.monotonic()
        self._collection_begun_ns = 0
        self._pause_total_ns = 0
        self._runs_count = 0

    def begin(self) -> None:
        """Begin to watch the collector of garbage."""
        gc.callbacks.append(self._on_collection)

    def end(self) -> None:
        """Watch it no more."""
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _: Mapping[str, int]) -> None:
        if phase == "start":
            self._collection_begun_ns = time.perf_counter_ns()
            return
        pause_ns = time.perf_counter_ns() - self._collection_begun_ns
        self._pause_total_ns += pause_ns
        self._runs_count += 1
        _gc_pause_ns.observe(float(pause_ns))

    def read(self) -> None:
        """Set the gauges."""
        with self._process.oneshot():
            memory = self._process.memory_info()
            times = self._process.cpu_times()
            _threads.set(self._process.num_threads())
        _descriptors.set(self._process.num_fds())
        _alloc_bytes.set(memory.rss)
        _sys_bytes.set(memory.vms)
        _cpu_s.set(times.user + times.system)
        _tasks.set(trio.lowlevel.current_statistics().tasks_living)
        _gc_runs.set(self._runs_count)
        _gc_pause_total_ns.set(self._pause_total_ns)
        _uptime_s.set(time.monotonic() - self._begun_s)


def dump_text(interval: Interval) -> str:
    """Return an interval as lines of text: gauges, counters, samples."""
    lines = [f"[G] '{_named(one.name, one.labels)}': {one.value:.3f}" for one in interval.gauges]
    for mark, rows in (("C", interval.counters), ("S", interval.samples)):
        lines += [
            f"[{mark}] '{_named(one.name, one.labels)}': Count: {one.count} Min: {one.least:.3f} Mean: {one.mean:.3f} "
            f"Max: {one.most:.3f} Stddev: {one.deviation:.3f} Sum: {one.sum:.3f}"
            for one in rows
        ]
    return "".join(f"{line}\n" for line in lines)


def _named(name: str, labels: Labels) -> str:
    return ".".join([name, *(value for _, value in labels)])


class Collector:
    """Closes an interval every ten seconds of the wall clock, as long as it runs."""

    def __init__(self, telemetry: Telemetry = TELEMETRY, *, clock: Clock | None = None) -> None:
        self._telemetry = telemetry
        self._clock = clock or RealClock()
        self._process = ProcessGauges()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        telemetry, clock = self._telemetry, self._clock
        telemetry.begin(clock.wall_unix_s())
        self._process.begin()
        try:
            with telemetry.reader(self._process.read):
                task_status.started()
                while True:
                    await trio.sleep(INTERVAL_S - clock.wall_unix_s() % INTERVAL_S)
                    telemetry.roll(clock.wall_unix_s())
        finally:
            self._process.end()
