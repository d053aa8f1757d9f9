"""Sans-IO: what an RPC method or a route needs, as one named value in its registry.

There is no default need on purpose: whoever adds a method has to say who may call it.
"""

from enum import StrEnum

from base.codec import Record


class Need(StrEnum):
    """The kind of right. Tokens are checked against these; SERVER is checked against the certificate."""

    NOBODY = "none"
    """Answered to anybody who can reach the port, e.g. who the leader is."""
    KEY_READ = "key:read"
    KEY_LIST = "key:list"
    KEY_WRITE = "key:write"
    NODE_READ = "node:read"
    NODE_WRITE = "node:write"
    SERVICE_READ = "service:read"
    SERVICE_WRITE = "service:write"
    EVENT_READ = "event:read"
    EVENT_WRITE = "event:write"
    AGENT_READ = "agent:read"
    AGENT_WRITE = "agent:write"
    KEYRING_READ = "keyring:read"
    KEYRING_WRITE = "keyring:write"
    QUERY_READ = "query:read"
    QUERY_WRITE = "query:write"
    OPERATOR_READ = "operator:read"
    OPERATOR_WRITE = "operator:write"
    SESSION_READ = "session:read"
    SESSION_WRITE = "session:write"
    MANAGEMENT = "management"
    EACH = "each operation's own"
    """Of several rights the one that fits the kind of each operation: none is done for the sake of another's."""
    SERVER = "server"
    """Only between servers: with TLS the peer's certificate must be a server's."""


class Access(Record, frozen=True, kw_only=True):
    """One need and the request field that names what it is about ("" where it is about everything)."""

    need: Need
    field: str = ""
    kinds: tuple["Access", ...] = ()
    """Of EACH: what an operation needs that has the field."""

    @property
    def servers_only(self) -> bool:
        """Whether an agent's certificate is refused."""
        return self.need is Need.SERVER


NOBODY = Access(need=Need.NOBODY)
SERVER = Access(need=Need.SERVER)
AGENT_READ = Access(need=Need.AGENT_READ)
AGENT_WRITE = Access(need=Need.AGENT_WRITE)
KEYRING_READ = Access(need=Need.KEYRING_READ)
KEYRING_WRITE = Access(need=Need.KEYRING_WRITE)
OPERATOR_READ = Access(need=Need.OPERATOR_READ)
OPERATOR_WRITE = Access(need=Need.OPERATOR_WRITE)
MANAGEMENT = Access(need=Need.MANAGEMENT)


def key_read(field: str) -> Access:
    """Reading the key in `field`."""
    return Access(need=Need.KEY_READ, field=field)


def key_list(field: str) -> Access:
    """Listing what is under the prefix in `field`."""
    return Access(need=Need.KEY_LIST, field=field)


def key_write(field: str) -> Access:
    """Writing the key in `field`; dots reach into nested records."""
    return Access(need=Need.KEY_WRITE, field=field)


def node_read(field: str = "") -> Access:
    """Reading the node in `field`; without one, every node of the answer."""
    return Access(need=Need.NODE_READ, field=field)


def node_write(field: str) -> Access:
    """Writing the node in `field`, and what is on it."""
    return Access(need=Need.NODE_WRITE, field=field)


def service_read(field: str = "") -> Access:
    """Reading the service in `field`; without one, every service of the answer."""
    return Access(need=Need.SERVICE_READ, field=field)


def service_write(field: str) -> Access:
    """Writing the service in `field`, and its checks."""
    return Access(need=Need.SERVICE_WRITE, field=field)


def event_read(field: str = "") -> Access:
    """Reading the events named in `field`; without one, every event of the answer."""
    return Access(need=Need.EVENT_READ, field=field)


def event_write(field: str) -> Access:
    """Firing the event named in `field`."""
    return Access(need=Need.EVENT_WRITE, field=field)


def query_read(field: str = "") -> Access:
    """Reading the prepared queries whose name begins as in `field`; without one, every query of the answer."""
    return Access(need=Need.QUERY_READ, field=field)


def query_write(field: str) -> Access:
    """Writing the prepared query whose name is in `field`."""
    return Access(need=Need.QUERY_WRITE, field=field)


def session_read(field: str = "") -> Access:
    """Reading the sessions of the node in `field`; without one, every session of the answer."""
    return Access(need=Need.SESSION_READ, field=field)


def session_write(field: str) -> Access:
    """Creating, renewing and destroying sessions of the node in `field`; "": of the node that the session has."""
    return Access(need=Need.SESSION_WRITE, field=field)


TXN_READ = Access(
    need=Need.EACH,
    kinds=(
        key_read("operations.key"),
        node_read("operations.node.node"),
        service_read("operations.service.service.service"),
        node_read("operations.check.node"),
        service_read("operations.check.service_name"),
    ),
)
TXN_WRITE = Access(
    need=Need.EACH,
    kinds=(
        key_write("operations.key"),
        node_write("operations.node.node"),
        service_write("operations.service.service.service"),
        node_write("operations.check.node"),
        service_write("operations.check.service_name"),
    ),
)
"""A check belongs to its service, or to its node if it has none. What is replaced or deleted is what is stored: a right
over the name that a request gives a service is none over the service that has its id now."""
