"""ROUTES: path -> methods, access, body rule and handler, and what a handler is given.

Patterns are Go's: exact paths win; a path that ends in "/" is a prefix, and the longest one wins.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import msgspec

from acl.access import Access
from agent.http.parameters import Query, ReadParameters, read_parameters, write_options
from agent.http.reader import BodyRule, Request
from agent.http.response import Response
from agent.http.settings import HTTPSettings
from base.codec import Record
from base.errors import Refused
from structs.cluster import Member
from structs.query import WriteOptions

Reply = TypeVar("Reply", bound=Record)
NO_PATH_TEXT = "No path to datacenter"


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

    def self_member(self) -> Member:
        """Return this node as the others see it."""

    def members(self) -> list[Member] | Awaitable[list[Member]]:
        """Return everyone known in this datacenter."""

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


class Services:
    """What all requests of a listener share."""

    __slots__ = ("agent", "delegate", "settings")

    def __init__(self, settings: HTTPSettings, delegate: Delegate, agent: AgentInfo) -> None:
        self.settings = settings
        self.delegate = delegate
        self.agent = agent


class RequestContext:
    """One request as a handler sees it."""

    __slots__ = (
        "delegate",
        "exchange_or_none",
        "is_blocking",
        "method",
        "path",
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

    def read_parameters(self) -> ReadParameters:
        """Return how a read is to be answered; raises InvalidRequest, or Refused for an unknown datacenter."""
        settings = self.services.settings
        parameters = read_parameters(
            self.query,
            self._token(),
            wait_default_s=settings.wait_default_s,
            wait_s_max=settings.wait_s_max,
        )
        options = parameters.options
        if options.index_min:
            self.is_blocking = True
        if options.datacenter:
            self.check_datacenter(options.datacenter)
            parameters = ReadParameters(msgspec.structs.replace(options, datacenter=""), parameters.stale_s_max)
        return parameters

    def write_options(self) -> WriteOptions:
        """Return what a write carries; raises as `read_parameters`."""
        options = write_options(self.query, self._token())
        if options.datacenter:
            self.check_datacenter(options.datacenter)
            return WriteOptions(token=options.token)
        return options

    def check_datacenter(self, datacenter: str) -> None:
        """Refuse any datacenter but our own: there is no way to another one."""
        if datacenter.lower() != self.services.agent.datacenter:
            raise Refused(NO_PATH_TEXT)


Handler = Callable[[RequestContext], Response | Awaitable[Response]]
RuleOf = Callable[[HTTPSettings], BodyRule]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path."""

    handler: Handler
    access: Access
    is_write: bool
    """Errors of writes say whether anything may have happened."""


class Route:
    """One path. `allow` is the value of the Allow header."""

    __slots__ = ("allow", "endpoints", "path", "rule_of")

    def __init__(self, path: str) -> None:
        self.path = path
        self.endpoints: dict[str, Endpoint] = {}
        self.rule_of: RuleOf = default_rule
        self.allow = ""


ROUTES: dict[str, Route] = {}
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
            row.endpoints[method] = Endpoint(handler=handler, access=access, is_write=is_write)
        if rule_of is not None:
            row.rule_of = rule_of
        row.allow = ",".join(["OPTIONS", *(method for method in _METHODS_ORDER if method in row.endpoints)])
        return handler

    return register
