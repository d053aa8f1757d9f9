"""Draw what `--json` wrote: `python -m tests.sim.gossip.plot found.json docs/internals`.

Each drawing is a file of its own that loads nothing, in the colours of the reports on broken clusters.
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from jepsen.report.markup import Markup, element, join, number
from jepsen.report.plot import path, rectangle, text_width
from jepsen.report.series import nice_step
from jepsen.report.style import COLOURS

WIDTH, HEIGHT = 860.0, 360.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 24.0, 44.0, 52.0
TICKS_MAX = 10
LINE_HEIGHT = 19.0
LEGEND_SHARE = 0.3
"""Of the width: kept free of lines that rise late."""
NODES_COMPARED_MAX: Final = 100
"""Clusters beyond are measured under fewer conditions, and would stand in for these."""
STEPS_MAX: Final = 100
"""Of one line: more could not be told apart."""
KINDS: Final = ("a", "b", "c", "d")
"""Classes of lines and bars, in their order."""
SLOW: Final = {"starved": "5 % stand still", "deaf": "5 % hear late"}
STYLE: Final = COLOURS + (
    "text{fill:var(--ink);font:13px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".title{font-size:15px;font-weight:600}.soft{fill:var(--soft)}.middle{text-anchor:middle}.end{text-anchor:end}"
    ".paper{fill:var(--paper)}.grid{stroke:var(--line);fill:none}.base{stroke:var(--soft);fill:none}"
    ".line{fill:none;stroke-width:2.2;stroke-linejoin:round}.first{stroke-width:1.4;stroke-dasharray:2 3}"
    ".line.a{stroke:var(--ok)}.line.b{stroke:var(--failed)}.line.c{stroke:var(--leader)}.line.d{stroke:var(--unknown)}"
    ".bar.a{fill:var(--ok)}.bar.b{fill:var(--failed)}.bar.c{fill:var(--leader)}.bar.d{fill:var(--unknown)}"
)

Figures = dict[str, Any]


def draw(found: Path, folder: Path) -> list[Path]:
    """Write all drawings that the figures are enough for; return their paths."""
    everything = json.loads(found.read_text(encoding="utf-8"))
    written = []
    for name, drawing in DRAWINGS.items():
        markup = drawing(everything)
        if markup:
            target = folder / f"gossip_{name}.svg"
            target.write_text(markup + "\n", encoding="utf-8")
            written.append(target)
    return written


# Drawings


def detection(everything: Sequence[Figures]) -> Markup:
    """Share of deaths that were suspected, and known to all, by so many seconds."""
    runs = [each for each in everything if each["scenario"] == "death" and not each["loss"] and each["lifeguard"]]
    runs.sort(key=lambda each: int(each["nodes"]))
    if not runs:
        return Markup("")
    plot = _Plot(
        "Deaths that are known, by the time since",
        x_name="seconds since the death; dotted: first suspected, line: known to all the living",
        x_max=math.ceil(max(each["known by 100 %"]["max"] for each in runs) / (1 - LEGEND_SHARE)),
        y_max=100.0,
        unit=" %",
    )
    for kind, run in zip(KINDS, runs, strict=False):
        for name, class_ in (("suspected", f"line first {kind}"), ("known by 100 %", f"line {kind}")):
            plot.line(_steps(run[name]["all"], run["deaths"]), class_)
        plot.key(f"{run['nodes']:,} members, {run['deaths']:,} deaths", f"line {kind}")
    return plot.markup("How long it takes until a death is suspected, and known to all, by size of the cluster")


def suspicions(everything: Sequence[Figures]) -> Markup:
    """Probes of healthy members that came to nothing, with Lifeguard and without."""
    return _with_and_without(everything, ["suspicions of healthy"], "Healthy members suspected, a node and hour")


def mistakes(everything: Sequence[Figures]) -> Markup:
    """False deaths, those of slow members included, with Lifeguard and without."""
    quantities = ["false deaths of healthy", "false deaths of slow"]
    return _with_and_without(everything, quantities, "Living members declared dead, a node and hour")


def _with_and_without(everything: Sequence[Figures], quantities: Sequence[str], title: str) -> Markup:
    runs = [each for each in everything if each["scenario"] in ("lossy", *SLOW) and each["nodes"] <= NODES_COMPARED_MAX]
    rates: dict[tuple[str, float], dict[bool, float]] = {}
    for run in sorted(runs, key=lambda each: (each["scenario"] in SLOW, each["loss"], each["scenario"])):
        rate = sum(run[quantity] for quantity in quantities) / run["node-hours"]
        rates.setdefault((run["scenario"], run["loss"]), {})[run["lifeguard"]] = rate
    both = {condition: pair for condition, pair in rates.items() if len(pair) == 2}
    if not both:
        return Markup("")
    plot = _Plot(title, y_max=max(max(pair.values()) for pair in both.values()) or 1.0)
    plot.bars([_condition(*condition) for condition in both], [[pair[True], pair[False]] for pair in both.values()])
    plot.key("with Lifeguard", "bar a")
    plot.key("without", "bar b")
    return plot.markup(f"{title}: with Lifeguard and without, by condition")


def load(everything: Sequence[Figures]) -> Markup:
    """Bytes that a member sends, by the size of the cluster."""
    runs = sorted((each for each in everything if each["scenario"] == "idle"), key=lambda each: int(each["nodes"]))
    if not runs:
        return Markup("")
    plot = _Plot(
        "What an idle member sends, bytes a second",
        y_max=max(max(run["udp bytes"], run["tcp bytes"]) for run in runs),
    )
    names = [f"{run['nodes']:,} members" for run in runs]
    plot.bars(names, [[run["udp bytes"], run["tcp bytes"]] for run in runs])
    plot.key("UDP: pings and acks", "bar a")
    plot.key("TCP: tables", "bar b")
    return plot.markup("Bytes a second that an idle member sends, by size of the cluster")


def _condition(scenario: str, loss: float) -> str:
    return SLOW.get(scenario) or f"{loss * 100:g} % lost"


def _steps(times_s: Sequence[float], count: int) -> list[tuple[float, float]]:
    """Return the corners of a cumulative line; who is missing is missing at its end."""
    points = [(0.0, 0.0)]
    stride = max(1, len(times_s) // STEPS_MAX)
    slowest = range(max(1, len(times_s) - 2 * stride), len(times_s) + 1)
    for position in sorted({*range(stride, len(times_s), stride), *slowest}):
        time_s = times_s[position - 1]
        points += [(time_s, points[-1][1]), (time_s, 100.0 * position / count)]
    return points


class _Plot:
    """One pair of axes, from 0 up, and what is drawn between them."""

    def __init__(self, title: str, *, y_max: float, x_max: float = 0.0, x_name: str = "", unit: str = "") -> None:
        self._title = title
        self._x_max = x_max
        self._x_name = x_name
        self._unit = unit
        self._y_step = nice_step(y_max / 5)
        self._y_max = self._y_step * math.ceil(y_max / self._y_step - 1e-9)
        self._drawn: list[Markup] = []
        self._keys: list[tuple[str, str]] = []

    def _x(self, value: float) -> float:
        return LEFT + value / self._x_max * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self._y_max * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], class_: str) -> None:
        """Join the points."""
        corners = [f"{number(self._x(x))} {number(self._y(y))}" for x, y in points]
        self._drawn.append(path(["M" + "L".join(corners)], class_))

    def bars(self, names: Sequence[str], groups: Sequence[Sequence[float]]) -> None:
        """Draw a group of bars for each name, with their figures on top."""
        room = (WIDTH - LEFT - RIGHT) / len(groups)
        width = min(90.0, room * 0.8 / len(groups[0]))
        for position, (name, values) in enumerate(zip(names, groups, strict=True)):
            middle = LEFT + room * (position + 0.5)
            self._drawn.append(element("text", name, x=middle, y=HEIGHT - BOTTOM + 20, class_="middle"))
            for place, (kind, value) in enumerate(zip(KINDS, values, strict=False)):
                left = middle + (place - len(values) / 2) * width
                top = self._y(value)
                box = rectangle(left + 2, top, left + width - 2, HEIGHT - BOTTOM)
                self._drawn.append(path([box], f"bar {kind}"))
                text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
                self._drawn.append(element("text", text, x=left + width / 2, y=top - 5, class_="middle soft"))

    def key(self, text: str, class_: str) -> None:
        """Explain a class of lines or bars."""
        self._keys.append((text, class_))

    def markup(self, label: str) -> Markup:
        """Return the drawing; `label` is for those who do not see it."""
        return element(
            "svg",
            element("style", Markup(STYLE)),
            element("rect", width=WIDTH, height=HEIGHT, class_="paper"),
            element("text", self._title, x=LEFT, y=24, class_="title"),
            self._axes(),
            self._drawn,
            self._legend(),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {number(WIDTH)} {number(HEIGHT)}",
            width=WIDTH,
            height=HEIGHT,
            role="img",
            aria_label=label,
        )

    def _axes(self) -> Markup:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        levels = [self._y_step * place for place in range(round(self._y_max / self._y_step) + 1)]
        parts = [path([f"M{number(LEFT)} {number(self._y(level))}H{number(right)}" for level in levels[1:]], "grid")]
        for level in levels:
            text = f"{level:,.6g}{self._unit}"
            parts.append(element("text", text, x=LEFT - 8, y=self._y(level) + 4, class_="soft end"))
        if self._x_max:
            step = nice_step(self._x_max / TICKS_MAX)
            ticks = [step * place for place in range(int(self._x_max / step + 1e-9) + 1)]
            parts.append(
                path([f"M{number(self._x(tick))} {number(TOP)}V{number(bottom)}" for tick in ticks[1:]], "grid")
            )
            parts += [
                element("text", f"{tick:g}", x=self._x(tick), y=bottom + 18, class_="soft middle") for tick in ticks
            ]
            parts.append(element("text", self._x_name, x=(LEFT + right) / 2, y=HEIGHT - 10, class_="soft middle"))
        parts.append(path([f"M{number(LEFT)} {number(bottom)}H{number(right)}"], "base"))
        return join(parts)

    def _legend(self) -> Markup:
        """Below one another in the corner that cumulative lines leave free; beside the title for bars."""
        parts = []
        width = max(text_width(text) for text, _ in self._keys) + 54
        for place, (text, class_) in enumerate(self._keys):
            if self._x_max:
                x, y = WIDTH - RIGHT - width - 8, HEIGHT - BOTTOM - 14 - LINE_HEIGHT * (len(self._keys) - 1 - place)
            else:
                x, y = WIDTH - RIGHT - width * (len(self._keys) - place), 24.0
            shape = f"M{number(x)} {number(y - 4)}h20" if class_.startswith("line") else rectangle(x, y - 10, x + 20, y)
            parts += [path([shape], class_), element("text", text, x=x + 28, y=y)]
        return join(parts)


DRAWINGS: Final[dict[str, Callable[[Sequence[Figures]], Markup]]] = {
    "detection": detection,
    "suspicions": suspicions,
    "mistakes": mistakes,
    "load": load,
}


if __name__ == "__main__":
    for written_path in draw(Path(sys.argv[1]), Path(sys.argv[2])):
        print(written_path)
