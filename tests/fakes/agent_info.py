"""An agent called n1, as the HTTP layer sees it; it notes what it is asked to do."""

from agent.events import EventRing
from agent.membership import JoinReport
from base.errors import MeshError
from structs.cluster import Member, MemberStatus
from structs.coordinate import Coordinate
from tests.fakes.cluster_calls import SERVER_ID
from tests.fakes.local import LocalSite


class FakeAgentInfo:
    """A server; `is_server` and the other attributes may be changed."""

    def __init__(self) -> None:
        self.node_name = "n1"
        self.node_id = SERVER_ID
        self.datacenter = "dc1"
        self.version = "1.21.0"
        self.revision = "mesh-0.1.0"
        self.is_server = True
        self.coordinates_enabled = True
        self.events = EventRing(node_name="n1", services=lambda: [("web", ["v1"])])
        self.position: Coordinate | None = None
        self.join_errors: dict[str, str] = {}
        self.error: MeshError | None = None
        self.done: list[tuple[object, ...]] = []
        self.site = LocalSite()
        self.local = self.site.local

    async def reload(self) -> None:
        """See AgentInfo."""
        if self.error is not None:
            raise self.error
        self.done.append(("reload",))

    def self_member(self) -> Member:
        """See AgentInfo."""
        return Member(name="n1", address="10.0.0.1", port=8301, tags={"role": "consul", "dc": "dc1"})

    def members(self, *, wan: bool) -> list[Member]:
        """See AgentInfo."""
        mine = self.self_member()
        if wan:
            return [Member(name="n1.dc1", address="10.0.0.1", port=8302, tags=mine.tags)] if self.is_server else []
        other = Member(
            name="n2", address="10.0.0.2", port=8301, tags={"role": "node"}, status=MemberStatus.FAILED,
            versions=(1, 4, 3, 2, 4, 3),
        )  # fmt: skip
        return [mine, other]

    def coordinate(self) -> Coordinate | None:
        """See AgentInfo."""
        return self.position

    async def join(self, addresses: list[str], *, wan: bool) -> JoinReport:
        """See AgentInfo."""
        self.done.append(("join", addresses, wan))
        errors = {address: self.join_errors[address] for address in addresses if address in self.join_errors}
        return JoinReport(contacted_count=len(addresses) - len(errors), errors=errors)

    async def leave(self) -> None:
        """See AgentInfo."""
        if self.error is not None:
            raise self.error
        self.done.append(("leave",))

    async def force_leave(self, name: str, *, prune: bool, wan: bool) -> bool:
        """See AgentInfo."""
        self.done.append(("force_leave", name, prune, wan))
        return name == "n2"

    def configuration(self) -> dict[str, object]:
        """See AgentInfo."""
        return {"Datacenter": "dc1", "ACLToken": "hidden"}

    def statistics(self) -> dict[str, dict[str, str]]:
        """See AgentInfo."""
        return {"consul": {"leader": "true", "server": "true"}}

    def meta(self) -> dict[str, str]:
        """See AgentInfo."""
        return {"consul-network-segment": ""}
