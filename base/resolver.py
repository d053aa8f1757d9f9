"""Looking up host names, in threads of its own.

A resolver that does not answer holds a thread for half a minute, and whoever gives up waiting does not get it back
earlier. Checks alone ask for hundreds of names. In the threads that all share, such lookups would keep out what writes
to disk.
"""

import socket
from functools import partial
from typing import Any, Final

import trio
import trio.abc

LOOKUPS_MAX: Final = 64
"""At one time; more wait in line."""


class OwnThreads(trio.abc.HostnameResolver):
    """The system's resolver, asked from at most `lookups_max` threads, which nobody else uses."""

    def __init__(self, *, lookups_max: int = LOOKUPS_MAX) -> None:
        self._threads = trio.CapacityLimiter(lookups_max)

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  the name is the interface's
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """See socket.getaddrinfo; raises OSError. Who is cancelled goes on at once."""
        return await self._asked(socket.getaddrinfo, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int) -> tuple[str, str]:
        """See socket.getnameinfo; raises OSError. Who is cancelled goes on at once."""
        found: tuple[str, str] = await self._asked(socket.getnameinfo, sockaddr, flags)
        return found

    async def _asked(self, function: Any, *arguments: object) -> Any:
        call = partial(function, *arguments)
        return await trio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)


def look_up_in_own_threads() -> None:
    """Let every lookup of this run of trio be made so."""
    trio.socket.set_custom_hostname_resolver(OwnThreads())
