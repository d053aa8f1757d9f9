"""The run at a glance, all above one time axis: which fault held, who led, and how operations ended where."""

from collections.abc import Sequence

from jepsen.history import FaultWindow, Operation, Outcome
from jepsen.report.markup import Markup, element, join, number
from jepsen.report.plot import AXIS_HEIGHT, WIDTH, Scene, drawing, legend, path, rectangle, text_width
from jepsen.report.series import NS_PER_S, Buckets, Counts, Stay, count_by, quantile
from jepsen.report.words import seconds, short, span

FAULT_ROW = 24
LEADER_ROW = 22
STRIP_ROW = 34
STRIP_OK, STRIP_OTHER, STRIP_GAP = 14, 5, 1.5
LEVELS = 5
"""Shades of the strip of answered operations."""
NAME_CHARACTERS_MAX = 16


def faults(scene: Scene) -> Markup:
    """A row for each package of faults, a bar for each window, labelled where there is room."""
    packages = list(dict.fromkeys(fault.package for fault in sorted(scene.faults, key=lambda each: each.began_ns)))
    if not packages:
        return element("p", "No fault was injected.", class_="nothing")
    height = len(packages) * FAULT_ROW + 4
    rows = []
    for position, package in enumerate(packages):
        top = position * FAULT_ROW + 2
        windows = sorted((each for each in scene.faults if each.package == package), key=lambda each: each.began_ns)
        rows.append(name(package, top + FAULT_ROW / 2))
        rows.append(join(_bar(scene, each, windows[at + 1 :], top) for at, each in enumerate(windows)))
    return join(
        [
            heading("Faults"),
            legend(
                ("window", "fault held, effect seen"),
                ("recovery", "errors still excused"),
                ("window-empty", "no effect seen, not counted"),
                *([("final", "all healed, final reads begin")] if scene.final_ns is not None else []),
            ),
            drawing(
                height + AXIS_HEIGHT,
                scene.grid(height),
                scene.backdrop(height, changes=False),
                rows,
                scene.figures(height),
                label="Fault windows over time",
            ),
        ]
    )


def _bar(scene: Scene, fault: FaultWindow, later: Sequence[FaultWindow], top: float) -> Markup:
    left, right = scene.axis.x(fault.began_ns), scene.axis.x(fault.ended_ns)
    free = scene.axis.x(later[0].began_ns) if later else WIDTH
    title = f"{fault.name}, {seconds(fault.began_ns, 1)} to {seconds(fault.ended_ns, 1)}\n{fault.what}\n" + (
        f"Seen: {fault.evidence}" if fault.evidence else "No effect was seen; it does not count."
    )
    label = fault.name.removeprefix(f"{fault.package}-") or fault.name
    inside = text_width(label) + 8 <= right - left
    shown: Markup | None = None
    if inside or right + 4 + text_width(label) <= free:
        class_ = ("bar-label" if fault.evidence else "bar-label-empty") if inside else "figure"
        shown = element("text", label, x=left + 5 if inside else right + 4, y=top + FAULT_ROW / 2 + 4, class_=class_)
    return element(
        "g",
        element("title", title),
        path([rectangle(left, top + 3, right, top + FAULT_ROW - 3)], "fault" if fault.evidence else "fault-empty"),
        shown,
        class_="fault-bar",
        data_name=fault.name,
        data_from=float(fault.began_ns / NS_PER_S),
        data_to=float(fault.ended_ns / NS_PER_S),
    )


def roles(scene: Scene, lines: dict[str, list[Stay]]) -> Markup:
    """Who led when: a row for each server."""
    if not lines:
        return Markup("")
    height = len(lines) * LEADER_ROW + 4
    rows = []
    for position, (node, line) in enumerate(lines.items()):
        middle = position * LEADER_ROW + LEADER_ROW / 2 + 2
        rows.append(name(node, middle))
        for class_, states in (("role-follower", ("follower",)), ("role-candidate", ("candidate",))):
            held = [stay for stay in line if stay.state in states]
            rows.append(path((_stroke(scene, stay, middle) for stay in held), class_))
        other = [stay for stay in line if stay.state not in ("leader", "follower", "candidate")]
        rows.append(path((_stroke(scene, stay, middle) for stay in other), "role-down"))
        rows.extend(_reign(scene, stay, middle) for stay in line if stay.state == "leader")
    return join(
        [
            heading("Leaders"),
            legend(
                ("role-leader", "leader, with its term"),
                ("line role-follower", "follower"),
                ("line role-candidate", "candidate"),
                ("line role-down", "does not answer"),
            ),
            drawing(
                height + AXIS_HEIGHT,
                scene.grid(height),
                scene.backdrop(height, changes=False),
                rows,
                scene.figures(height),
                label="Roles of the servers over time",
            ),
        ]
    )


def _stroke(scene: Scene, stay: Stay, middle: float) -> str:
    left, right = scene.axis.x(stay.began_ns), scene.axis.x(stay.ended_ns)
    return f"M{number(left)} {number(middle)}h{number(max(right - left, 1.5))}"


def _reign(scene: Scene, stay: Stay, middle: float) -> Markup:
    left, right = scene.axis.x(stay.began_ns), scene.axis.x(stay.ended_ns)
    label = next((each for each in (f"term {stay.term}", str(stay.term)) if text_width(each) + 6 <= right - left), "")
    lasted = span((stay.ended_ns - stay.began_ns) / NS_PER_S)
    title = f"{stay.node} leads in term {stay.term}, seen from {seconds(stay.began_ns, 1)} for {lasted}"
    return element(
        "g",
        element("title", title),
        path([rectangle(left, middle - 8, right, middle + 8, 2.0)], "role-leader"),
        element("text", label, x=left + 4, y=middle + 4, class_="bar-label") if label else None,
    )


def strips(scene: Scene, operations: Sequence[Operation], buckets: Buckets) -> Markup:
    """How operations ended, by the node that was asked and by workload: shades of how many a bucket."""
    groups = [("by node asked", count_by(((each.node or "?", each) for each in operations), buckets))]
    groups.append(("by workload", count_by(((each.workload, each) for each in operations), buckets)))
    rows: list[Markup] = []
    top = 0.0
    for title, counted in groups:
        rows.append(element("text", title, x=scene.axis.left, y=top + 13, class_="group"))
        top += 20
        for group, counts in counted.items():
            rows.append(name(group, top + STRIP_ROW / 2 - 3))
            rows.append(_strip(scene, counts, buckets, top))
            top += STRIP_ROW
    return join(
        [
            heading(f"Operations, {span(buckets.size_s)} a cell"),
            legend(
                ("ok5", "answered, stronger is more"),
                ("failed3", "failed: it did not happen"),
                ("unknown3", "unknown: it may have happened"),
                ("change", "new leader"),
            ),
            drawing(
                top + AXIS_HEIGHT,
                scene.grid(top),
                scene.backdrop(top),
                rows,
                scene.figures(top),
                label="Operations by node and workload over time",
            ),
        ]
    )


def _strip(scene: Scene, counts: Counts, buckets: Buckets, top: float) -> Markup:
    # Not the most: one burst after a healing would make everything else pale.
    most = max(quantile(sorted(filter(None, counts.by[Outcome.OK])) or [1], 0.95), 1)
    cells: dict[str, list[str]] = {}
    tops = {
        Outcome.OK: (top, STRIP_OK),
        Outcome.FAILED: (top + STRIP_OK + STRIP_GAP, STRIP_OTHER),
        Outcome.UNKNOWN: (top + STRIP_OK + STRIP_OTHER + 2 * STRIP_GAP, STRIP_OTHER),
    }
    for outcome, (above, height) in tops.items():
        levels = [_level(outcome, count, most) for count in counts.by[outcome]]
        begin = 0
        for position in range(1, len(levels) + 1):
            if position < len(levels) and levels[position] == levels[begin]:
                continue
            if levels[begin]:
                left = scene.axis.x(buckets.begin_ns(begin))
                right = scene.axis.x(buckets.begin_ns(position))
                box = rectangle(left, above, right, above + height, 2.0)
                cells.setdefault(f"{outcome}{levels[begin]}", []).append(box)
            begin = position
    frame = path([rectangle(scene.axis.left, top, scene.axis.right, top + STRIP_OK)], "strip")
    return join([frame, *(path(boxes, class_) for class_, boxes in sorted(cells.items()))])


def _level(outcome: Outcome, count: int, most: float) -> int:
    """0 for none; errors are few, so one is plainly visible, ten are more, a hundred many."""
    if not count:
        return 0
    if outcome is Outcome.OK:
        return min(max(1, round(LEVELS * count / most)), LEVELS)
    return 1 if count < 3 else 2 if count < 10 else 3


def name(label: str, middle: float) -> Markup:
    """The name of a row, left of it."""
    shown = short(label, NAME_CHARACTERS_MAX)
    title = element("title", label) if shown != label else None
    return element("text", title, shown, x=104.0, y=middle + 4, class_="row-name")


def heading(title: str) -> Markup:
    """The name of a plot."""
    return element("h3", title)
