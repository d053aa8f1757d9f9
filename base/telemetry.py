"""Counters, gauges and samples: what a process measures of itself, in intervals of ten seconds.

    _applied = counter("raft.apply")                 # beside the code that measures
    _took_ms = samples("kvs.apply")
    _answers = counters("http.refused", "status")    # one handle per label value, taken once and kept

    _applied.increment()
    begun_s = TELEMETRY.now_s()
    _took_ms.since(begun_s)

What happens often costs an addition: handles are bound when a module is loaded or a row is made, never looked up by
labels while a request waits. Nothing is locked; a number that a worker thread adds may get lost in a race, which is
no harm. `Telemetry.roll` closes an interval; a task of the agent calls it. How many label sets a name may have is
bounded; further ones share one handle.

Source: agent specification, section 13; HTTP API, section 1.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import msgspec

INTERVAL_S = 10.0
INTERVALS_KEPT = 6
"""One minute."""
LABEL_SETS_MAX = 256
"""Of one name. Routes times methods stay below it; whatever has more is not something to count by."""
RECENT_MAX = 256
"""Newest values of a sample that quantiles are made of: some 8 KiB each."""
QUANTILES = (0.5, 0.9, 0.99)
OVERFLOW = "other"
"""Label value of everything beyond LABEL_SETS_MAX."""
Labels = tuple[tuple[str, str], ...]


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`telemetry{}` of the configuration, resolved."""

    prefix: str = "consul"
    """`metrics_prefix`: first part of every name."""
    host_name: str = ""
    """Second part of the names of gauges; "" with `disable_hostname`."""
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    """`prefix_filter`: beginnings of names with "+" and with "-". The longest that fits decides."""
    filter_default: bool = True
    """Whether a name is shown that no filter fits."""
    prometheus_retention_s: float = 0.0
    """0: no Prometheus exposition."""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """What was added to a counter, or sampled, in one interval. `sum`, `least` and `most` in the unit of the values."""

    name: str
    labels: Labels
    count: int
    sum: float
    sum_of_squares: float
    least: float
    most: float

    @property
    def mean(self) -> float:
        """The arithmetic mean, 0 for none."""
        return self.sum / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation of a sample of more than one value, else 0."""
        if self.count < 2:
            return 0.0
        square = self.sum_of_squares - self.sum * self.sum / self.count
        return math.sqrt(max(square, 0.0) / (self.count - 1))


class GaugeValue(msgspec.Struct, frozen=True, kw_only=True):
    """What a gauge stood at."""

    name: str
    labels: Labels
    value: float


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """One closed interval. Lists are sorted by name and labels."""

    begun_unix_s: float
    seconds: float
    gauges: list[GaugeValue]
    counters: list[Aggregate]
    samples: list[Aggregate]


class Counter:
    """Counts. `total` since the start of the process."""

    __slots__ = ("_adds", "_closed_calls", "_closed_total", "_least", "_most", "calls", "labels", "name", "total")

    def __init__(self, name: str, labels: Labels = ()) -> None:
        self.name = name
        self.labels = labels
        self.calls = 0
        self.total = 0
        self._begin()

    def _begin(self) -> None:
        self._closed_calls = self.calls
        self._closed_total = self.total
        self._adds = 0
        self._least = self._most = 1

    def increment(self) -> None:
        """Count one."""
        self.calls += 1
        self.total += 1

    def add(self, amount: int) -> None:
        """Count `amount` at once."""
        self.calls += 1
        self.total += amount
        self._least = min(self._least, amount) if self._adds else amount
        self._most = max(self._most, amount) if self._adds else amount
        self._adds += 1

    def peek(self) -> Aggregate:
        """Return what was counted since the last interval was closed."""
        count = self.calls - self._closed_calls
        total = float(self.total - self._closed_total)
        ones = count > self._adds
        return Aggregate(
            name=self.name,
            labels=self.labels,
            count=count,
            sum=total,
            sum_of_squares=total * total / count if count else 0.0,
            least=float(min(self._least, 1) if ones else self._least),
            most=float(max(self._most, 1) if ones else self._most),
        )

    def close(self) -> Aggregate:
        """Return the same, and begin the next interval."""
        closed = self.peek()
        self._begin()
        return closed


class Gauge:
    """A value that stands until it is set again. None: never set, so it is not shown."""

    __slots__ = ("labels", "name", "value")

    def __init__(self, name: str, labels: Labels = ()) -> None:
        self.name = name
        self.labels = labels
        self.value: float | None = None

    def set(self, value: float) -> None:
        """Let it stand at `value`."""
        self.value = value


class Samples:
    """Values of which mean, extremes and quantiles matter, such as times in milliseconds."""

    __slots__ = (
        "_clock", "count", "labels", "least", "most", "name", "recent", "sum", "sum_of_squares", "total_count",
        "total_sum",
    )  # fmt: skip

    def __init__(self, name: str, labels: Labels = (), clock: Callable[[], float] = time.perf_counter) -> None:
        self.name = name
        self.labels = labels
        self._clock = clock
        self.recent: deque[float] = deque(maxlen=RECENT_MAX)
        self.total_count = 0
        self.total_sum = 0.0
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.sum_of_squares = 0.0
        self.least = math.inf
        self.most = -math.inf

    def observe(self, value: float) -> None:
        """Take a value."""
        self.count += 1
        self.sum += value
        self.sum_of_squares += value * value
        if value < self.least:
            self.least = value
        if value > self.most:
            self.most = value
        self.recent.append(value)

    def since(self, begun_s: float) -> None:
        """Take the milliseconds that have passed since `begun_s` of `Telemetry.now_s`."""
        self.observe((self._clock() - begun_s) * 1000.0)

    def peek(self) -> Aggregate:
        """Return what was sampled since the last interval was closed."""
        return Aggregate(
            name=self.name,
            labels=self.labels,
            count=self.count,
            sum=self.sum,
            sum_of_squares=self.sum_of_squares,
            least=self.least if self.count else 0.0,
            most=self.most if self.count else 0.0,
        )

    def close(self) -> Aggregate:
        """Return the same, and begin the next interval. Without any value in it, quantiles end, too."""
        closed = self.peek()
        self.total_count += self.count
        self.total_sum += self.sum
        if not self.count:
            self.recent.clear()
        self._begin()
        return closed

    def totals(self) -> tuple[int, float]:
        """Return count and sum since the start of the process."""
        return self.total_count + self.count, self.total_sum + self.sum

    def quantiles(self) -> dict[float, float]:
        """Return QUANTILES of the newest RECENT_MAX values, {} without any."""
        values = sorted(self.recent)
        return {part: values[min(int(part * len(values)), len(values) - 1)] for part in QUANTILES} if values else {}


Instrument = Counter | Gauge | Samples
Kind = TypeVar("Kind", Counter, Gauge, Samples)


class Family(Generic[Kind]):
    """All handles of one name. Take a handle once and keep it: `labelled` builds tuples."""

    def __init__(self, name: str, label_names: tuple[str, ...], make: Callable[[Labels], Kind]) -> None:
        self._label_names = label_names
        self._make: Callable[[Labels], Kind] = make
        self._handles: dict[tuple[str, ...], Kind] = {}
        self.name = name

    def labelled(self, *values: str) -> Kind:
        """Return the handle of these label values; beyond LABEL_SETS_MAX all further ones share one."""
        handle = self._handles.get(values)
        if handle is None:
            assert len(values) == len(self._label_names)
            if len(self._handles) >= LABEL_SETS_MAX:
                values = (OVERFLOW,) * len(values)
                handle = self._handles.get(values)
            if handle is None:
                handle = self._handles[values] = self._make(tuple(zip(self._label_names, values, strict=True)))
        return handle


class Telemetry:
    """Everything that a process measures. One instance, `TELEMETRY`; tests make their own."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Measure durations by `clock` (seconds that never go backwards)."""
        self.now_s = clock
        self.settings = TelemetrySettings()
        self.intervals_count = 0
        """Intervals that were closed since the start."""
        self._counters: dict[tuple[str, Labels], Counter] = {}
        self._gauges: dict[tuple[str, Labels], Gauge] = {}
        self._samples: dict[tuple[str, Labels], Samples] = {}
        self._readers: list[Callable[[], None]] = []
        self._closed: deque[Interval] = deque(maxlen=INTERVALS_KEPT)
        self._begun_unix_s = 0.0
        self._failures = self.counter("telemetry.reader_failures")

    def configure(self, settings: TelemetrySettings) -> None:
        """Show names as `settings` say, from now on."""
        self.settings = settings

    def counter(self, name: str, labels: Labels = ()) -> Counter:
        """Return the counter of that name and labels; there is one."""
        return self._counters.setdefault((name, labels), Counter(name, labels))

    def gauge(self, name: str, labels: Labels = ()) -> Gauge:
        """Return the gauge of that name and labels."""
        return self._gauges.setdefault((name, labels), Gauge(name, labels))

    def samples(self, name: str, labels: Labels = ()) -> Samples:
        """Return the samples of that name and labels."""
        return self._samples.setdefault((name, labels), Samples(name, labels, self.now_s))

    def counters(self, name: str, *label_names: str) -> Family[Counter]:
        """Return the family of counters of that name."""
        return Family(name, label_names, lambda labels: self.counter(name, labels))

    def gauges(self, name: str, *label_names: str) -> Family[Gauge]:
        """Return the family of gauges of that name."""
        return Family(name, label_names, lambda labels: self.gauge(name, labels))

    def samples_by(self, name: str, *label_names: str) -> Family[Samples]:
        """Return the family of samples of that name."""
        return Family(name, label_names, lambda labels: self.samples(name, labels))

    @contextmanager
    def reader(self, read: Callable[[], None]) -> Iterator[None]:
        """Call `read` whenever gauges are about to be looked at, until the block ends. It sets some and is quick."""
        self._readers.append(read)
        try:
            yield
        finally:
            self._readers.remove(read)

    def read_gauges(self) -> None:
        """Let all readers set their gauges. One that fails is counted, and its gauges stay as they were."""
        for read in list(self._readers):
            try:
                read()
            except Exception:  # the border: measuring must not end what is measured
                self._failures.increment()

    def begin(self, unix_s: float) -> None:
        """Say when the first interval begins; what was counted before belongs to it."""
        self._begun_unix_s = unix_s

    def roll(self, unix_s: float) -> None:
        """Close the interval that ends at the wall time `unix_s`."""
        self.read_gauges()
        self._closed.append(self._interval(unix_s, close=True))
        self._begun_unix_s = unix_s
        self.intervals_count += 1

    def latest(self, unix_s: float) -> Interval:
        """Return the last closed interval; before there is one, what there is of the first by `unix_s`."""
        if self._closed:
            return self._closed[-1]
        self.read_gauges()
        return self._interval(unix_s, close=False)

    def _interval(self, unix_s: float, *, close: bool) -> Interval:
        counters = [one.close() if close else one.peek() for one in self._counters.values()]
        samples = [one.close() if close else one.peek() for one in self._samples.values()]
        return Interval(
            begun_unix_s=self._begun_unix_s,
            seconds=max(unix_s - self._begun_unix_s, 0.001) if self._begun_unix_s else INTERVAL_S,
            gauges=[
                GaugeValue(name=self._shown_gauge(one.name), labels=one.labels, value=one.value)
                for one in sorted(self._gauges.values(), key=_order)
                if one.value is not None and self.is_shown(one.name)
            ],
            counters=self._shown(counters),
            samples=self._shown(samples),
        )

    def _shown(self, aggregates: list[Aggregate]) -> list[Aggregate]:
        return [
            msgspec.structs.replace(one, name=self.shown_name(one.name))
            for one in sorted(aggregates, key=_order)
            if one.count and self.is_shown(one.name)
        ]

    def shown_name(self, name: str) -> str:
        """Return a name with the configured prefix."""
        return f"{self.settings.prefix}.{name}" if self.settings.prefix else name

    def _shown_gauge(self, name: str) -> str:
        host = self.settings.host_name
        return self.shown_name(f"{host}.{name}" if host else name)

    def is_shown(self, name: str) -> bool:
        """Whether the filters let a name (without prefix) through."""
        settings = self.settings
        full = self.shown_name(name)
        allowed = max((len(start) for start in settings.allowed if full.startswith(start)), default=-1)
        blocked = max((len(start) for start in settings.blocked if full.startswith(start)), default=-1)
        if allowed == blocked:
            return settings.filter_default if allowed < 0 else False
        return allowed > blocked

    def everything(self) -> tuple[list[tuple[str, Counter]], list[tuple[str, Gauge]], list[tuple[str, Samples]]]:
        """Return all that is shown and was ever used, with shown names, sorted; gauges freshly read."""
        self.read_gauges()
        return (
            [
                (self.shown_name(one.name), one)
                for one in sorted(self._counters.values(), key=_order)
                if one.calls and self.is_shown(one.name)
            ],
            [
                (self._shown_gauge(one.name), one)
                for one in sorted(self._gauges.values(), key=_order)
                if one.value is not None and self.is_shown(one.name)
            ],
            [
                (self.shown_name(one.name), one)
                for one in sorted(self._samples.values(), key=_order)
                if one.totals()[0] and self.is_shown(one.name)
            ],
        )

    def names(self) -> set[str]:
        """Return every name that was declared, without prefix."""
        return {name for table in (self._counters, self._gauges, self._samples) for name, _ in table}


def _order(one: Instrument | Aggregate) -> tuple[str, Labels]:
    return one.name, one.labels


TELEMETRY = Telemetry()
counter = TELEMETRY.counter
gauge = TELEMETRY.gauge
samples = TELEMETRY.samples
counters = TELEMETRY.counters
gauges = TELEMETRY.gauges
samples_by = TELEMETRY.samples_by
