"""What the operator is told when a leader does not hand over."""

from pathlib import Path

import pytest

from base.errors import OutcomeUnknown, Refused
from structs.cluster import Peer, RemovePeerRequest, TransferLeaderRequest
from tests.fakes.server_parts import server_parts

OTHER = Peer(server_id="other", name="other", address="10.0.0.9:8300")
LATE = OutcomeUnknown("server other did not take over in time")


async def test_a_hand_over_that_was_asked_for_may_still_happen(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.peers.append(OTHER)
        parts.raft.fail_next = LATE
        with pytest.raises(OutcomeUnknown):
            await parts.ask("Operator.RaftTransferLeader", TransferLeaderRequest(server_id=OTHER.server_id))


async def test_a_leader_that_could_not_hand_over_was_certainly_not_removed(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.peers.append(OTHER)
        parts.raft.fail_next = LATE
        with pytest.raises(Refused, match="nobody was removed"):
            await parts.ask("Operator.RaftRemovePeer", RemovePeerRequest(server_id=parts.raft.peer.server_id))
        assert len(parts.raft.peers) == 2
