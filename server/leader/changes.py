"""Changes of the Raft configuration that the leader makes by itself, one after the other, each bounded in time."""

from collections.abc import Awaitable, Callable

import trio

from base.errors import MeshError
from base.log import get_logger
from server.consensus import Consensus
from structs.cluster import Peer

CHANGE_TIMEOUT_S = 30.0

_log = get_logger("server.leader")


class GroupChanges:
    """All duties of one leader change the group through this, so that none meets a change of another under way."""

    def __init__(self, raft: Consensus, *, self_id: str) -> None:
        self._raft = raft
        self._self_id = self_id
        self._turn = trio.Lock()

    async def add(self, peer: Peer) -> bool:
        """Let a server vote, or give a known one its new name or address; returns whether it is so now."""
        async with self._turn:
            known = self._known(peer.server_id)
            if known == peer:
                return True
            done = await self._attempt("add a server", peer, lambda: self._raft.add_peer(peer))
        if done:
            text = "server added" if known is None else "server moved"
            _log.info(text, server=peer.name, address=peer.address, id=peer.server_id)
        return done

    async def remove(self, peer: Peer, reason: str) -> bool:
        """Take a server out; returns whether it is out now. The leader never removes itself."""
        if peer.server_id == self._self_id:
            return False
        async with self._turn:
            if self._known(peer.server_id) is None:
                return True
            done = await self._attempt("remove a server", peer, lambda: self._raft.remove_peer(peer.server_id))
        if done:
            _log.info("server removed", server=peer.name, address=peer.address, id=peer.server_id, reason=reason)
        return done

    def _known(self, server_id: str) -> Peer | None:
        return next((peer for peer in self._raft.configuration() if peer.server_id == server_id), None)

    async def _attempt(self, what: str, peer: Peer, change: Callable[[], Awaitable[None]]) -> bool:
        try:
            with trio.fail_after(CHANGE_TIMEOUT_S):
                await change()
        except (MeshError, trio.TooSlowError) as error:
            # The duty that asked looks again by itself.
            _log.warn(f"cannot {what}", server=peer.name, address=peer.address, error=str(error))
            return False
        return True
