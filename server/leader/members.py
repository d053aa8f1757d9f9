"""Adds servers that ask for it to the Raft configuration, and gives moved ones their new address, one at a time.

A server that comes back at its address under a new id (its disk was lost) takes the place of the old id, which is
removed first: servers specification, section 4.
"""

import trio

from base.errors import MeshError
from base.log import get_logger
from server.consensus import Consensus
from server.joining import Joining

RETRY_S = 0.5
CHANGE_TIMEOUT_S = 30.0
LOOK_AGAIN_S = 10.0

_log = get_logger("server.leader")


class MembershipDuty:
    """Works off `Joining.wants`."""

    def __init__(self, raft: Consensus, joining: Joining) -> None:
        self._raft = raft
        self._joining = joining

    async def run(self) -> None:
        """Change the configuration as servers ask, until cancelled."""
        while True:
            wanted = trio.Event()
            self._joining.on_want = wanted.set
            while self._joining.wants:
                server_id, peer = next(iter(self._joining.wants.items()))
                try:
                    with trio.fail_after(CHANGE_TIMEOUT_S):
                        gone = self._joining.displaced_by(peer)
                        if gone is not None:
                            await self._raft.remove_peer(gone.server_id)
                            _log.info("server replaced", server=gone.name, address=gone.address, id=gone.server_id)
                        await self._raft.add_peer(peer)
                except (MeshError, trio.TooSlowError) as error:
                    # It asks again with its next hello; until then the others get their turn.
                    _log.warn("cannot add a server", server=peer.name, address=peer.address, error=str(error))
                    await trio.sleep(RETRY_S)
                else:
                    _log.info("server added", server=peer.name, address=peer.address, id=server_id)
                self._joining.wants.pop(server_id, None)
            with trio.move_on_after(LOOK_AGAIN_S):
                await wanted.wait()
