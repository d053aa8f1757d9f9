"""Who calls: what a handler learns of the other side of the connection."""

from enum import Enum

import msgspec


class Role(Enum):
    """What a certificate proves its holder to be."""

    SERVER = "server"
    AGENT = "agent"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The other side of a connection."""

    address: str
    """host:port it came from; "" inside this process."""
    role: Role | None = None
    """From its verified certificate; None where there is none."""
    tls: bool = False
    identity_required: bool = False
    """verify_incoming is on: whoever has not proved to be a server is none."""

    @property
    def may_act_as_server(self) -> bool:
        """Whether server-only methods and Raft are open to it (CVE-2021-37219)."""
        return self.role is Role.SERVER or not self.identity_required
