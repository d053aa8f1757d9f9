"""A listener that answers the foreign wire, with a handler that knows a few useful methods."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import trio

from base.codec import Mistyped, pack_old
from base.errors import NoLeader, Refused
from base.network import RealNetwork
from rpc.caller import Caller
from rpc.foreign import ForeignServer
from rpc.listener import ListenerLimits, RPCListener
from rpc.tls import TLSContexts

TIMEOUT_S = 30.0
"""Far beyond what anything here takes; tests fail by it instead of hanging."""
T = TypeVar("T")


class ForeignSite:
    """What the handler has seen, and where it listens."""

    def __init__(self) -> None:
        self.address = ""
        self.listener: RPCListener
        self.callers: list[Caller] = []
        self.waiting = 0
        self.cancelled = 0
        self._changed = trio.Event()

    def handler(self, method: str, argument: Any, caller: Caller) -> bytes | Awaitable[bytes]:
        """Methods: Echo.Now, Echo.Later, Size.Now, Size.Later (a reply of `argument` bytes), Wait.Forever, No.Leader,
        No.Leader_later, No.Defect, No.Type, No.Type_later; others are unknown."""
        self.callers.append(caller)
        if method == "Echo.Now":
            return pack_old(argument)
        if method == "Size.Now":
            return pack_old(bytes(argument))
        if method == "No.Leader":
            raise NoLeader
        if method == "No.Type":
            raise Mistyped("Key: expected text")
        if method == "No.Defect":
            raise KeyError("a defect")
        if method in ("Echo.Later", "Size.Later", "Wait.Forever", "No.Leader_later", "No.Type_later"):
            return self._later(method, argument)
        raise Refused(f"rpc: can't find method {method}")

    async def _later(self, method: str, argument: Any) -> bytes:
        await trio.lowlevel.checkpoint()
        if method == "No.Leader_later":
            raise NoLeader
        if method == "No.Type_later":
            raise Mistyped("Key: expected text")
        if method == "Wait.Forever":
            self.waiting += 1
            self._note()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                self.cancelled += 1
                raise
            finally:
                self.waiting -= 1
                self._note()
        return pack_old(bytes(argument) if method == "Size.Later" else argument)

    def _note(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until_waiting(self, count: int) -> None:
        """Wait until so many calls wait in "Wait.Forever"."""
        with trio.fail_after(TIMEOUT_S):
            while self.waiting != count:
                await self._changed.wait()

    async def until_calls(self, count: int) -> None:
        """Wait until at least so many calls have come."""
        with trio.fail_after(TIMEOUT_S):
            while len(self.callers) < count:
                await trio.sleep(0.005)

    async def until_connections(self, count: int) -> None:
        """Wait until the listener holds so many connections."""
        with trio.fail_after(TIMEOUT_S):
            while self.listener.statistics().connections != count:
                await trio.sleep(0.005)


async def beside(function: Callable[..., T], *arguments: object) -> T:
    """Run something that blocks, in a thread."""
    with trio.fail_after(TIMEOUT_S):
        return await trio.to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)


@asynccontextmanager
async def foreign_site(
    *, tls: TLSContexts | None = None, limits: ListenerLimits | None = None
) -> AsyncGenerator[ForeignSite, None]:
    """Listen for the time of the block."""
    site = ForeignSite()

    def no_handler(method: str, body: bytes, caller: Caller) -> bytes:
        return body

    site.listener = RPCListener(
        RealNetwork(), "127.0.0.1", 0, no_handler, foreign=ForeignServer(site.handler), tls=tls, limits=limits
    )
    async with trio.open_nursery() as nursery:
        site.address = await nursery.start(site.listener.run)
        yield site
        nursery.cancel_scope.cancel()
