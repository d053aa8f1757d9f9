"""What both clients share: their nouns, and how a call becomes a request. Each noun is loaded when it is first used."""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic
from urllib.parse import quote, urlencode

from base.errors import InvalidRequest, MeshError
from mesh.address import NO_TLS_FILES, Target, TLSFiles, target_from, tls_from
from mesh.call import Call, Parameters, World
from mesh.errors import error_of, may_repeat
from mesh.reply import Reply

if TYPE_CHECKING:
    from mesh.agent import Agent
    from mesh.catalog import Catalog
    from mesh.coordinate import Coordinates
    from mesh.event import Events
    from mesh.health import Health
    from mesh.kv import KV
    from mesh.operator import Operator
    from mesh.prepared_query import PreparedQueries
    from mesh.session import Sessions
    from mesh.status import Status
    from mesh.txn import Txn

TIMEOUT_S = 30.0
"""An answer that does not block. Agents hold a request for 7 s where there is no leader."""
ATTEMPTS_MAX = 3
PATH_SAFE = "/-_.~"
TOKEN_BYTES_MAX = 4096


class Nouns(Generic[World]):
    """One agent's API; `mesh.client.Client` and `mesh.trio_client.TrioClient` carry out what its nouns build."""

    def __init__(
        self,
        address: str = "",
        *,
        token: str = "",
        datacenter: str = "",
        tls: TLSFiles = NO_TLS_FILES,
        timeout_s: float = TIMEOUT_S,
        attempts_max: int = ATTEMPTS_MAX,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Raises InvalidRequest for an address or variable that makes no sense; connects on first use.

        What is not given comes from the environment (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_CACERT, ...).
        """
        variables = os.environ if environment is None else environment
        self.target: Target = target_from(variables, address)
        self._token = token or variables.get("CONSUL_HTTP_TOKEN", "") or _token_file(variables)
        self._datacenter = datacenter
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        self._tls = tls_from(variables, tls)
        if attempts_max < 1:
            raise ValueError("attempts_max must be at least 1")

    def carry(self, call: Call[Any]) -> Any:
        """Return what the call finds, or an awaitable of it."""
        raise NotImplementedError

    @cached_property
    def kv(self) -> "KV[World]":
        """Keys and values."""
        from mesh.kv import KV

        return KV(self)

    @cached_property
    def txn(self) -> "Txn[World]":
        """Transactions."""
        from mesh.txn import Txn

        return Txn(self)

    @cached_property
    def session(self) -> "Sessions[World]":
        """Leases that own locks."""
        from mesh.session import Sessions

        return Sessions(self)

    @cached_property
    def agent(self) -> "Agent[World]":
        """The agent itself, its services and checks, and the members it knows."""
        from mesh.agent import Agent

        return Agent(self)

    @cached_property
    def catalog(self) -> "Catalog[World]":
        """Datacenters, nodes and services."""
        from mesh.catalog import Catalog

        return Catalog(self)

    @cached_property
    def health(self) -> "Health[World]":
        """Services joined with their checks."""
        from mesh.health import Health

        return Health(self)

    @cached_property
    def query(self) -> "PreparedQueries[World]":
        """Stored lookups."""
        from mesh.prepared_query import PreparedQueries

        return PreparedQueries(self)

    @cached_property
    def coordinate(self) -> "Coordinates[World]":
        """Where nodes are in the network."""
        from mesh.coordinate import Coordinates

        return Coordinates(self)

    @cached_property
    def event(self) -> "Events[World]":
        """User events."""
        from mesh.event import Events

        return Events(self)

    @cached_property
    def status(self) -> "Status[World]":
        """Leader and peers."""
        from mesh.status import Status

        return Status(self)

    @cached_property
    def operator(self) -> "Operator[World]":
        """The consensus group, its autopilot, and the keys of gossip."""
        from mesh.operator import Operator

        return Operator(self)

    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self._token} if self._token else {}

    def _path(self, path: str, parameters: Parameters) -> str:
        merged = {"dc": self._datacenter, **parameters} if self._datacenter else dict(parameters)
        try:
            query = urlencode(merged, doseq=True)
            return quote(path, safe=PATH_SAFE) + (f"?{query}" if query else "")
        except UnicodeEncodeError:  # bytes of a command line that are not text
            raise InvalidRequest(f"{path!r} is not UTF-8") from None

    def _time_s(self, call: Call[Any]) -> float:
        return (call.timeout_s or self._timeout_s) + call.blocking_s

    def _tries(self, call: Call[Any]) -> int:
        return call.attempts_max or self._attempts_max


def accepted(call: Call[Any], reply: Reply) -> Reply:
    """Return an answer that is no error; raises the error that it is."""
    if reply.status != 200 and reply.status not in call.accept:
        outcome = reply.headers.get("x-mesh-outcome", "")
        raise error_of(reply.status, reply.body, outcome, is_read=call.is_read)
    return reply


def is_worth_repeating(call: Call[Any], error: MeshError, *, left: int) -> bool:
    """Whether a call is sent again, with `left` attempts to go."""
    return left > 0 and may_repeat(error, is_read=call.is_read)


def _token_file(variables: Mapping[str, str]) -> str:
    path = variables.get("CONSUL_HTTP_TOKEN_FILE", "")
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(TOKEN_BYTES_MAX).strip()
    except OSError as error:
        raise InvalidRequest(f"CONSUL_HTTP_TOKEN_FILE: {path}: {error.strerror}") from error
