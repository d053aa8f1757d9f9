"""How a server leaves its cluster: hand over, say goodbye, get removed, drain. Each step is bounded in time.

1. A leader of several hands its leadership over.
2. Goodbye in both pools. The others hear of it, and the leader takes who has left out of the catalog and out of the
   configuration at once.
3. That the configuration is without us is asked of the leader, and asked for where it is not so: who is out gets no log
   any more, so the copy here may never say it. The leader is found by the other servers, since who is out soon does not
   know who leads, either.
4. Calls are refused from now on, and those under way get time to end.

Source: servers specification, section 6. The one departure: leadership is handed over before the leader is removed.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from base import codec
from base.codec import Record
from base.errors import MeshError, Unreachable
from base.log import get_logger
from server.config import ServerConfig
from server.consensus import Consensus
from server.forwarding import Pool
from server.gossip import GossipPool
from structs.cluster import Empty, Peer, RaftConfigurationReply, RaftConfigurationRequest, RemovePeerRequest

LEAVE_S_MAX = 14.0
"""All steps together: the process that leaves is ended after fifteen seconds."""
TRANSFER_S = 5.0
GOODBYE_S = 9.0
"""Up to five seconds until the farewells are out, three to be heard, and a moment."""
REMOVED_S = 5.0
REMOVED_GRACE_S = 1.0
"""How long the leader is given to remove us by itself."""
RETRY_S = 0.1
ASK_S = 1.0
"""How long one of the others may take to answer, so that several can be asked."""

Reply = TypeVar("Reply", bound=Record)

_log = get_logger("server")


class Leaving:
    """Runs once, when the process is told to leave."""

    def __init__(
        self,
        *,
        config: ServerConfig,
        raft: Consensus,
        gossip: GossipPool,
        wan: GossipPool | None,
        pool: Pool,
        refuse_calls: Callable[[], None],
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        """`begun` is called first: from then on this server says, whoever asks, that it leaves."""
        self._config = config
        self._raft = raft
        self._gossip = gossip
        self._wan = wan
        self._pool = pool
        self._others: list[Peer] = []
        """Servers of the configuration besides us, the one that is asked first."""
        self._refuse_calls = refuse_calls
        self._begun = begun

    async def leave(self) -> None:
        """Leave; returns after `LEAVE_S_MAX` at the latest."""
        self._begun()
        try:
            with trio.move_on_after(LEAVE_S_MAX) as limit:
                await self._leave()
            if limit.cancelled_caught:
                _log.warn("leaving anyway", reason=f"not done within {LEAVE_S_MAX:g} s")
        finally:
            self._refuse_calls()

    async def _leave(self) -> None:
        mine = self._config.node_id
        peers = self._raft.configuration()
        is_voter_of_several = len(peers) > 1 and any(peer.server_id == mine for peer in peers)
        if is_voter_of_several and self._raft.is_leader():
            await self._bounded("hand over the leadership", TRANSFER_S, self._hand_over)
        await self._bounded("say goodbye", GOODBYE_S, self._say_goodbye)
        if is_voter_of_several:
            await self._bounded("leave the configuration", REMOVED_S, self._get_removed)
        self._refuse_calls()
        await trio.sleep(self._config.leave_drain_s)

    async def _hand_over(self) -> None:
        await self._raft.transfer_leadership(None)
        while self._raft.is_leader():
            await self._raft.wait_leadership_change()

    async def _say_goodbye(self) -> None:
        async with trio.open_nursery() as nursery:
            if self._wan is not None:
                nursery.start_soon(self._wan.leave)
            nursery.start_soon(self._gossip.leave)

    async def _get_removed(self) -> None:
        """Wait until the leader's configuration is without us; ask for it once the leader had its time."""
        self._others = [peer for peer in self._raft.configuration() if peer.server_id != self._config.node_id]
        asks_at_s = trio.current_time() + REMOVED_GRACE_S
        while True:
            try:
                if not await self._is_configured():
                    return
                if trio.current_time() >= asks_at_s:
                    await self._ask("Operator.RaftRemovePeer", RemovePeerRequest(server_id=self._config.node_id), Empty)
                    return
            except MeshError as error:
                # A leader of a moment ago may not change the group yet; another change may be under way.
                _log.debug("not removed yet", reason=str(error))
            await trio.sleep(RETRY_S)

    async def _is_configured(self) -> bool:
        reply = await self._ask("Operator.RaftGetConfiguration", RaftConfigurationRequest(), RaftConfigurationReply)
        return any(row.voter and row.peer.server_id == self._config.node_id for row in reply.servers)

    async def _ask(self, method: str, request: Record, reply: type[Reply]) -> Reply:
        """Ask the leader through one of the others; who does not know is asked last from then on."""
        if not self._others:
            raise Unreachable("there is no other server")
        peer = self._others[0]
        try:
            data = await self._pool.call(peer.address, method, codec.encode(request), timeout_s=ASK_S)
        except MeshError:
            self._others.append(self._others.pop(0))
            raise
        return codec.decode(reply, data)

    async def _bounded(self, what: str, timeout_s: float, step: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.move_on_after(timeout_s) as scope:
                await step()
            if scope.cancelled_caught:
                _log.warn("leaving anyway", failed=what, reason=f"not within {timeout_s:g} s")
        except MeshError as error:
            _log.warn("leaving anyway", failed=what, reason=str(error))
