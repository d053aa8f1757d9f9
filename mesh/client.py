"""Client: one agent's HTTP API. Tries again only what certainly did not happen, or only reads.

Thread-safe. Errors are those of `base/errors.py`; `error.definite` says whether the operation certainly did not happen.
`mesh.trio_client.TrioClient` is the same for programs that run on trio.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from base.errors import MeshError
from base.version import VERSION
from mesh.address import NO_TLS_FILES, TLSFiles
from mesh.call import Call, Sync, T
from mesh.nouns import ATTEMPTS_MAX, TIMEOUT_S, Nouns, accepted, is_worth_repeating
from mesh.query import Read
from mesh.reply import Reply
from mesh.transport import ByteStream, Transport

if TYPE_CHECKING:
    from mesh.snapshot import Snapshot

PAUSE_S = 0.2
"""Before the second attempt; doubled before each later one."""

QUIET_S = 86_400.0
"""How long an answer without an end may bring nothing: a log at level ERR should."""


class Client(Nouns[Sync]):
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
        super().__init__(
            address,
            token=token,
            datacenter=datacenter,
            tls=tls,
            timeout_s=timeout_s,
            attempts_max=attempts_max,
            environment=environment,
        )
        self._transport = Transport(self.target, self._tls, user_agent=f"mesh/{VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    @cached_property
    def snapshot(self) -> "Snapshot":
        """Archives of the whole state."""
        from mesh.snapshot import Snapshot

        return Snapshot(self)

    def carry(self, call: Call[T]) -> T:
        """Carry out a call, perhaps several times."""
        pause_s = PAUSE_S
        left = self._tries(call)
        while True:
            left -= 1
            try:
                return call.parse(accepted(call, self._attempt(call)))
            except MeshError as error:
                if not is_worth_repeating(call, error, left=left) or self.pause(pause_s):
                    raise
                pause_s *= 2

    def _attempt(self, call: Call[Any]) -> Reply:
        return self._transport.exchange(
            call.method,
            self._path(call.path, call.parameters),
            headers=self._headers(),
            body=call.body,
            timeout_s=self._time_s(call),
        )

    def download(
        self, path: str, read: Read, parameters: Mapping[str, str] | None = None
    ) -> AbstractContextManager[ByteStream]:
        """GET whose body is read piece by piece; not repeated."""
        return self._transport.download(
            self._path(path, {**read.parameters(), **(parameters or {})}),
            headers=self._headers(),
            timeout_s=self._timeout_s * 4,
        )

    @contextmanager
    def monitor(self, *, level: str = "INFO", as_json: bool = False) -> Iterator[Iterator[bytes]]:
        """Iterate over the agent's log: first its newest lines, then each new one. May be quiet for QUIET_S."""
        path = self._path("/v1/agent/monitor", {"loglevel": level, **({"logjson": "1"} if as_json else {})})
        with self._transport.download(path, headers=self._headers(), timeout_s=QUIET_S) as stream:
            yield stream.lines()

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
