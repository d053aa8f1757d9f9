"""/v1/agent/metrics: what the process measures of itself. Source: HTTP API, section 1; modern deltas, section 11."""

from collections.abc import Awaitable
from datetime import UTC, datetime

import msgspec
import trio

from acl.access import AGENT_READ
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, STREAMED, Response, json_response, text_response
from agent.http.streaming import follow, stream_rule
from base.clock import RealClock
from base.telemetry import TELEMETRY, Aggregate, Interval
from structs.json_codec import encode_json

PROMETHEUS_OFF_TEXT = "Prometheus is not enabled since its retention time is not positive"
STREAMS_MAX = 32
STREAM_LOOK_S = 1.0
"""Intervals are ten seconds: nobody waits for one for long after it is closed."""
TOO_MANY_TEXT = "Too many streams of this agent's metrics"
_clock = RealClock()
_streaming = trio.CapacityLimiter(STREAMS_MAX)


class GaugeJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A gauge as clients see it."""

    name: str = msgspec.field(name="Name")
    value: float = msgspec.field(name="Value")
    labels: dict[str, str] = msgspec.field(name="Labels")


class AggregateJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A counter or a sample; `rate` is the sum by seconds."""

    name: str = msgspec.field(name="Name")
    count: int = msgspec.field(name="Count")
    rate: float = msgspec.field(name="Rate")
    sum: float = msgspec.field(name="Sum")
    least: float = msgspec.field(name="Min")
    most: float = msgspec.field(name="Max")
    mean: float = msgspec.field(name="Mean")
    deviation: float = msgspec.field(name="Stddev")
    labels: dict[str, str] = msgspec.field(name="Labels")


class MetricsJSON(msgspec.Struct, frozen=True, kw_only=True):
    """One interval."""

    timestamp: str = msgspec.field(name="Timestamp")
    gauges: list[GaugeJSON] = msgspec.field(name="Gauges")
    points: list[str] = msgspec.field(name="Points")
    counters: list[AggregateJSON] = msgspec.field(name="Counters")
    samples: list[AggregateJSON] = msgspec.field(name="Samples")


def metrics_json(interval: Interval) -> MetricsJSON:
    """Return an interval in its wire shape. There are no points: nothing of ours is of that kind."""
    begun = datetime.fromtimestamp(interval.begun_unix_s, tz=UTC)
    return MetricsJSON(
        timestamp=begun.strftime("%Y-%m-%d %H:%M:%S +0000 UTC"),
        gauges=[GaugeJSON(name=one.name, value=one.value, labels=dict(one.labels)) for one in interval.gauges],
        points=[],
        counters=[_aggregate_json(one, interval.seconds) for one in interval.counters],
        samples=[_aggregate_json(one, interval.seconds) for one in interval.samples],
    )


def _aggregate_json(one: Aggregate, seconds: float) -> AggregateJSON:
    return AggregateJSON(
        name=one.name,
        count=one.count,
        rate=one.sum / seconds,
        sum=one.sum,
        least=one.least,
        most=one.most,
        mean=one.mean,
        deviation=one.deviation,
        labels=dict(one.labels),
    )


@route("/v1/agent/metrics", "GET", access=AGENT_READ, is_write=False)
def metrics(context: RequestContext) -> Response:
    """Return the last completed interval of ten seconds: gauges, counters and samples, sorted.

    `format=prometheus`: everything since the start in Prometheus' text format; 415 unless
    `telemetry.prometheus_retention_time` is positive.
    """
    if context.query.get("format") == "prometheus":
        if TELEMETRY.settings.prometheus_retention_s <= 0:
            return text_response(415, PROMETHEUS_OFF_TEXT)
        from agent.exposition import EXPOSITION_TYPE, exposition  # its library is for whoever asks for it

        return Response(200, exposition(TELEMETRY), EXPOSITION_TYPE)
    return json_response(metrics_json(TELEMETRY.latest(_clock.wall_unix_s())))


@route("/v1/agent/metrics/stream", "GET", access=AGENT_READ, is_write=False, rule_of=stream_rule)
def stream(context: RequestContext) -> Response | Awaitable[Response]:
    """Return one JSON object a line for each interval as it is completed, beginning with the last, without an end.

    429 where 32 streams are being sent already.
    """
    context.is_blocking = True
    return _stream(context)


async def _stream(context: RequestContext) -> Response:
    sent_count = -1

    def take() -> bytes:
        nonlocal sent_count
        if sent_count == TELEMETRY.intervals_count:
            return b""
        sent_count = TELEMETRY.intervals_count
        return encode_json(metrics_json(TELEMETRY.latest(_clock.wall_unix_s()))) + b"\n"

    try:
        _streaming.acquire_nowait()
    except trio.WouldBlock:
        return text_response(429, TOO_MANY_TEXT)
    try:
        await follow(context, Response(200, b"", JSON_TYPE), take, pause_s=STREAM_LOOK_S)
    finally:
        _streaming.release()
    return STREAMED
