"""Calls that are for another datacenter: to a server there, the next one where the first does not answer.

A server there answers them as if its own agent had asked, through its leader if need be, but passes nothing on to yet
another datacenter. A read may be asked of every
server known there; a write is sent on only as long as it certainly did not happen.

Source: servers specification, section 7, step 1.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from base import codec
from base.codec import Record
from base.errors import MeshError, OutcomeUnknown, Refused, Unreachable
from server.endpoints.registry import ByteStream, Kind, Method
from server.forwarding import CALL_SLACK_S, call_timeout_s
from server.router import Router
from structs.query import FROM_ELSEWHERE_MARK, NO_PATH_TEXT

ATTEMPTS_MAX: Final = 3
"""Servers of one datacenter that one call is offered to: each may take a dial's time to be found gone."""


class FarPool(Protocol):
    """Calls to servers of other datacenters."""

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply of one call; raises Unreachable where it never left, OutcomeUnknown where it may have."""
        ...

    def stream(self, address: str, method: str, body: bytes) -> Any:
        """Open a stream as an async context manager."""
        ...


class Elsewhere:
    """The way to other datacenters. Raises Refused ("No path to datacenter") where there is none."""

    def __init__(self, *, own: str, router: Router, pool: FarPool, hold_s: float, write_timeout_s: float) -> None:
        """`pool` speaks to servers of both kinds."""
        self._own = own
        self._router = router
        self._pool = pool
        self._hold_s = hold_s
        self._write_timeout_s = write_timeout_s

    def datacenter_of(self, request: Any) -> str:
        """Return the other datacenter that `request` is for, "" if it is for this one."""
        options = getattr(request, "options", None)
        if options is None or not options.datacenter:
            return ""
        name: str = options.datacenter.lower()
        return "" if name == self._own else name

    async def call(self, datacenter: str, method: Method, request: Record, body: bytes | None) -> bytes:
        """Return the encoded reply; raises what the other side answers, too."""
        if body is None:
            body = codec.encode(request)
        # The other datacenter may have to find its leader, as we would: its hold comes on top of ours.
        timeout_s = CALL_SLACK_S + call_timeout_s(
            method, request, hold_s=self._hold_s, write_timeout_s=self._write_timeout_s
        )
        for attempt in range(ATTEMPTS_MAX):
            server = self._router.pick(datacenter)
            if server is None:
                break
            try:
                return await self._pool.call(
                    server.rpc_address, FROM_ELSEWHERE_MARK + method.name, body, timeout_s=timeout_s
                )
            except MeshError as error:
                reads = method.kind in (Kind.READ, Kind.LEADER)
                if not isinstance(error, Unreachable) and not (reads and isinstance(error, OutcomeUnknown)):
                    raise
                self._router.failed(datacenter, server.name)
                if attempt + 1 == min(ATTEMPTS_MAX, self._router.servers_count(datacenter)):
                    raise
        raise Refused(NO_PATH_TEXT)

    @asynccontextmanager
    async def stream(self, datacenter: str, name: str, request: Record) -> AsyncGenerator[ByteStream, None]:
        """Open a stream to a server there; it is not repeated when it breaks."""
        server = self._router.pick(datacenter)
        if server is None:
            raise Refused(NO_PATH_TEXT)
        async with self._pool.stream(server.rpc_address, FROM_ELSEWHERE_MARK + name, codec.encode(request)) as there:
            yield there
