"""What all drawings over the run's time share: the axis, the grid, fault windows and changes of leaders behind it."""

from collections.abc import Iterable, Sequence

from jepsen.history import FaultWindow
from jepsen.report.markup import Markup, element, join, number
from jepsen.report.series import NS_PER_S, Leader, nice_step

WIDTH = 1160
LEFT = 112
"""Room for the names of rows and the figures of axes."""
RIGHT = 52
"""Room for the names of lines, at their ends."""
AXIS_HEIGHT = 24
TICKS_MAX = 10
CHARACTER_WIDTH = 6.6
"""Of labels, on the average; a little too wide rather than too narrow, for what is measured must not overlap."""


class TimeAxis:
    """Moments of the run to pixels."""

    def __init__(self, duration_ns: int) -> None:
        self.duration_ns = duration_ns
        self.left = float(LEFT)
        self.right = float(WIDTH - RIGHT)

    def x(self, at_ns: float) -> float:
        """The pixel of a moment; what lies outside sticks to the edge."""
        share = min(max(at_ns / self.duration_ns, 0.0), 1.0)
        return self.left + share * (self.right - self.left)

    def ticks_ns(self) -> list[float]:
        """Moments that get a figure."""
        step_s = nice_step(self.duration_ns / NS_PER_S / TICKS_MAX)
        if step_s >= 10:  # minutes rather than powers of ten
            step_s = next((each for each in (10, 15, 30, 60, 120, 300, 600, 1800, 3600) if each >= step_s), step_s)
        count = int(self.duration_ns / NS_PER_S / step_s + 1e-9)
        return [position * step_s * NS_PER_S for position in range(count + 1)]


class Scene:
    """What is known of the run behind every plot."""

    def __init__(
        self,
        axis: TimeAxis,
        faults: Sequence[FaultWindow],
        leaders: Sequence[Leader],
        final_ns: int | None = None,
    ) -> None:
        self.axis = axis
        self.faults = faults
        self.leaders = leaders
        self.final_ns = final_ns
        """When the final reads began, after the last healing; None: there were none."""

    def backdrop(self, height: float, *, changes: bool = True) -> Markup:
        """Fault windows, recovery bounds and changes of leaders, over the whole height of a plot."""
        axis = self.axis
        held: list[str] = []
        empty: list[str] = []
        recovering: list[str] = []
        for fault in self.faults:
            box = rectangle(axis.x(fault.began_ns), 0, axis.x(fault.ended_ns), height)
            (held if fault.evidence else empty).append(box)
            recovering.append(rectangle(axis.x(fault.ended_ns), 0, axis.x(fault.ended_ns + fault.recovery_ns), height))
        final = [] if self.final_ns is None else [f"M{number(axis.x(self.final_ns))} 0v{number(height)}"]
        moments = [leader.first_ns for leader in self.leaders] if changes else []
        return join(
            [
                path(recovering, "recovery"),
                path(held, "window"),
                path(empty, "window-empty"),
                path([f"M{number(axis.x(each))} 0v{number(height)}" for each in moments], "change"),
                path(final, "final"),
            ]
        )

    def grid(self, height: float) -> Markup:
        """Upright lines at the ticks."""
        return path([f"M{number(self.axis.x(tick))} 0v{number(height)}" for tick in self.axis.ticks_ns()], "grid")

    def figures(self, height: float) -> Markup:
        """The figures below a plot of that height."""
        ticks = self.axis.ticks_ns()
        whole = all(tick % NS_PER_S == 0 for tick in ticks)
        shown = []
        for tick in ticks:
            seconds = tick / NS_PER_S
            label = f"{seconds:.0f} s" if whole else f"{seconds:g} s"
            if whole and ticks[-1] >= 180 * NS_PER_S:
                label = f"{int(seconds // 60)}:{int(seconds % 60):02d}"
            shown.append(element("text", label, x=self.axis.x(tick), y=height + 16, class_="figure middle"))
        return join(shown)


def rectangle(left: float, top: float, right: float, bottom: float, width_min: float = 1.0) -> str:
    """The commands of a box, for a path of many."""
    width = max(right - left, width_min)
    return f"M{number(left)} {number(top)}h{number(width)}v{number(bottom - top)}h{number(-width)}z"


def path(commands: Iterable[str], class_: str) -> Markup:
    """One path of many pieces: far smaller than one element each. Nothing, where there are no pieces."""
    data = "".join(commands)
    return element("path", d=data, class_=class_) if data else Markup("")


def drawing(height: float, *children: object, label: str, class_: str = "chart") -> Markup:
    """An SVG of the common width. `label` is for those who do not see it."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {WIDTH} {number(height)}",
        class_=class_,
        role="img",
        aria_label=label,
    )


def text_width(label: str) -> float:
    """Pixels that a label takes, about."""
    return len(label) * CHARACTER_WIDTH


def legend(*entries: tuple[str, str]) -> Markup:
    """Swatch class and meaning of each thing in a plot."""
    return element(
        "ul",
        [
            element("li", element("svg", _swatch(class_), viewBox="0 0 18 12", class_="swatch"), meaning)
            for class_, meaning in entries
        ],
        class_="legend",
    )


def _swatch(class_: str) -> Markup:
    """A small sample of how the thing is drawn."""
    if class_.startswith("line"):
        return element("path", d="M0 6h18", class_=class_)
    if class_ in ("change", "final"):
        return element("path", d="M9 0v12", class_=class_)
    if class_ == "mark-failed":
        return element("path", d=cross(9, 6, 4), class_=class_)
    if class_ in ("mark-unknown", "dot-max"):
        return element("path", d=ring(9, 6, 3.5 if class_ == "mark-unknown" else 2), class_=class_)
    return element("path", d="M0.5 0.5h17v11h-17z", class_=class_)


def cross(x: float, y: float, radius: float) -> str:
    """A diagonal cross: failed."""
    size = number(radius * 2)
    left, top = x - radius, y - radius
    return f"M{number(left)} {number(top)}l{size} {size}M{number(left)} {number(y + radius)}l{size} -{size}"


def ring(x: float, y: float, radius: float) -> str:
    """A circle: unknown."""
    size, far = number(radius), number(radius * 2)
    return f"M{number(x - radius)} {number(y)}a{size} {size} 0 1 0 {far} 0a{size} {size} 0 1 0 -{far} 0"
