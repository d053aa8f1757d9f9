"""Who leads, and who votes."""

from typing import TYPE_CHECKING

from mesh.query import DEFAULT_READ, Read

if TYPE_CHECKING:
    from mesh.client import Client


class Status:
    """`client.status`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def leader(self, read: Read = DEFAULT_READ) -> str:
        """Return the RPC address of the leader, "" where none is known."""
        return str(self._client.read("/v1/status/leader", read).value.json())

    def peers(self, read: Read = DEFAULT_READ) -> list[str]:
        """Return the RPC addresses of the Raft configuration."""
        return [str(address) for address in self._client.read("/v1/status/peers", read).value.json() or []]
