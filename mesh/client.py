"""Client: one agent's HTTP API. Tries again only what certainly did not happen, or only reads.

Thread-safe. Errors are those of `base/errors.py`; `error.definite` says whether the operation certainly did not happen.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Self
from urllib.parse import quote, urlencode

from base.errors import InvalidRequest, MeshError
from base.version import VERSION
from mesh.address import NO_TLS_FILES, Target, TLSFiles, target_from, tls_from
from mesh.agent import Agent
from mesh.catalog import Catalog
from mesh.coordinate import Coordinates
from mesh.errors import error_of, may_repeat
from mesh.event import Events
from mesh.kv import KV
from mesh.operator import Operator
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.snapshot import Snapshot
from mesh.status import Status
from mesh.transport import ByteStream, Reply, Transport

TIMEOUT_S = 30.0
"""An answer that does not block. Agents hold a request for 7 s where there is no leader."""
ATTEMPTS_MAX = 3
PAUSE_S = 0.2
"""Before the second attempt; doubled before each later one."""
PATH_SAFE = "/-_.~"
Parameters = Mapping[str, str | Sequence[str]]
"""Of a query; a list stands for a parameter that is repeated."""

QUIET_S = 86_400.0
"""How long an answer without an end may bring nothing: a log at level ERR should."""


class Client:
    """One agent. Use it as a context manager, or call `close`."""

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
        self._transport = Transport(self.target, tls_from(variables, tls), user_agent=f"mesh/{VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    @cached_property
    def kv(self) -> KV:
        """Keys and values, and transactions over them."""
        return KV(self)

    @cached_property
    def agent(self) -> Agent:
        """The agent itself, and the members it knows."""
        return Agent(self)

    @cached_property
    def catalog(self) -> Catalog:
        """Datacenters and nodes."""
        return Catalog(self)

    @cached_property
    def coordinate(self) -> Coordinates:
        """Where nodes are in the network."""
        return Coordinates(self)

    @cached_property
    def event(self) -> Events:
        """User events."""
        return Events(self)

    @cached_property
    def status(self) -> Status:
        """Leader and peers."""
        return Status(self)

    @cached_property
    def operator(self) -> Operator:
        """The consensus group, its autopilot, and the keys of gossip."""
        return Operator(self)

    @cached_property
    def snapshot(self) -> Snapshot:
        """Archives of the whole state."""
        return Snapshot(self)

    def read(
        self, path: str, read: Read = DEFAULT_READ, parameters: Parameters | None = None, *, accept: int = 200
    ) -> Answer[Reply]:
        """GET `path` (not yet percent-encoded) with repetition. `accept` is another status that is no error."""
        reply = self._repeated(
            "GET",
            self._path(path, {**read.parameters(), **(parameters or {})}),
            body=None,
            is_read=True,
            accept=accept,
            timeout_s=self._timeout_s + read.blocking_s(),
        )
        return Answer(
            value=reply,
            index=_number(reply.headers.get("x-consul-index", "0")),
            known_leader=reply.headers.get("x-consul-knownleader", "true") == "true",
            last_contact_s=_number(reply.headers.get("x-consul-lastcontact", "0")) / 1000,
        )

    def write(
        self,
        method: str,
        path: str,
        parameters: Parameters | None = None,
        *,
        body: bytes = b"",
        accept: int = 200,
        is_read: bool = False,
    ) -> Reply:
        """PUT, POST or DELETE `path`; repeated only if it certainly was not carried out, or `is_read`."""
        return self._repeated(
            method,
            self._path(path, parameters or {}),
            body=body,
            is_read=is_read,
            accept=accept,
            timeout_s=self._timeout_s,
        )

    def download(self, path: str, read: Read) -> AbstractContextManager[ByteStream]:
        """GET whose body is read piece by piece; not repeated."""
        return self._transport.download(
            self._path(path, read.parameters()), headers=self._headers(), timeout_s=self._timeout_s * 4
        )

    def follow(self, path: str, parameters: Parameters) -> AbstractContextManager[ByteStream]:
        """GET whose body has no end; not repeated. It may be quiet for QUIET_S."""
        return self._transport.download(self._path(path, parameters), headers=self._headers(), timeout_s=QUIET_S)

    def upload(self, path: str, chunks: Iterable[bytes], bytes_count: int) -> Reply:
        """PUT whose body is sent piece by piece; not repeated."""
        return self._transport.upload(
            self._path(path, {}),
            headers=self._headers(),
            chunks=chunks,
            bytes_count=bytes_count,
            timeout_s=self._timeout_s * 10,
        )

    def pause(self, seconds: float) -> bool:
        """Wait; returns whether the client was closed meanwhile."""
        return self._transport.pause(seconds)

    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self._token} if self._token else {}

    def _path(self, path: str, parameters: Parameters) -> str:
        merged = {"dc": self._datacenter, **parameters} if self._datacenter else dict(parameters)
        try:
            query = urlencode(merged, doseq=True)
            return quote(path, safe=PATH_SAFE) + (f"?{query}" if query else "")
        except UnicodeEncodeError:  # bytes of a command line that are not text
            raise InvalidRequest(f"{path!r} is not UTF-8") from None

    def _repeated(
        self, method: str, path: str, *, body: bytes | None, is_read: bool, accept: int, timeout_s: float
    ) -> Reply:
        def attempt() -> Reply:
            reply = self._transport.exchange(method, path, headers=self._headers(), body=body, timeout_s=timeout_s)
            if reply.status not in (200, accept):
                outcome = reply.headers.get("x-mesh-outcome", "")
                raise error_of(reply.status, reply.body, outcome, is_read=is_read)
            return reply

        return self._attempts(attempt, is_read=is_read)

    def _attempts(self, attempt: Callable[[], Reply], *, is_read: bool) -> Reply:
        pause_s = PAUSE_S
        for left in range(self._attempts_max - 1, -1, -1):
            try:
                return attempt()
            except MeshError as error:
                if not left or not may_repeat(error, is_read=is_read) or self.pause(pause_s):
                    raise
                pause_s *= 2
        raise ValueError("attempts_max must be at least 1")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _token_file(variables: Mapping[str, str]) -> str:
    path = variables.get("CONSUL_HTTP_TOKEN_FILE", "")
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(4096).strip()
    except OSError as error:
        raise InvalidRequest(f"CONSUL_HTTP_TOKEN_FILE: {path}: {error.strerror}") from error
