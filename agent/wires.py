"""Which wire a server is asked on: ours, or the foreign one with every call translated.

What a server speaks is known from the `build` tag it gossips. Addresses that nobody has told about are asked on ours.
"""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from base.errors import InvalidRequest, OutcomeUnknown
from structs.cluster import Member
from structs.foreign.methods import translate, unknown_there
from structs.members import is_ours
from structs.query import FROM_ELSEWHERE_MARK

JITTER_FRACTION: Final = 1 / 16
"""What a server may add to a wait."""
CALL_SLACK_S: Final = 15.0
"""What a server may take on top of the wait it was asked for: its hold time, and the way there and back."""


class OwnPool(Protocol):
    """What is needed of rpc.pool.RPCPool."""

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply of one call."""
        ...

    def stream(self, address: str, method: str, body: bytes) -> AbstractAsyncContextManager[Any]:
        """Open a stream as an async context manager."""
        ...

    def doubt(self, address: str) -> None:
        """Something speaks against the peer."""
        ...


class OtherPool(Protocol):
    """What is needed of rpc.foreign_pool.ForeignPool."""

    async def call(self, address: str, method: str, argument: Any, *, timeout_s: float) -> Any:
        """Return the reply of one call as a plain value."""
        ...

    def doubt(self, address: str) -> None:
        """Something speaks against the server."""
        ...


class Wires:
    """Calls to servers of both kinds; has the face of RPCPool. Both pools must be running."""

    def __init__(self, *, ours: OwnPool, foreign: OtherPool, datacenter: str) -> None:
        """`datacenter` is named to foreign servers by calls that name none."""
        self._ours = ours
        self._foreign = foreign
        self._datacenter = datacenter
        self._foreign_addresses: frozenset[str] = frozenset()

    def learn(self, members: Iterable[Member]) -> None:
        """Take what is known of all servers; replaces what was known before."""
        self._foreign_addresses = frozenset(
            member.rpc_address for member in members if member.is_server and not is_ours(member)
        )

    def is_foreign(self, address: str) -> bool:
        """Whether the server at `address` is asked on the foreign wire."""
        return address in self._foreign_addresses

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply of one call; raises as RPCPool.call, and Refused for what foreign servers do not have."""
        if address not in self._foreign_addresses:
            return await self._ours.call(address, method, body, timeout_s=timeout_s)
        call = translate(method.removeprefix(FROM_ELSEWHERE_MARK), body, datacenter=self._datacenter)
        if call.wait_s:
            timeout_s = max(timeout_s, call.wait_s * (1 + JITTER_FRACTION) + CALL_SLACK_S)
        value = await self._foreign.call(address, call.name, call.argument, timeout_s=timeout_s)
        try:
            return call.reply(value)
        except InvalidRequest as error:
            raise OutcomeUnknown(f"{address} answered {call.name} with something else: {error}") from error

    def stream(self, address: str, method: str, body: bytes) -> AbstractAsyncContextManager[Any]:
        """Open a stream to one of our servers; raises Refused for a foreign one, which has none of ours."""
        if address in self._foreign_addresses:
            raise unknown_there(method.removeprefix(FROM_ELSEWHERE_MARK))
        return self._ours.stream(address, method, body)

    def doubt(self, address: str) -> None:
        """Something speaks against the server: if it gives no sign of life for a moment, its connection is closed."""
        (self._foreign if address in self._foreign_addresses else self._ours).doubt(address)
