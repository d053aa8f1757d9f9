"""What a checker finds, counted by kind; the first few in full."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from jepsen.checkers.verdict import ANOMALIES_MAX, Anomaly, Verdict
from jepsen.history import Operation

PER_KIND_MAX = 5
"""So that one kind does not hide the others."""


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Split operations by their keys."""
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        keys[operation.key].append(operation)
    return dict(keys)


class Findings:
    """Collects anomalies and makes the verdict of them."""

    def __init__(self, *, per_kind_max: int = PER_KIND_MAX) -> None:
        self._per_kind_max = per_kind_max
        self._counts: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._anomalies: list[Anomaly] = []

    @property
    def is_full(self) -> bool:
        """Whether the next one is only counted, so that finding words for it is in vain."""
        return len(self._anomalies) >= ANOMALIES_MAX

    def add(self, kind: str, text: str, *, key: str = "", operations: Sequence[Operation] = (), count: int = 1) -> None:
        """Note one anomaly, or one that stands for `count` of them."""
        if not self.is_full and self._kept[kind] < self._per_kind_max:
            self._anomalies.append(Anomaly(kind=kind, text=text, key=key, operations=list(operations)))
            self._kept[kind] += 1
        self._counts[kind] += count

    def verdict(
        self, *, checker: str, workload: str = "", summary: str, checked_count: int, decided: bool = True
    ) -> Verdict:
        """Return what was found; the summary begins with its figures."""
        if self._counts:
            figures = ", ".join(f"{count:,} × {kind}" for kind, count in sorted(self._counts.items()))
            summary = f"{figures}; {summary}"
        return Verdict(
            checker=checker,
            workload=workload,
            valid=not self._counts,
            decided=decided,
            summary=summary,
            checked_count=checked_count,
            anomalies_count=sum(self._counts.values()),
            anomalies=self._anomalies,
        )
