"""Anybody on an open network can say that a server has left: its vote must not go by that alone.

Weakness class: what others say of somebody is done before he could say anything himself.
"""

from pathlib import Path

import trio
import trio.testing

from server.leader.reconciling import OBJECTION_S
from structs.cluster import MemberStatus
from tests.fakes.leading import add_voters, leading, voters
from tests.fakes.members import server

Clock = trio.testing.MockClock


async def test_a_healthy_server_that_others_say_has_left_keeps_its_vote_if_it_objects(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        await add_voters(parts, 2, 3)
        parts.gossip.network.set_status("s3", MemberStatus.LEFT)
        await trio.sleep(OBJECTION_S - 0.5)
        assert voters(parts) == ["id-1", "id-2", "id-3"]
        parts.gossip.network.show(server("s3"))
        await trio.sleep(10.0)
        assert voters(parts) == ["id-1", "id-2", "id-3"]


async def test_who_is_forced_out_goes_although_it_still_answers(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        await add_voters(parts, 2, 3)
        parts.gossip.network.set_status("s3", MemberStatus.LEFT)
        await trio.sleep(OBJECTION_S + 2.0)
        assert voters(parts) == ["id-1", "id-2"]
