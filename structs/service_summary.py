"""Sans-IO: the services of a catalog in short. RPC Internal.ServiceSummary. Source: HTTP API, section 15."""

from collections.abc import Iterable

from base.codec import Record
from structs.catalog import CheckStatus, NodeInfo
from structs.query import QueryMeta


class ServiceSummary(Record, frozen=True, kw_only=True):
    """One service name: where its instances are and how they stand. Checks of a node count for each service on it."""

    name: str
    kind: str = ""
    tags: list[str] = []
    nodes: list[str] = []
    passing_count: int = 0
    warning_count: int = 0
    critical_count: int = 0


class ServiceSummaryReply(Record, frozen=True, kw_only=True):
    """Of Internal.ServiceSummary: by name."""

    services: list[ServiceSummary]
    meta: QueryMeta = QueryMeta()


def summaries_of(nodes: Iterable[NodeInfo]) -> list[ServiceSummary]:
    """Return one summary a service name, by name."""
    gathered: dict[str, _Gathered] = {}
    for info in nodes:
        on_node = [check.status for check in info.checks if not check.service_id]
        of_service: dict[str, list[str]] = {}
        for check in info.checks:
            if check.service_id:
                of_service.setdefault(check.service_id, []).append(check.status)
        seen = set()
        for service in info.services:
            summary = gathered.setdefault(service.service, _Gathered())
            summary.kind = summary.kind or service.kind
            summary.tags.update(service.tags or ())
            summary.nodes[info.node.node] = None
            statuses = of_service.get(service.service_id, [])
            summary.statuses += statuses if service.service in seen else statuses + on_node
            seen.add(service.service)
    return [gathered[name].as_record(name) for name in sorted(gathered)]


class _Gathered:
    """What is known of one service name so far."""

    __slots__ = ("kind", "nodes", "statuses", "tags")

    def __init__(self) -> None:
        self.kind = ""
        self.tags: set[str] = set()
        self.nodes: dict[str, None] = {}
        self.statuses: list[str] = []

    def as_record(self, name: str) -> ServiceSummary:
        return ServiceSummary(
            kind=self.kind,
            name=name,
            tags=sorted(self.tags),
            nodes=list(self.nodes),
            passing_count=self.statuses.count(CheckStatus.PASSING),
            warning_count=self.statuses.count(CheckStatus.WARNING),
            critical_count=self.statuses.count(CheckStatus.CRITICAL),
        )
