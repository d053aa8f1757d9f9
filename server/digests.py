"""Servers compare the digests of their state machines, at an equal entry of the log.

The same log gives the same state; where it does not, memory, disk or a defect of ours has changed something. The server
whose state differs from what a majority of the configuration agrees on stops, and says so: going on would spread
wrong answers. Where no majority agrees against it, a server only reports.
"""

import trio

from base import codec
from base.errors import InvariantBroken, MeshError
from base.log import get_logger
from fsm.machine import Machine
from server.consensus import Consensus
from server.forwarding import Pool
from structs.cluster import DigestReply, DigestRequest

COMPARE_S = 5.0
CALL_TIMEOUT_S = 2.0

_log = get_logger("server.digests")


class DigestComparison:
    """One server's comparison of itself with the others."""

    def __init__(
        self, *, server_id: str, raft: Consensus, machine: Machine, pool: Pool, interval_s: float = COMPARE_S
    ) -> None:
        self._server_id = server_id
        self._raft = raft
        self._machine = machine
        self._pool = pool
        self._interval_s = interval_s
        self.compared_index = 0
        """The last log entry after which a majority had the same state as this server."""

    async def run(self) -> None:
        """Compare until cancelled; raises InvariantBroken when a majority has another state."""
        while True:
            await trio.sleep(self._interval_s)
            known = self._machine.digests_known()
            if len(known) >= 2 and known[-2] != self.compared_index:
                # The last but one: the others have most likely applied it as well.
                await self.compare(known[-2])

    async def compare(self, raft_index: int) -> None:
        """Compare once, after the entry `raft_index`."""
        mine = self._machine.digest_at(raft_index)
        peers = self._raft.configuration()
        others = [peer for peer in peers if peer.server_id != self._server_id]
        if mine is None or not others:
            return
        digests: list[str] = []
        async with trio.open_nursery() as nursery:
            for peer in others:
                nursery.start_soon(self._ask, peer.address, raft_index, digests)
        majority = len(peers) // 2 + 1
        if digests.count(mine) + 1 >= majority:
            self.compared_index = raft_index
            return
        for digest in set(digests):
            if digests.count(digest) >= majority:
                raise InvariantBroken(
                    f"the state of this server differs from that of {digests.count(digest)} of {len(peers)} servers "
                    f"after log entry {raft_index} (digest {mine} here, {digest} there): move its data directory "
                    "away and let it join afresh"
                )
        if any(digest != mine for digest in digests):
            _log.error("servers disagree about their state", index=raft_index, mine=mine, others=", ".join(digests))

    async def _ask(self, address: str, raft_index: int, digests: list[str]) -> None:
        try:
            body = codec.encode(DigestRequest(index=raft_index))
            data = await self._pool.call(address, "Status.Digest", body, timeout_s=CALL_TIMEOUT_S)
            reply = codec.decode(DigestReply, data)
        except MeshError as error:
            _log.debug("no digest", address=address, error=str(error))
            return
        if reply.index == raft_index:
            digests.append(reply.digest)
