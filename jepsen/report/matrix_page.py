"""Many runs on one page: workloads by packages of faults, each run with its verdict and a link to its own page.

The same figures as Markdown, for what is kept of a campaign in docs/.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from jepsen.report.head import WORDS, table
from jepsen.report.markup import Markup, element
from jepsen.report.matrix import SIGNS, Cell, all_left_out, cells, fault_totals, overall, totals
from jepsen.report.matrix_markdown import summary_markdown as summary_markdown
from jepsen.report.style import document
from jepsen.report.summary import RunSummary
from jepsen.report.words import plural, span

PAGE_NAME = "report.html"
"""Of a run's page within its folder."""


def write(
    runs: Sequence[RunSummary],
    path: Path,
    *,
    title: str = "",
    lost: Sequence[str] = (),
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Write the page of a campaign; links to the runs' pages are relative to it. Raises OSError.

    `lost` are the names of runs that left no summary: with one of them no campaign has passed. `left_out` says of
    faults why no run could have them.
    """
    path.write_text(html(runs, path.parent, title=title, lost=lost, left_out=left_out), encoding="utf-8")


def html(
    runs: Sequence[RunSummary],
    base: Path,
    *,
    title: str = "",
    lost: Sequence[str] = (),
    left_out: Mapping[str, str] | None = None,
) -> str:
    """Return the page; `base` is the folder in which it will lie."""
    word = overall(runs, lost)
    return document(
        f"{word}: {title or plural(len(runs), 'run')}",
        element(
            "div",
            element(
                "div",
                element("p", title) if title else None,
                element("h1", WORDS[word]),
                element("p", totals(runs, lost)),
            ),
            class_=f"banner {word}",
        ),
        element("section", element("h2", "Workloads by faults"), _grid(runs, base)),
        element("section", element("h2", "Faults"), _faults(runs), _left_out(runs, left_out)),
        element("section", element("h2", "Runs"), _runs(runs, base)),
        _missing(runs),
    )


def _grid(runs: Sequence[RunSummary], base: Path) -> Markup:
    workloads, packages, found = cells(runs)
    rows = [
        element(
            "tr",
            element("td", element("strong", workload), class_="keep"),
            [element("td", _cell(found.get((workload, package)), base)) for package in packages],
        )
        for workload in workloads
    ]
    if not rows:
        return element("p", "No run has any operation.", class_="nothing")
    return table(("", *packages), rows)


def _cell(cell: Cell | None, base: Path) -> Markup:
    if cell is None:
        return element("span", "–", class_="soft")
    worst = [run for run in cell.runs if run.word == cell.word] or cell.runs
    return element(
        "a",
        element("b", f"{SIGNS[cell.word]} {cell.word}"),
        element("small", f"{cell.operations_count:,} ops"),
        element("small", plural(cell.faults_count, "fault")),
        class_=f"cell {cell.word}",
        href=_link(worst[0], base),
        title=f"{plural(len(cell.runs), 'run')}, seeds {', '.join(str(run.seed) for run in cell.runs)}",
    )


def _link(run: RunSummary, base: Path) -> str | None:
    """Relative, so that the folder can be moved as a whole; percent-encoded by pathlib's rules for files."""
    if not run.folder:
        return None
    page = Path(run.folder) / PAGE_NAME
    try:
        return quote(str(page.resolve().relative_to(base.resolve())))
    except ValueError:
        return page.resolve().as_uri()


def _faults(runs: Sequence[RunSummary]) -> Markup:
    rows = [
        element(
            "tr",
            element("td", package, class_="keep"),
            element("td", name, class_="keep"),
            element("td", f"{counted:,}", class_="n"),
            element("td", f"{not_counted:,}" if not_counted else "", class_="n"),
            element("td", f"{runs_count:,}", class_="n"),
        )
        for package, name, counted, not_counted, runs_count in fault_totals(runs)
    ]
    if not rows:
        return element("p", "None was injected.", class_="nothing")
    return table(("Package", "Fault", "Effect seen#", "Not counted#", "Runs#"), rows, narrow=True)


def _left_out(runs: Sequence[RunSummary], left_out: Mapping[str, str] | None) -> list[Markup]:
    absent = all_left_out(runs, left_out)
    return [element("p", f"Left out: {name}. {why}", class_="note") for name, why in absent.items()]


def _runs(runs: Sequence[RunSummary], base: Path) -> Markup:
    rows = []
    for run in sorted(runs, key=lambda each: ("broken", "undecided", "passed").index(each.word)):
        failing = [verdict for verdict in run.verdicts if not verdict.passed]
        sign = element("span", f"{SIGNS[run.word]} {run.word}", class_=f"verdict {run.word}")
        rows.append(
            element(
                "tr",
                element("td", sign, class_="keep"),
                element("td", element("a", Path(run.folder).name or "run", href=_link(run, base)), class_="keep"),
                element("td", run.seed, class_="n"),
                element("td", f"{run.operations_count:,}", class_="n"),
                element("td", f"{sum(fault.counted for fault in run.faults):,}", class_="n"),
                element("td", span(run.duration_s), class_="n"),
                element("td", run.network, class_="keep"),
                element("td", "; ".join(f"{each.checker}: {each.summary}" for each in failing), class_="wide"),
                class_="run",
            )
        )
        rows.append(element("tr", element("td"), element("td", element("code", run.command), colspan="7")))
    names = ("", "Run", "Seed#", "Operations#", "Faults#", "Duration#", "Network", "What failed")
    return table(names, rows)


def _missing(runs: Sequence[RunSummary]) -> Markup:
    missing = {ability: why for run in runs for ability, why in run.missing.items()}
    if not missing:
        return Markup("")
    rows = [
        element("tr", element("td", ability, class_="keep"), element("td", why))
        for ability, why in sorted(missing.items())
    ]
    return element(
        "section", element("h2", "What this machine could not do"), table(("Ability", "Why not"), rows, narrow=True)
    )
