"""The consensus group: who is in it, removing a server, handing over leadership."""

from functools import cached_property
from typing import TYPE_CHECKING

from mesh.autopilot import Autopilot
from mesh.keyring import Keyring
from mesh.query import DEFAULT_READ, Read
from structs.cluster import Peer, RaftConfigurationReply, RaftServer

if TYPE_CHECKING:
    from mesh.client import Client


class Operator:
    """`client.operator`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    @cached_property
    def autopilot(self) -> Autopilot:
        """How servers are looked after, and how they do."""
        return Autopilot(self._client)

    @cached_property
    def keyring(self) -> Keyring:
        """The keys of gossip."""
        return Keyring(self._client)

    def raft_configuration(self, read: Read = DEFAULT_READ) -> RaftConfigurationReply:
        """Return the servers of the Raft configuration; a stale read works without a leader too."""
        body = self._client.read("/v1/operator/raft/configuration", read).value.json()
        servers = [
            RaftServer(
                peer=Peer(server_id=row["ID"], name=row["Node"], address=row["Address"]),
                leader=row["Leader"],
                voter=row["Voter"],
                last_index=row.get("LastIndex", 0),
                protocol=str(row.get("ProtocolVersion", "")),
            )
            for row in body.get("Servers") or []
        ]
        return RaftConfigurationReply(servers=servers, index=body.get("Index", 0))

    def raft_remove_peer(self, *, server_id: str = "", address: str = "") -> None:
        """Remove one server, named by exactly one of its id and its address."""
        parameters = {name: text for name, text in (("id", server_id), ("address", address)) if text}
        self._client.write("DELETE", "/v1/operator/raft/peer", parameters)

    def raft_transfer_leader(self, server_id: str = "") -> bool:
        """Make another server lead: the given one, or the most caught-up; returns whether it was done."""
        parameters = {"id": server_id} if server_id else {}
        reply = self._client.write("POST", "/v1/operator/raft/transfer-leader", parameters)
        return bool(reply.json().get("Success"))
