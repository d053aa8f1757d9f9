"""Telemetry in Prometheus' text format, written by Prometheus' own library. Source: modern deltas, section 11.

Names are those of telemetry with `_` for what Prometheus does not allow. Counters and sums run from the start of the
process, as Prometheus wants them; quantiles are those of the newest values.
"""

import re
from collections.abc import Iterable

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from base.telemetry import Counter, Gauge, Samples, Telemetry

EXPOSITION_TYPE = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
_odd = re.compile(r"[^a-zA-Z0-9_:]").sub


class _Once(Collector):
    """What the library asks for families of one name."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families


def exposition(telemetry: Telemetry) -> bytes:
    """Return everything that is shown, one family a name, sorted."""
    counters, gauges, samples = telemetry.everything()
    families: dict[str, Metric] = {}
    for name, one in counters:
        _counter(_family(families, name, "unknown"), one)
    for name, gauge in gauges:
        _gauge(_family(families, name, "gauge"), gauge)
    for name, sample in samples:
        _summary(_family(families, name, "summary"), sample)
    text = generate_latest(_Once([families[name] for name in sorted(families)]))
    # The library gives a counter the suffix of newer formats, "_total", in its head only; dashboards know it without.
    return text.replace(b" untyped\n", b" counter\n")


def _family(families: dict[str, Metric], name: str, kind: str) -> Metric:
    """Return the family of a name. Without help text: names and their meaning are in the documentation."""
    odd = _odd("_", name)
    plain = f"_{odd}" if odd[:1].isdigit() else odd
    family = families.get(plain)
    if family is None:
        family = families[plain] = Metric(plain, name, kind)
    return family


def _counter(family: Metric, one: Counter) -> None:
    family.add_sample(family.name, dict(one.labels), float(one.total))


def _gauge(family: Metric, one: Gauge) -> None:
    family.add_sample(family.name, dict(one.labels), one.value if one.value is not None else 0.0)


def _summary(family: Metric, one: Samples) -> None:
    labels = dict(one.labels)
    for part, value in one.quantiles().items():
        family.add_sample(family.name, {**labels, "quantile": str(part)}, value)
    count, total = one.totals()
    family.add_sample(f"{family.name}_sum", labels, total)
    family.add_sample(f"{family.name}_count", labels, float(count))
