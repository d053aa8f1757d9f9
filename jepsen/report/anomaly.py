"""A broken promise, drawn: a lane a client, a bar from begin to end of each operation, the impossible one marked.

The operations of one anomaly may take milliseconds and lie minutes apart, so time is not to scale: each step from one
begin or end to the next is as wide as the root of its length, within limits. Their order, which is what matters, is
exact, and the axis names the moments.
"""

from collections.abc import Sequence
from statistics import median

from jepsen.checkers.verdict import Anomaly
from jepsen.history import FaultWindow, Operation, Outcome
from jepsen.report.markup import Markup, element, join, number
from jepsen.report.plot import CHARACTER_WIDTH, LEFT, RIGHT, WIDTH, drawing, legend, path, rectangle, text_width
from jepsen.report.series import NS_PER_S, natural
from jepsen.report.words import call, has_answer, plural, seconds, short, span, value

DRAWN_MAX = 48
"""More bars than this no eye follows; the last ones are drawn, for there the impossible one is."""
LANE_ROW = 34
"""One row of a lane: a label, and the bar below it."""
BAR_HEIGHT = 11
TOP = 20
STEP_MIN, STEP_MAX = 0.35, 4.0
"""Width of a step between two moments, as a share of the median step's."""
BAR_WIDTH_MIN = 3.0
TABLE_VALUE_CHARACTERS_MAX = 300
FADE_WIDTH = 150.0
"""An unknown operation may take effect for ever: past its end it is drawn so far, fading."""


class OrderAxis:
    """Moments to pixels: in exact order, at distances a person can see."""

    def __init__(self, operations: Sequence[Operation], left: float, right: float) -> None:
        self.moments = sorted({moment for each in operations for moment in (each.began_ns, each.ended_ns)})
        steps = [(after - before) ** 0.5 for before, after in zip(self.moments, self.moments[1:], strict=False)]
        middle = median(steps) if steps else 1.0
        widths = [min(max(step / middle, STEP_MIN), STEP_MAX) for step in steps]
        scale = (right - left) / (sum(widths) or 1.0)
        self.positions = [left]
        for width in widths:
            self.positions.append(self.positions[-1] + width * scale)

    def x(self, at_ns: int) -> float:
        """The pixel of a moment; between two known ones in proportion, outside at the edge."""
        moments, positions = self.moments, self.positions
        if at_ns <= moments[0]:
            return positions[0]
        for position in range(1, len(moments)):
            if at_ns <= moments[position]:
                before, after = moments[position - 1], moments[position]
                share = (at_ns - before) / (after - before)
                return positions[position - 1] + share * (positions[position] - positions[position - 1])
        return positions[-1]


class Bar:
    """Where one operation is drawn."""

    def __init__(self, operation: Operation, axis: OrderAxis, label: str) -> None:
        self.operation = operation
        self.label = label
        self.left = axis.x(operation.began_ns)
        self.right = max(axis.x(operation.ended_ns), self.left + BAR_WIDTH_MIN)
        self.label_left = min(self.left, WIDTH - 8 - text_width(label))
        self.row = 0

    @property
    def reach(self) -> float:
        """How far right it needs its row."""
        fading = FADE_WIDTH if self.operation.outcome is Outcome.UNKNOWN else 0.0
        return max(self.right + fading, self.label_left + text_width(self.label)) + 14


def draw(anomaly: Anomaly, faults: Sequence[FaultWindow], culprit: Operation | None = None) -> Markup:
    """Return the drawing of an anomaly and the table of its operations; empty if it names none.

    `culprit` is the impossible operation; None: the last one of the list.
    """
    if not anomaly.operations:
        return Markup("")
    culprit = culprit or anomaly.operations[-1]
    operations = [*[each for each in anomaly.operations if each is not culprit][-(DRAWN_MAX - 1) :], culprit]
    lanes: dict[int, list[Operation]] = {}
    for each in sorted(operations, key=lambda operation: operation.began_ns):
        lanes.setdefault(each.process, []).append(each)
    axis = OrderAxis(operations, LEFT + 8.0, WIDTH - RIGHT - 60.0)
    top = float(TOP)
    drawn: list[Markup] = []
    for process in sorted(lanes, key=lambda each: lanes[each][0].began_ns):
        bars = _packed([Bar(each, axis, _label(each, anomaly)) for each in lanes[process]])
        height = LANE_ROW * (1 + max(bar.row for bar in bars)) + 6
        drawn.append(_lane_name(process, lanes[process], top + height / 2))
        drawn.append(path([f"M0 {number(top + height)}H{WIDTH}"], "grid"))
        drawn.extend(_bar(bar, top + bar.row * LANE_ROW, is_culprit=bar.operation is culprit) for bar in bars)
        top += height
    left_out = len(anomaly.operations) - len(operations)
    return element(
        "div",
        element(
            "div",
            drawing(
                top + 34,
                _shade(axis, faults, top),
                _moments(axis, top),
                drawn,
                label=f"Operations of the anomaly: {anomaly.text}",
                class_="chart anomaly-chart",
            ),
            class_="scroll",
        ),
        _legend(operations, axis, faults),
        element(
            "p",
            "Order is exact, distances are not to scale.",
            f" {plural(left_out, 'earlier operation')} not drawn." if left_out else "",
            class_="note",
        ),
        _table(operations, culprit),
    )


def _label(operation: Operation, anomaly: Anomaly) -> str:
    """What it did; with its key only where the anomaly has more than one."""
    named = operation.key and len({each.key for each in anomaly.operations}) > 1
    return f"{short(operation.key, 14)}: {call(operation)}" if named else call(operation)


def _packed(bars: list[Bar]) -> list[Bar]:
    """Give each bar the first row of its lane where neither it nor its label touches another."""
    rows: list[float] = []
    for bar in sorted(bars, key=lambda each: each.left):
        start = min(bar.left, bar.label_left)
        bar.row = next((row for row, taken in enumerate(rows) if taken <= start), len(rows))
        if bar.row == len(rows):
            rows.append(0.0)
        rows[bar.row] = bar.reach
    return bars


def _bar(bar: Bar, top: float, *, is_culprit: bool) -> Markup:
    operation = bar.operation
    above = top + 19
    box = rectangle(bar.left, above, bar.right, above + BAR_HEIGHT)
    kind = "culprit" if is_culprit else str(operation.outcome)
    pieces = [path([box], f"op-{kind}")]
    if operation.outcome is Outcome.UNKNOWN:
        tail = min(bar.right + FADE_WIDTH, float(WIDTH))
        # The gradient means something: the operation's effect may come at any later time.
        pieces.append(path([rectangle(bar.right, above, tail, above + BAR_HEIGHT)], "op-fade"))
    if operation.outcome is Outcome.FAILED:
        pieces.append(path([cross_out(bar.left, bar.right, above)], "op-cross"))
    if is_culprit:
        frame = rectangle(bar.left - 3, above - 3, bar.right + 3, above + BAR_HEIGHT + 3)
        pieces.append(path([frame], "culprit-frame"))
    took_s = (operation.ended_ns - operation.began_ns) / NS_PER_S
    title = "\n".join(
        filter(
            None,
            [
                f"client {operation.process} at {operation.node}: {operation.function} {operation.key}",
                f"asked {value(operation.input, 120)}, answered {value(operation.output, 120)}",
                f"{operation.outcome}{f' ({operation.mode})' if operation.mode else ''} {short(operation.error, 160)}",
                f"{seconds(operation.began_ns, 6)} to {seconds(operation.ended_ns, 6)}, {span(took_s)}",
            ],
        )
    )
    label = element(
        "text", bar.label, x=bar.label_left, y=top + 12, class_="op-label culprit-label" if is_culprit else "op-label"
    )
    return element("g", element("title", title), pieces, label)


def cross_out(left: float, right: float, top: float) -> str:
    """A line through a bar: it did not happen."""
    return f"M{number(left - 3)} {number(top + BAR_HEIGHT / 2)}H{number(right + 3)}"


def _lane_name(process: int, operations: Sequence[Operation], middle: float) -> Markup:
    nodes = sorted({each.node for each in operations if each.node}, key=natural)
    return join(
        [
            element("text", f"client {process}", x=104.0, y=middle - 1, class_="row-name"),
            element("text", short(", ".join(nodes), 15), x=104.0, y=middle + 13, class_="row-note"),
        ]
    )


def _shade(axis: OrderAxis, faults: Sequence[FaultWindow], height: float) -> Markup:
    """Fault windows behind the lanes, named at the top."""
    boxes, labels = [], []
    free = 0.0
    for fault in sorted(faults, key=lambda each: each.began_ns):
        if fault.ended_ns <= axis.moments[0] or fault.began_ns >= axis.moments[-1] or not fault.evidence:
            continue
        left, right = axis.x(fault.began_ns), axis.x(fault.ended_ns)
        boxes.append(rectangle(left, 0, right, height))
        if left >= free:
            labels.append(
                element("text", element("title", fault.what), fault.name, x=left + 4, y=13, class_="window-name")
            )
            free = left + text_width(fault.name) + 8
    return join([path(boxes, "window"), *labels])


def _moments(axis: OrderAxis, top: float) -> Markup:
    """Begins and ends as thin lines; figures for those that have room."""
    lines, figures = [], []
    free = 0.0
    for moment, x in zip(axis.moments, axis.positions, strict=True):
        lines.append(f"M{number(x)} {TOP}V{number(top + 4)}")
        label = seconds(moment, 4)
        half = len(label) * CHARACTER_WIDTH / 2
        if x - half >= free:
            figures.append(element("text", label, x=x, y=top + 18, class_="figure middle"))
            free = x + half + 10
    return join([path(lines, "moment"), *figures])


def _legend(operations: Sequence[Operation], axis: OrderAxis, faults: Sequence[FaultWindow]) -> Markup:
    outcomes = {each.outcome for each in operations}
    entries = [("op-culprit", "cannot be explained")]
    entries += [("op-ok", "ok")] if Outcome.OK in outcomes else []
    entries += [("op-failed", "failed: it did not happen")] if Outcome.FAILED in outcomes else []
    entries += [("op-unknown", "unknown: it may happen at any later time")] if Outcome.UNKNOWN in outcomes else []
    if any(each.began_ns < axis.moments[-1] and each.ended_ns > axis.moments[0] and each.evidence for each in faults):
        entries.append(("window", "fault"))
    return legend(*entries)


def _table(operations: Sequence[Operation], culprit: Operation) -> Markup:
    """The same in words, for those who want to search or copy."""
    head = ("client", "node", "call", "key", "asked", "answered", "outcome", "index", "began", "took")
    rows = []
    for each in sorted(operations, key=lambda operation: operation.began_ns):
        outcome = f"{each.outcome}: {short(each.error, TABLE_VALUE_CHARACTERS_MAX)}" if each.error else each.outcome
        cells: list[object] = [
            each.process,
            each.node,
            f"{each.function} ({each.mode})" if each.mode else each.function,
            each.key,
            "" if each.input is None else value(each.input, TABLE_VALUE_CHARACTERS_MAX),
            value(each.output, TABLE_VALUE_CHARACTERS_MAX) if has_answer(each) else "",
            str(outcome),
            each.index or "",
            seconds(each.began_ns, 6),
            span((each.ended_ns - each.began_ns) / NS_PER_S),
        ]
        rows.append(
            element("tr", [element("td", cell) for cell in cells], class_="culprit-row" if each is culprit else None)
        )
    table = element(
        "table",
        element("thead", element("tr", [element("th", each) for each in head])),
        element("tbody", rows),
    )
    return element(
        "details",
        element("summary", f"These {plural(len(operations), 'operation')} as a table"),
        element("div", table, class_="scroll"),
    )
