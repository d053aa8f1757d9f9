"""Plots of how fast: answers a second, errors a second, and how long operations took."""

import math
from collections.abc import Callable, Sequence

from jepsen.history import Operation, Outcome
from jepsen.report.markup import Markup, element, join, number
from jepsen.report.plot import AXIS_HEIGHT, Scene, cross, drawing, legend, path, rectangle, ring
from jepsen.report.series import (
    BUCKETS_MAX,
    NS_PER_S,
    QUANTILES,
    Buckets,
    Counts,
    count_by,
    latencies,
    nice_step,
    shown_outcome,
)
from jepsen.report.timeline import heading
from jepsen.report.words import span

OK_HEIGHT, ERROR_HEIGHT, PANEL_GAP = 120.0, 64.0, 22.0
LATENCY_HEIGHT = 190.0
TOP = 10.0
LABEL_DISTANCE = 13.0
"""Between the names of lines at their ends."""
OPERATIONS_A_QUANTILE = 40
"""A bucket should have so many, on the average, for its p95 to mean something."""
QUANTILE_BUCKETS_MIN = 30
MARK_GRID = 4.0
"""Marks closer than these pixels are drawn once: more could not be told apart."""
QUANTILE_CLASSES = ("line-p50", "line-p95", "line-p99", "dot-max")
QUANTILE_NAMES = ("p50", "p95", "p99", "max")
Y = Callable[[float], float]
"""Seconds to a height in pixels."""


def rates(scene: Scene, operations: Sequence[Operation], buckets: Buckets) -> Markup:
    """Answered operations a second above, failed and unknown ones below on a scale of their own."""
    counts = count_by((("", each) for each in operations), buckets).get("") or Counts.empty(buckets)
    ok = [count / buckets.size_s for count in counts.by[Outcome.OK]]
    failed = [count / buckets.size_s for count in counts.by[Outcome.FAILED]]
    unknown = [count / buckets.size_s for count in counts.by[Outcome.UNKNOWN]]
    both = [each + other for each, other in zip(failed, unknown, strict=True)]
    ok_bottom = TOP + OK_HEIGHT
    error_bottom = ok_bottom + PANEL_GAP + ERROR_HEIGHT
    ok_top_hz, error_top_hz = _ceiling(ok), _ceiling(both)
    return join(
        [
            heading("Rate, operations per second"),
            legend(
                ("area-ok", "answered"),
                ("failed3", "failed"),
                ("unknown3", "unknown"),
                ("window", "fault"),
                ("change", "new leader"),
            ),
            drawing(
                error_bottom + AXIS_HEIGHT,
                scene.grid(error_bottom),
                scene.backdrop(error_bottom),
                _scale(scene, ok_bottom, OK_HEIGHT, ok_top_hz),
                _scale(scene, error_bottom, ERROR_HEIGHT, error_top_hz),
                _area(scene, buckets, ok, ok_bottom, OK_HEIGHT / ok_top_hz),
                _bars(
                    scene, buckets, failed, [0.0] * len(failed), error_bottom, ERROR_HEIGHT / error_top_hz, "failed3"
                ),
                _bars(scene, buckets, unknown, failed, error_bottom, ERROR_HEIGHT / error_top_hz, "unknown3"),
                element("text", "answers/s", x=12, y=TOP + 4, class_="axis-name"),
                element("text", "errors/s", x=12, y=ok_bottom + PANEL_GAP + 4, class_="axis-name"),
                scene.figures(error_bottom),
                label="Operations per second over time",
            ),
        ]
    )


def _ceiling(values: Sequence[float]) -> float:
    """A round figure above all of them."""
    most = max(values, default=0.0)
    return nice_step(most / 4) * math.ceil(most / nice_step(most / 4) - 1e-9) if most else 1.0


def _scale(scene: Scene, bottom: float, height: float, top_hz: float) -> Markup:
    """Level lines with figures from 0 to the top."""
    step = nice_step(top_hz / (4 if height > 100 else 2))
    levels = [position * step for position in range(int(top_hz / step + 1e-9) + 1)]
    lines, figures = [], []
    for level in levels:
        y = bottom - level / top_hz * height
        lines.append(f"M{number(scene.axis.left)} {number(y)}H{number(scene.axis.right)}")
        figures.append(element("text", f"{level:,.6g}", x=scene.axis.left - 6, y=y + 4, class_="figure end"))
    return join([path(lines[1:], "grid"), path(lines[:1], "base"), *figures])


def _area(scene: Scene, buckets: Buckets, values: Sequence[float], bottom: float, scale: float) -> Markup:
    """Steps, filled: a bucket's rate holds for the whole bucket."""
    points = [f"M{number(scene.axis.left)} {number(bottom)}"]
    for position, value in enumerate(values):
        points.append(f"V{number(bottom - value * scale)}H{number(scene.axis.x(buckets.begin_ns(position + 1)))}")
    outline = "".join(points)
    return join([path([f"{outline}V{number(bottom)}z"], "area-ok"), path([outline], "line-ok")])


def _bars(
    scene: Scene,
    buckets: Buckets,
    values: Sequence[float],
    below: Sequence[float],
    bottom: float,
    scale: float,
    class_: str,
) -> Markup:
    boxes = []
    for position, (value, under) in enumerate(zip(values, below, strict=True)):
        if value:
            left, right = (scene.axis.x(buckets.begin_ns(each)) for each in (position, position + 1))
            base = bottom - under * scale
            boxes.append(rectangle(left, base - max(value * scale, 1.5), right, base, 2.0))
    return path(boxes, class_)


# --- latency


def latency(scene: Scene, workload: str, operations: Sequence[Operation]) -> Markup:
    """Quantiles of answered operations a bucket, log scale; failed and unknown ones as marks."""
    count = min(max(len(operations) // OPERATIONS_A_QUANTILE, QUANTILE_BUCKETS_MIN), BUCKETS_MAX)
    buckets = Buckets(scene.axis.duration_ns, count)
    quantiles = latencies(operations, buckets)
    taken = [each for entry in quantiles if entry for each in (entry[0], entry[-1])]
    others = [each for each in operations if shown_outcome(each) is not Outcome.OK]
    taken += [max((each.ended_ns - each.began_ns) / NS_PER_S, 1e-4) for each in others]
    low = math.floor(math.log10(max(min(taken, default=0.001), 1e-4)))
    high = max(math.ceil(math.log10(max(taken, default=0.1)) - 1e-9), low + 1)
    bottom = TOP + LATENCY_HEIGHT

    def y(value_s: float) -> float:
        share = (math.log10(max(value_s, 1e-9)) - low) / (high - low)
        return bottom - min(max(share, 0.0), 1.0) * LATENCY_HEIGHT

    decades = [10.0**power for power in range(low, high + 1)]
    between = [decade * digit for decade in decades[:-1] for digit in (2, 5)]
    left, right = number(scene.axis.left), number(scene.axis.right)
    return join(
        [
            heading(f"Latency of {workload}, per {span(buckets.size_s)}"),
            legend(
                ("line line-p50", "p50"),
                ("line line-p95", "p95"),
                ("line line-p99", "p99"),
                ("dot-max", "max"),
                ("mark-failed", "failed"),
                ("mark-unknown", "unknown, given up"),
            ),
            drawing(
                bottom + AXIS_HEIGHT,
                scene.grid(bottom),
                scene.backdrop(bottom),
                path([f"M{left} {number(y(each))}H{right}" for each in between], "grid-faint"),
                path([f"M{left} {number(y(each))}H{right}" for each in decades], "grid"),
                [
                    element("text", _decade(each), x=scene.axis.left - 6, y=y(each) + 4, class_="figure end")
                    for each in decades
                ],
                _marks(scene, others, y),
                _quantile_lines(scene, quantiles, buckets, y),
                scene.figures(bottom),
                label=f"Latency quantiles of {workload} over time",
            ),
        ]
    )


def _decade(value_s: float) -> str:
    return f"{value_s:g} s" if value_s >= 1 else f"{value_s * 1e3:g} ms"


def _marks(scene: Scene, operations: Sequence[Operation], y: Y) -> Markup:
    """Crosses and rings where operations ended without an answer, once a small square."""
    squares: dict[Outcome, set[tuple[int, int]]] = {Outcome.FAILED: set(), Outcome.UNKNOWN: set()}
    for each in operations:
        x = scene.axis.x(each.ended_ns)
        taken_s = (each.ended_ns - each.began_ns) / NS_PER_S
        squares[each.outcome].add((int(x // MARK_GRID), int(y(taken_s) // MARK_GRID)))
    failed = [cross((x + 0.5) * MARK_GRID, (at + 0.5) * MARK_GRID, 2.2) for x, at in sorted(squares[Outcome.FAILED])]
    unknown = [ring((x + 0.5) * MARK_GRID, (at + 0.5) * MARK_GRID, 2.6) for x, at in sorted(squares[Outcome.UNKNOWN])]
    return join([path(failed, "mark-failed"), path(unknown, "mark-unknown")])


def _quantile_lines(scene: Scene, quantiles: list[list[float] | None], buckets: Buckets, y: Y) -> Markup:
    drawn = []
    ends: list[tuple[float, str]] = []
    for which in range(len(QUANTILES)):
        is_dots = QUANTILE_CLASSES[which] == "dot-max"
        pieces: list[str] = []
        pen_down = False
        last = 0.0
        for position, entry in enumerate(quantiles):
            if entry is None:
                pen_down = False
                continue
            x = scene.axis.x(buckets.begin_ns(position) + buckets.size_ns / 2)
            last = y(entry[which])
            if is_dots:
                pieces.append(ring(x, last, 1.1))
            else:
                # A lone bucket is drawn, too: a line of no length with round ends.
                pieces.append(f"{'L' if pen_down else 'M'}{number(x)} {number(last)}{'' if pen_down else 'h0'}")
            pen_down = True
        drawn.append(path(pieces, QUANTILE_CLASSES[which]))
        if pieces:
            ends.append((last, QUANTILE_NAMES[which]))
    return join([*reversed(drawn), *_end_labels(scene, ends)])


def _end_labels(scene: Scene, ends: list[tuple[float, str]]) -> list[Markup]:
    """Names right of the lines' ends, pushed apart from the lowest one up."""
    labels = []
    ceiling = math.inf
    for height, label in ends:  # a higher quantile is never below a lower one
        ceiling = min(height, ceiling - LABEL_DISTANCE)
        labels.append(element("text", label, x=scene.axis.right + 6, y=ceiling + 4, class_="figure"))
    return labels
