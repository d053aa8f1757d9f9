"""TrioClient: the same nouns as `mesh.client.Client`, for programs that run on trio: every method is awaited.

    async with TrioClient("http://127.0.0.1:8500") as client:
        await client.kv.put("app/color", b"blue")

Any number of tasks may use one client. What is cancelled while a write is under way may or may not have happened.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import trio

from base.errors import MeshError, Unreachable
from base.version import VERSION
from mesh.address import NO_TLS_FILES, TLSFiles
from mesh.call import Call, InTrio, T
from mesh.nouns import ATTEMPTS_MAX, TIMEOUT_S, Nouns, accepted, is_worth_repeating

if TYPE_CHECKING:
    from mesh.trio_transport import TrioTransport

PAUSE_S = 0.2
"""Before the second attempt; doubled before each later one."""


class TrioClient(Nouns[InTrio]):
    """One agent. Use it as an async context manager, or call `close`."""

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
        self._transport: TrioTransport | None = None
        self._closed = trio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        self._closed.set()
        if self._transport is not None:
            await self._transport.close()

    async def carry(self, call: Call[T]) -> T:
        """Carry out a call, perhaps several times."""
        pause_s = PAUSE_S
        left = self._tries(call)
        while True:
            left -= 1
            try:
                reply = await self._open().exchange(
                    call.method,
                    self._path(call.path, call.parameters),
                    headers=self._headers(),
                    body=call.body,
                    timeout_s=self._time_s(call),
                )
                return call.parse(accepted(call, reply))
            except MeshError as error:
                if not is_worth_repeating(call, error, left=left) or await self.pause(pause_s):
                    raise
                pause_s *= 2

    async def pause(self, seconds: float) -> bool:
        """Wait; returns whether the client was closed meanwhile."""
        with trio.move_on_after(seconds):
            await self._closed.wait()
        return self._closed.is_set()

    def _open(self) -> "TrioTransport":
        if self._closed.is_set():
            raise Unreachable("the client is closed")
        if self._transport is None:
            from mesh.trio_transport import TrioTransport

            self._transport = TrioTransport(self.target, self._tls, user_agent=f"mesh/{VERSION}")
        return self._transport
