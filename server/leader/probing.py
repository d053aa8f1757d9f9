"""Asks servers how they are, and learns by that who is one: the answer names who gave it, and with TLS its
certificate must be a server's."""

from collections.abc import Iterable

import trio

from base import codec
from base.errors import MeshError
from base.log import get_logger
from server.forwarding import Pool
from structs.cluster import Empty, Peer, RaftStatsReply

PROBE_TIMEOUT_S = 1.0
"""Less than the time between two rounds, so that there is never a second question under way to one server."""

TOLD_MAX = 64
"""Members remembered of which the log said that they are no servers, or do not answer."""
SILENT_COUNT = 3
"""After so many questions in a row without an answer the log says why; who has just started gets that much time."""

_log = get_logger("server.leader")


class Prober:
    """Puts `Status.RaftStats` to servers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._told: set[Peer] = set()
        self._silent: dict[Peer, int] = {}
        """How often in a row it did not answer."""

    async def ask(self, peer: Peer) -> RaftStatsReply | None:
        """Return the answer of exactly this server, None if none came in time or another one gave it."""
        try:
            body = codec.encode(Empty())
            data = await self._pool.call(peer.address, "Status.RaftStats", body, timeout_s=PROBE_TIMEOUT_S)
            reply = codec.decode(RaftStatsReply, data)
        except MeshError as error:
            self._count(peer, error)
            return None
        self._silent.pop(peer, None)
        if not self._pool.proves_server(peer.address):
            self._tell_once(peer)
            return None
        return reply if reply.server_id == peer.server_id else None

    def _tell_once(self, peer: Peer) -> None:
        """Such a member stays, and is asked again every round."""
        if peer not in self._told:
            self._told = {*list(self._told)[:TOLD_MAX], peer}
            _log.warn("no server: its certificate is not a server's", member=peer.name, address=peer.address)

    def _count(self, peer: Peer, error: MeshError) -> None:
        """A member that only claims to be a server may be unable to show a certificate that ours would talk to."""
        count = self._silent.pop(peer, 0) + 1
        self._silent = {**dict(list(self._silent.items())[-TOLD_MAX:]), peer: count}
        level = _log.warn if count == SILENT_COUNT else _log.debug
        level("no answer from a server", server=peer.name, address=peer.address, error=str(error))

    async def ask_all(self, peers: Iterable[Peer]) -> dict[str, RaftStatsReply]:
        """Return the answers by server id, after `PROBE_TIMEOUT_S` at the latest."""
        answers: dict[str, RaftStatsReply] = {}

        async def ask(peer: Peer) -> None:
            answer = await self.ask(peer)
            if answer is not None:
                answers[peer.server_id] = answer

        with trio.move_on_after(PROBE_TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(ask, peer)
        return answers
