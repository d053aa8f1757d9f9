"""The agent itself, and the members it knows."""

from collections.abc import Iterator
from contextlib import contextmanager
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
                versions=(
                    row.get("ProtocolMin", 0),
                    row.get("ProtocolMax", 0),
                    row.get("ProtocolCur", 0),
                    row.get("DelegateMin", 0),
                    row.get("DelegateMax", 0),
                    row.get("DelegateCur", 0),
                ),
            )
            for row in rows
        ]

    def metrics(self) -> dict[str, Any]:
        """Return the last interval of what the agent measures: Gauges, Counters, Samples, ..."""
        answer: dict[str, Any] = self._client.read("/v1/agent/metrics").value.json()
        return answer

    def host(self) -> dict[str, Any]:
        """Return facts of the agent's machine: Memory, CPU, Host, Disk, ..."""
        answer: dict[str, Any] = self._client.read("/v1/agent/host").value.json()
        return answer

    def tasks(self) -> str:
        """Return the tree of the agent's tasks; raises NotFound unless the agent has `enable_debug`."""
        return self._client.read("/debug/tasks").value.body.decode("utf-8", "replace")

    @contextmanager
    def monitor(self, *, level: str = "INFO", as_json: bool = False) -> Iterator[Iterator[bytes]]:
        """Iterate over the agent's log: first its newest lines, then each as it is written."""
        parameters = {"loglevel": level, **({"logjson": "1"} if as_json else {})}
        with self._client.follow("/v1/agent/monitor", parameters) as stream:
            yield stream.lines()

    def join(self, address: str, *, wan: bool = False) -> None:
        """Make the agent join a cluster through a member's gossip address; `wan`: the pool of all servers."""
        self._client.write("PUT", f"/v1/agent/join/{address}", {"wan": "1"} if wan else {})

    def leave(self) -> None:
        """Make the agent leave its cluster; its process ends soon after."""
        self._client.write("PUT", "/v1/agent/leave")

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Turn a failed member into one that left; with `prune` it is forgotten at once."""
        self._client.write("PUT", f"/v1/agent/force-leave/{name}", {"prune": "1"} if prune else {})
