"""Sends where this node is in the network to the servers, rarely enough for them to take it from everybody.

Source: gossip specification, section 9: every max(15 s, n / 64 s), and as much at random.
"""

import random
from typing import Final, Protocol

import trio

from agent.http.registry import Delegate
from base.errors import MeshError
from base.log import get_logger
from structs.cluster import Empty, Member
from structs.coordinate import Coordinate, CoordinateUpdateRequest, NodeCoordinate
from structs.query import WriteOptions

INTERVAL_S_MIN: Final = 15.0
UPDATES_PER_S: Final = 64.0
"""What the servers shall have to take from all agents together."""

_log = get_logger("agent")


class Source(Protocol):
    """Who knows where we are."""

    def members(self) -> list[Member]:
        """Everybody known."""
        ...

    def coordinate(self) -> Coordinate | None:
        """Where we are, None where that is not known yet."""
        ...


class CoordinateSender:
    """`run` is its only task."""

    def __init__(self, *, delegate: Delegate, source: Source, node: str, token: str, rng: random.Random) -> None:
        self._delegate = delegate
        self._source = source
        self._node = node
        self._token = token
        self._rng = rng

    def pause_s(self) -> float:
        """How long until the next one."""
        least_s = max(INTERVAL_S_MIN, len(self._source.members()) / UPDATES_PER_S)
        return least_s * (1 + self._rng.random())

    async def run(self) -> None:
        """Send until cancelled. What cannot be sent is news again with the next one."""
        while True:
            await trio.sleep(self.pause_s())
            coordinate = self._source.coordinate()
            if coordinate is None:
                continue
            request = CoordinateUpdateRequest(
                update=NodeCoordinate(node=self._node, coordinate=coordinate), options=WriteOptions(token=self._token)
            )
            try:
                reply = self._delegate.call("Coordinate.Update", request, Empty)
                if not isinstance(reply, Empty):
                    await reply
            except MeshError as error:
                _log.debug("coordinate not sent", error=str(error))
