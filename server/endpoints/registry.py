"""METHODS: name -> types, access, kind and handler of every RPC. Streams have a table of their own beside it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from acl.access import Access
from base.codec import Record
from base.errors import Refused
from base.telemetry import Samples, samples
from fsm.watch import WatchSet
from structs.query import Consistency, QueryMeta

if TYPE_CHECKING:
    from fsm.store.store import ReadView
    from fsm.store.tables import Table
    from server.services import Services


class Kind(Enum):
    """Who answers a method."""

    READ = auto()
    """A query of the state machine: consistency modes and, with `index_min`, blocking."""
    LEADER = auto()
    """Asks the leader for something that is not in the state machine; may be repeated; stale: anybody answers."""
    WRITE = auto()
    """Runs on the leader and may change something; repeated only where it certainly did not happen."""
    LOCAL = auto()
    """Answered by whoever is asked."""


@dataclass(slots=True)
class Query:
    """What a READ handler gets: a consistent view and how the answer will be labelled.

    A handler names what it reads in `watch_set` before it reads it, unless that is None (nobody will wait).
    """

    view: "ReadView"
    watch_set: WatchSet | None
    known_leader: bool
    last_contact_ms: int
    consistency: Consistency

    def meta(self, index: int) -> QueryMeta:
        """Return the answer's meta for the data-view index `index`."""
        return QueryMeta(
            index=index or 1,
            known_leader=self.known_leader,
            last_contact_ms=self.last_contact_ms,
            consistency=self.consistency,
        )


class Caller(Protocol):
    """Who calls over the network, as the RPC listener proved it."""

    @property
    def address(self) -> str:
        """host:port of the other end."""
        ...

    @property
    def may_act_as_server(self) -> bool:
        """Whether it has proved to be a server, or nobody has to."""
        ...


@dataclass(slots=True)
class Call:
    """What a handler that is no plain read gets."""

    services: "Services"
    caller: Caller | None
    """None: the agent in this process."""
    forwarded: bool = False
    """Another server has passed this on to us as the leader; it is not passed on again."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How replies of a READ method are used again while nothing in them has changed (server/replies.py)."""

    part: str
    """The field of the reply that is all of it but `meta`, which must be the last one."""
    index_of: Callable[["ReadView", Any], int]
    """(view, request) -> the index that the reply will have; 0: this reply must not be kept."""
    watch: Callable[["WatchSet", Any], None] | None = None
    """(watch set, request): adds all that the reply depends on, where that is known without making it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row of METHODS."""

    name: str
    request: type[Any]
    reply: type[Any]
    access: Access
    kind: Kind
    handler: Callable[[Any, Any], Any]
    """READ: (Query, request) -> reply. Others: (Call, request) -> reply, or a coroutine of it."""
    took_ms: Samples
    """How long the leader took, for what only the leader may do."""
    keeping: Keeping | None = None
    rows_of: "Callable[[ReadView, Any], int] | None" = None
    """READ: (view, request) -> about how many rows are read; for many a thread does it (server/reads.py)."""


class ByteStream(Protocol):
    """One stream of chunks both ways; b"" is the end."""

    async def receive_chunk(self) -> bytes:
        """Return the next chunk, b"" at the end."""
        ...

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk; waits while the other side's window is full."""
        ...

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        ...


StreamHandler = Callable[[Call, Any, ByteStream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """One row of STREAMS."""

    name: str
    request: type[Any]
    access: Access
    handler: StreamHandler


METHODS: dict[str, Method] = {}
STREAMS: dict[str, StreamMethod] = {}

H = TypeVar("H", bound=Callable[..., Any])


def all_rows(*tables: "Table") -> "Callable[[ReadView, Any], int]":
    """Return the `rows_of` of a method that reads these tables from one end to the other."""

    def rows_of(view: "ReadView", request: Any) -> int:
        return sum(view.rows_count(table) for table in tables)

    return rows_of


def method(
    name: str,
    *,
    request: type[Record],
    reply: type[Record],
    access: Access,
    kind: Kind,
    keeping: Keeping | None = None,
    rows_of: "Callable[[ReadView, Any], int] | None" = None,
) -> Callable[[H], H]:
    """Register an RPC. `access` has no default on purpose: nobody forgets it silently."""

    def register(handler: H) -> H:
        _refuse_twice(name)
        METHODS[name] = Method(name, request, reply, access, kind, handler, samples(name.lower()), keeping, rows_of)
        return handler

    return register


def stream_method(name: str, *, request: type[Record], access: Access) -> Callable[[H], H]:
    """Register a streaming RPC; its handler is called on the server that was asked."""

    def register(handler: H) -> H:
        _refuse_twice(name)
        STREAMS[name] = StreamMethod(name, request, access, handler)
        return handler

    return register


def method_named(name: str) -> Method:
    """Return the row of `name`; raises Refused."""
    found = METHODS.get(name)
    if found is None:
        raise Refused(f"rpc: can't find method {name}")
    return found


def stream_named(name: str) -> StreamMethod:
    """Return the row of the stream `name`; raises Refused."""
    found = STREAMS.get(name)
    if found is None:
        raise Refused(f"rpc: can't find method {name}")
    return found


def _refuse_twice(name: str) -> None:
    if name in METHODS or name in STREAMS:
        raise RuntimeError(f"{name} is registered twice")
