"""The consensus group: who is in it, removing a server, handing over leadership."""

from functools import cached_property
from typing import Any

from mesh.autopilot import Autopilot
from mesh.call import Call, Noun, World, method, nothing, read_call, value_of, write_call
from mesh.keyring import Keyring
from mesh.query import DEFAULT_READ, Read
from mesh.rows import checked, text_map
from structs.cluster import Peer, RaftConfigurationReply, RaftServer


class Operator(Noun[World]):
    """`client.operator`."""

    @cached_property
    def autopilot(self) -> Autopilot[World]:
        """How servers are looked after, and how they do."""
        return Autopilot(self._client)

    @cached_property
    def keyring(self) -> Keyring[World]:
        """The keys of gossip."""
        return Keyring(self._client)

    @method
    def raft_configuration(self, read: Read = DEFAULT_READ) -> Call[RaftConfigurationReply]:
        """Return the servers of the Raft configuration; a stale read works without a leader too."""
        return value_of(read_call("/v1/operator/raft/configuration", _configuration, read))

    @method
    def raft_remove_peer(self, *, server_id: str = "", address: str = "") -> Call[None]:
        """Remove one server, named by exactly one of its id and its address."""
        parameters = {name: text for name, text in (("id", server_id), ("address", address)) if text}
        return write_call("/v1/operator/raft/peer", nothing, parameters, method="DELETE")

    @method
    def raft_transfer_leader(self, server_id: str = "") -> Call[bool]:
        """Make another server lead: the given one, or the most caught-up; returns whether it was done."""
        return write_call(
            "/v1/operator/raft/transfer-leader",
            lambda reply: bool(text_map(reply.json()).get("Success")),
            {"id": server_id} if server_id else {},
            method="POST",
        )


def _configuration(value: Any) -> RaftConfigurationReply:
    body = text_map(value)
    servers = [
        RaftServer(
            peer=Peer(server_id=row["ID"], name=row["Node"], address=row["Address"]),
            leader=row["Leader"],
            voter=row["Voter"],
            last_index=row.get("LastIndex", 0),
            protocol=str(row.get("ProtocolVersion", "")),
        )
        for row in checked(body.get("Servers"), list)
    ]
    return RaftConfigurationReply(servers=servers, index=body.get("Index", 0))
