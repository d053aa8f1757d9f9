"""ROUTES: path -> methods, access, body rule and handler, and what a handler is given.

Patterns are Go's: exact paths win; a path that ends in "/" is a prefix, and the longest one wins.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import msgspec

from acl.access import Access
from agent.cache.cache import Cache
from agent.events import EventRing
from agent.http.answers import Answers
from agent.http.parameters import Query, ReadParameters, datacenter_of, read_parameters, write_options
from agent.http.reader import BodyRule, Request
from agent.http.response import Response
from agent.http.settings import HTTPSettings
from agent.local.services import LocalServices
from agent.membership import JoinReport
from base.codec import Record
from base.errors import Refused
from base.telemetry import Samples, samples_by
from structs.cluster import Member
from structs.coordinate import Coordinate
from structs.query import NO_PATH_TEXT, WriteOptions

Reply = TypeVar("Reply", bound=Record)
DATACENTER_LENGTH_MAX = 128
"""Longer than any name there can be; it is copied into every call that is passed on."""


class DelegateStream(Protocol):
    """A call whose request or reply is too large for one frame."""

    async def receive_chunk(self) -> bytes:
        """Return the next piece, b"" at the end; raises MeshErrors of the other side."""

    async def send_chunk(self, data: bytes) -> None:
        """Send one piece; waits while the other side does not keep up."""

    async def finish(self) -> None:
        """Say that everything was sent."""


class Delegate(Protocol):
    """Who answers: the server in this process, or one asked over RPC."""

    def call(self, method: str, request: Record, reply: type[Reply]) -> Reply | Awaitable[Reply]:
        """Return the reply, at once where it is known at once; raises MeshErrors (now or when awaited)."""

    def stream(self, method: str, request: Record) -> AbstractAsyncContextManager[DelegateStream]:
        """Open a stream."""


class AgentInfo(Protocol):
    """What this agent knows by itself."""

    @property
    def node_name(self) -> str:
        """Name of this node."""

    @property
    def node_id(self) -> str:
        """UUID of this node."""

    @property
    def datacenter(self) -> str:
        """Own datacenter, lower-case."""

    @property
    def version(self) -> str:
        """Version that clients are told: the one whose API this is."""

    @property
    def revision(self) -> str:
        """Build that runs, "" where unknown."""

    @property
    def is_server(self) -> bool:
        """Whether a server runs in this process."""

    @property
    def coordinates_enabled(self) -> bool:
        """Whether this agent has anything to do with network coordinates."""

    @property
    def events(self) -> EventRing:
        """The user events that this agent has seen."""

    @property
    def local(self) -> LocalServices:
        """Its own services and checks."""

    async def reload(self) -> None:
        """Read the configuration again; raises ConfigInvalid and others, nothing has changed then."""

    def self_member(self) -> Member:
        """Return this node as the others see it."""

    def members(self, *, wan: bool) -> list[Member] | Awaitable[list[Member]]:
        """Return everyone known in this datacenter; `wan`: the servers of all datacenters, [] on client agents."""

    def coordinate(self) -> Coordinate | None:
        """Return where this node is in the network, None where that is not measured."""

    async def join(self, addresses: list[str], *, wan: bool) -> JoinReport:
        """Join the cluster, or the pool of all servers, through each address; raises Refused where that cannot be."""

    async def leave(self) -> None:
        """Leave gracefully; returns when that is done. The process ends soon after, but not before the answer left."""

    async def force_leave(self, name: str, *, prune: bool, wan: bool) -> bool:
        """Turn a failed member into one that left, with `prune` forget it; returns whether there is such a member."""

    def configuration(self) -> Mapping[str, object]:
        """Return the whole configuration by field name, durations as text, secrets as "hidden"."""

    def statistics(self) -> Mapping[str, Mapping[str, str]]:
        """Return `Stats` of `/v1/agent/self` (HTTP API, section 1); every value is text."""

    def meta(self) -> Mapping[str, str]:
        """Return this node's meta data."""


class Exchange(Protocol):
    """A request whose body or answer travels in pieces."""

    async def receive_piece(self) -> bytes:
        """Return the next piece of the body, b"" at its end; raises InvalidRequest where it breaks off."""

    async def begin_answer(self, response: Response) -> None:
        """Send the head of an answer of unknown size. From then on an error can only cut the answer off."""

    async def send_piece(self, piece: bytes) -> None:
        """Send the next piece of the body; waits while the client does not keep up."""

    def stay(self) -> None:
        """There is nothing to send just now: the connection is not to be ended for that."""


class Services:
    """What all requests of a listener share."""

    __slots__ = ("agent", "answers", "cache", "delegate", "settings")

    def __init__(
        self, settings: HTTPSettings, delegate: Delegate, agent: AgentInfo, cache: Cache | None = None
    ) -> None:
        self.settings = settings
        self.delegate = delegate
        self.agent = agent
        self.cache = cache
        """For requests that say `cached`; None: they are answered like others."""
        self.answers = Answers()


class RequestContext:
    """One request as a handler sees it."""

    __slots__ = (
        "delegate",
        "exchange_or_none",
        "is_blocking",
        "method",
        "path",
        "peer",
        "query",
        "remainder",
        "request",
        "services",
    )

    def __init__(
        self, services: Services, request: Request, method: str, path: str, remainder: str, query: Query
    ) -> None:
        self.services = services
        self.delegate = services.delegate
        self.request = request
        self.method = method
        self.path = path
        """Percent-decoded."""
        self.remainder = remainder
        """What follows a prefix route's path; "" for exact routes."""
        self.query = query
        self.exchange_or_none: Exchange | None = None
        self.peer = ""
        """Address of the client, "" where there is none (unix sockets)."""
        self.is_blocking = False
        """Set for blocking queries: these are cancelled when the client hangs up."""

    @property
    def exchange(self) -> Exchange:
        """For routes whose body rule has no limit: body and answer in pieces."""
        assert self.exchange_or_none is not None  # the connection gives one to each request of such a route
        return self.exchange_or_none

    @property
    def agent(self) -> AgentInfo:
        """The agent's own facts."""
        return self.services.agent

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.request.body

    @property
    def settings(self) -> HTTPSettings:
        """The listener's settings."""
        return self.services.settings

    def _token(self) -> str:
        return self.request.head.token or self.services.settings.token_default

    def read_parameters(self, *, is_discovery: bool = False, wait_default_s: float = 0.0) -> ReadParameters:
        """Return how a read is to be answered; raises InvalidRequest.

        `is_discovery`: catalog and health, which may be stale unasked. `wait_default_s` replaces the configured default
        of blocking reads. Another datacenter than our own is carried to
        the server, which knows whether there is a way to it.
        """
        settings = self.services.settings
        parameters = read_parameters(
            self.query,
            self._token(),
            wait_default_s=wait_default_s or settings.wait_default_s,
            wait_s_max=settings.wait_s_max,
            discovery_stale_s_max=settings.discovery_stale_s_max if is_discovery else 0.0,
        )
        options = parameters.options
        if options.index_min:
            self.is_blocking = True
        if options.datacenter:
            datacenter = self.foreign_datacenter(options.datacenter)
            parameters = ReadParameters(msgspec.structs.replace(options, datacenter=datacenter), parameters.stale_s_max)
        return parameters

    def write_options(self) -> WriteOptions:
        """Return what a write carries; raises as `read_parameters`."""
        options = write_options(self.query, self._token())
        if options.datacenter:
            return WriteOptions(token=options.token, datacenter=self.foreign_datacenter(options.datacenter))
        return options

    def foreign_datacenter(self, datacenter: str) -> str:
        """Return the name of another datacenter in lower case, "" for our own."""
        datacenter = datacenter.lower()
        if len(datacenter) > DATACENTER_LENGTH_MAX:
            raise Refused(NO_PATH_TEXT)
        return "" if datacenter == self.services.agent.datacenter else datacenter

    def translates(self, datacenter: str) -> bool:
        """Whether what is in this datacenter ("" for the agent's own) is told with its WAN addresses."""
        return self.settings.translate_wan_addresses and datacenter.lower() not in ("", self.services.agent.datacenter)

    def refuse_other_datacenter(self) -> None:
        """Refuse any datacenter but our own, for calls that cannot carry one; raises Refused."""
        if self.foreign_datacenter(datacenter_of(self.query)):
            raise Refused(NO_PATH_TEXT)


Handler = Callable[[RequestContext], Response | Awaitable[Response]]
RuleOf = Callable[[HTTPSettings], BodyRule]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path."""

    handler: Handler
    access: Access
    is_write: bool
    """Errors of writes say whether anything may have happened."""
    took_ms: Samples
    """How long answers took, blocking included."""


class Route:
    """One path. `allow` is the value of the Allow header."""

    __slots__ = ("allow", "endpoints", "path", "rule_of", "streams")

    def __init__(self, path: str) -> None:
        self.path = path
        self.endpoints: dict[str, Endpoint] = {}
        self.rule_of: RuleOf = default_rule
        self.streams = False
        """Whether bodies and answers travel in pieces: its body rule has no limit."""
        self.allow = ""


ROUTES: dict[str, Route] = {}
_took_ms = samples_by("api.http", "method", "path")


def measured_path(path: str) -> str:
    """Return a route as metrics name it: `v1.kv._` for `/v1/kv/`, without anything a client chose."""
    return (path.strip("/") + ("/_" if path.endswith("/") else "")).replace("/", ".")


_METHODS_ORDER = ("GET", "PUT", "POST", "DELETE")


def default_rule(settings: HTTPSettings) -> BodyRule:
    """Most requests have no body, or a small one."""
    return BodyRule(settings.limits.body_bytes_max, "Request body({bytes} bytes) too large, max size: {max} bytes.")


def route(
    path: str, *methods: str, access: Access, is_write: bool, rule_of: RuleOf | None = None
) -> Callable[[Handler], Handler]:
    """Register a handler. `access` has no default on purpose; `rule_of` holds for all methods of the path."""

    def register(handler: Handler) -> Handler:
        row = ROUTES.get(path)
        if row is None:
            row = ROUTES[path] = Route(path)
        for method in methods:
            if method in row.endpoints:
                raise RuntimeError(f"{method} {path} is registered twice")
            took_ms = _took_ms.labelled(method, measured_path(path))
            row.endpoints[method] = Endpoint(handler=handler, access=access, is_write=is_write, took_ms=took_ms)
        if rule_of is not None:
            row.rule_of = rule_of
            row.streams = rule_of(HTTPSettings()).bytes_max is None
        row.allow = ",".join(["OPTIONS", *(method for method in _METHODS_ORDER if method in row.endpoints)])
        return handler

    return register
