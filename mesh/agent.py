"""The agent itself, and the members it knows."""

from typing import TYPE_CHECKING, Any

from structs.cluster import Member, MemberStatus

if TYPE_CHECKING:
    from mesh.client import Client


class Agent:
    """`client.agent`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def self(self) -> dict[str, Any]:
        """Return what the agent says of itself: Config, DebugConfig, Member, Stats, ..."""
        answer: dict[str, Any] = self._client.read("/v1/agent/self").value.json()
        return answer

    def members(self, *, wan: bool = False) -> list[Member]:
        """Return the members that this agent knows."""
        parameters = {"wan": "1"} if wan else {"segment": "_all"}
        rows = self._client.read("/v1/agent/members", parameters=parameters).value.json() or []
        return [
            Member(
                name=row["Name"],
                address=row["Addr"],
                port=row["Port"],
                tags=row.get("Tags") or {},
                status=MemberStatus(row["Status"]) if row["Status"] in set(MemberStatus) else MemberStatus.NONE,
            )
            for row in rows
        ]
