"""The top of the page: the verdict in one glance, what it was a run of, how to run it again."""

from collections.abc import Sequence

from jepsen.checkers.verdict import Verdict
from jepsen.report.markup import Markup, element
from jepsen.report.summary import RunSummary, WorkloadCount
from jepsen.report.words import plural, span

WORDS = {"passed": "Passed", "broken": "A promise was broken", "undecided": "Undecided"}
GLYPHS = {
    "passed": "M12 30l12 12l22 -26",
    "broken": "M14 14l28 28M42 14l-28 28",
    "undecided": "M18 20a10 10 0 1 1 14 9c-3 1.500 -4 3 -4 6M28 45v.1",
}


def banner(summary: RunSummary) -> Markup:
    """The verdict, big."""
    word = summary.word
    return element(
        "div",
        element("svg", element("path", d=GLYPHS[word]), viewBox="0 0 56 56", aria_hidden="true"),
        element("div", element("h1", WORDS[word]), element("p", sentence(summary))),
        class_=f"banner {word}",
    )


def sentence(summary: RunSummary) -> str:
    """The verdict in a sentence, with the figures that make it worth something."""
    size = f"{plural(summary.operations_count, 'operation')} under {plural(_counted(summary), 'fault')}"
    unhappy = [verdict for verdict in summary.verdicts if not verdict.valid]
    undecided = [verdict for verdict in summary.verdicts if verdict.valid and not verdict.decided]
    if unhappy:
        names = ", ".join(_name(verdict.checker, verdict.workload) for verdict in unhappy)
        return f"{size}; {len(unhappy)} of {plural(len(summary.verdicts), 'checker')} found anomalies: {names}."
    if not summary.finished:
        return f"{size}; the run was interrupted, its history has no end."
    if not summary.verdicts:
        return f"{size}; nobody judged the run."
    if undecided:
        names = ", ".join(_name(verdict.checker, verdict.workload) for verdict in undecided)
        why = " None of the faults that were asked for took effect." if summary.is_calm else ""
        return f"{size}; not decided: {names}.{why}"
    return f"{size}; {plural(len(summary.verdicts), 'checker')} found nothing wrong."


def facts(summary: RunSummary) -> Markup:
    """Seed, command, cluster, machine, counts, faults."""
    options = summary.options
    servers, agents = options.get("servers", ""), options.get("agents", "")
    cluster = f"{servers} servers" + (
        f", {agents} agent{'s' if agents != '1' else ''}" if agents not in ("", "0") else ""
    )
    cluster = cluster if servers else "given by address"
    pairs = [
        ("Seed", str(summary.seed)),
        ("Started", summary.started.replace("T", " ").replace("+00:00", " UTC")),
        ("Duration", span(summary.duration_s)),
        ("Version", summary.version),
        ("Cluster", cluster),
        ("Network", summary.network or "not known"),
        ("Leaders seen", str(summary.leaders_count)),
    ]
    if options.get("break"):
        pairs.append(("Deliberately broken", options["break"]))
    return element(
        "section",
        element("dl", [element("div", element("dt", key), element("dd", each)) for key, each in pairs], class_="facts"),
        element(
            "div",
            element("code", summary.command),
            element("button", "Copy", type="button", data_copy="", aria_label="Copy the command that repeats the run"),
            class_="replay",
        ),
        _trouble(summary),
        element("div", element("div", _workloads(summary)), element("div", _faults(summary)), class_="columns"),
        _missing(summary),
    )


def verdict_table(verdicts: Sequence[Verdict]) -> Markup:
    """Every checker, unhappy ones first."""
    ordered = sorted(verdicts, key=lambda each: (each.valid, each.decided))
    rows = [
        element(
            "tr",
            element("td", mark(valid=each.valid, decided=each.decided), class_="keep"),
            element("td", each.checker, class_="keep"),
            element("td", each.workload, class_="keep"),
            element("td", each.summary, class_="wide"),
            element("td", f"{each.checked_count:,}", class_="n"),
            element("td", f"{max(each.anomalies_count, len(each.anomalies)):,}", class_="n"),
            element("td", span(each.took_s) if each.took_s else "", class_="n"),
        )
        for each in ordered
    ]
    return element(
        "section",
        element("h2", "Verdicts"),
        table(("", "Checker", "Workload", "Found", "Judged#", "Anomalies#", "Took#"), rows)
        if rows
        else element("p", "No checker has judged this run.", class_="nothing"),
    )


def mark(*, valid: bool, decided: bool) -> Markup:
    """A small verdict: sign and word."""
    if not valid:
        return element("span", "✗ broken", class_="verdict broken")
    if not decided:
        return element("span", "? undecided", class_="verdict undecided")
    return element("span", "✓ passed", class_="verdict passed")


def table(names: Sequence[str], rows: Sequence[Markup], *, narrow: bool = False) -> Markup:
    """A table; columns whose name ends in # hold figures. A narrow one is only as wide as it must be."""
    head = [element("th", name.rstrip("#"), class_="n" if name.endswith("#") else None) for name in names]
    return element(
        "div",
        element(
            "table", element("thead", element("tr", head)), element("tbody", rows), class_="narrow" if narrow else None
        ),
        class_="scroll",
    )


def _name(checker: str, workload: str) -> str:
    return f"{checker} ({workload})" if workload and workload != checker else checker


def _counted(summary: RunSummary) -> int:
    return sum(fault.counted for fault in summary.faults)


def _workloads(summary: RunSummary) -> Markup:
    rows = [
        element(
            "tr",
            element("td", each.name, class_="keep"),
            [
                element("td", f"{count:,}", class_="n")
                for count in (each.ok, each.declined, each.failed - each.declined, each.unknown)
            ],
            element("td", _share(each)),
        )
        for each in summary.workloads
    ]
    declined = any(each.declined for each in summary.workloads)
    return element(
        "div",
        element("h3", "Operations"),
        table(("Workload", "ok#", "declined#", "failed#", "unknown#", "Share"), rows),
        element("p", "Declined: answered, but not done, as by a compare-and-set that came too late.", class_="note")
        if declined
        else None,
    )


def _share(each: WorkloadCount) -> Markup:
    """A bar of three parts; one that is there at all is at least visible."""
    begin, boxes = 0.0, []
    parts = ((each.ok, "ok4"), (each.declined, "ok1"), (each.failed - each.declined, "failed3"))
    for count, class_ in (*parts, (each.unknown, "unknown3")):
        width = max(100.0 * count / each.total, 1.0) if count else 0.0
        begin = min(begin, 100.0 - width)
        if count:
            boxes.append(element("rect", x=begin, y="0", width=width, height="12", class_=class_))
        begin += width
    title = f"{100 * each.ok / each.total:.1f} % ok"
    return element(
        "svg", element("title", title), boxes, viewBox="0 0 100 12", preserveAspectRatio="none", class_="share"
    )


def _faults(summary: RunSummary) -> Markup:
    notes = _untried(summary)
    if not summary.faults:
        return element("div", element("h3", "Faults"), element("p", "None was injected.", class_="nothing"), notes)
    all_counted = not any(each.not_counted for each in summary.faults)
    rows = [
        element(
            "tr",
            element("td", each.name, class_="keep"),
            element("td", str(each.counted), class_="n"),
            None if all_counted else element("td", str(each.not_counted or ""), class_="n"),
            None if all_counted else element("td", "; ".join(each.reasons), class_="soft wide"),
        )
        for each in summary.faults
    ]
    names = ("Fault", "Effect seen#") if all_counted else ("Fault", "Effect seen#", "Not counted#", "Why not")
    return element("div", element("h3", "Faults"), table(names, rows), notes)


def _untried(summary: RunSummary) -> list[Markup]:
    """What was asked for and did not happen."""
    notes = [f"Left out: {name}. {why}" for name, why in summary.left_out.items()]
    notes += [f"No time was left for {', '.join(summary.no_turn)}."] if summary.no_turn else []
    return [element("p", note, class_="note") for note in notes]


def _missing(summary: RunSummary) -> Markup:
    """What the machine could not do: faults that need it are not in this run."""
    if not summary.missing:
        return Markup("")
    rows = [
        element("tr", element("td", ability, class_="keep"), element("td", why))
        for ability, why in sorted(summary.missing.items())
    ]
    return element("div", element("h3", "What this machine could not do"), table(("Ability", "Why not"), rows))


def _trouble(summary: RunSummary) -> Markup:
    if not summary.trouble:
        return Markup("")
    return element(
        "div",
        element("h3", "Trouble of the run itself"),
        element("ul", [element("li", each, class_="bad-text") for each in summary.trouble]),
    )
