"""Who leads, and who votes."""

from mesh.call import Call, Noun, World, method, read_call, value_of
from mesh.query import DEFAULT_READ, Read
from mesh.rows import checked


class Status(Noun[World]):
    """`client.status`."""

    @method
    def leader(self, read: Read = DEFAULT_READ) -> Call[str]:
        """Return the RPC address of the leader, "" where none is known."""
        return value_of(read_call("/v1/status/leader", str, read))

    @method
    def peers(self, read: Read = DEFAULT_READ) -> Call[list[str]]:
        """Return the RPC addresses of the Raft configuration."""
        return value_of(read_call("/v1/status/peers", _texts, read))


def _texts(value: object) -> list[str]:
    return [str(address) for address in checked(value, list)]
