"""Real nodes: elections, writes, snapshots, restarts and membership over real sockets and disks."""

from pathlib import Path

import pytest
import trio

from base.errors import MeshError
from server.raft.snapshotting import SnapshotPolicy
from server.raft.timings import Timings
from tests.integration.raft_group import Group, Member, raft_group, set_command, wait_until

EAGER = SnapshotPolicy(threshold_count=64, interval_s=0.0, spacing_s_min=0.0, trailing_count=8)


def value_at(member: Member, key: str) -> bytes | None:
    from fsm.store import kv

    assert member.opened is not None
    with member.opened.machine.read() as view:
        entry, _ = kv.get(view, key)
        return entry.value if entry is not None else None


async def test_three_servers_elect_and_agree(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        for number in range(50):
            await group.put(f"k{number}", b"v%d" % number)
        await group.wait_equal()
        assert all(value_at(member, "k49") == b"v49" for member in group.members)


async def test_a_single_server_leads_itself(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 1) as group:
        await group.put("a", b"1")
        assert value_at(group.members[0], "a") == b"1"
        await group.members[0].node.confirm_leadership(timeout_s=5.0)


async def test_what_was_acknowledged_survives_the_loss_of_the_leader(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        for number in range(20):
            await group.put(f"k{number}", b"x")
        old = await group.wait_leader()
        await group.stop(old)
        await wait_until(lambda: group.leader() not in (None, old), "no new leader")
        await group.put("after", b"y")
        await group.start(old)
        await group.wait_equal()
        assert value_at(old, "after") == b"y"
        assert all(value_at(old, f"k{number}") == b"x" for number in range(20))


async def test_all_restart_and_find_everything(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3, snapshots=EAGER) as group:
        for number in range(200):
            await group.put(f"k{number}", b"x")
        for member in group.members:
            await group.stop(member)
        for member in group.members:
            await group.start(member)
        await group.put("after", b"y")
        await group.wait_equal()
        assert all(value_at(member, f"k{number}") == b"x" for member in group.members for number in range(200))


async def test_a_server_that_was_away_too_long_fetches_a_snapshot(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3, snapshots=EAGER) as group:
        await group.put("first", b"1")
        away = next(member for member in group.members if member is not group.leader())
        await group.stop(away)
        for number in range(300):
            await group.put(f"k{number}", b"x")
        await group.start(away)
        await group.wait_equal()
        assert value_at(away, "k299") == b"x"
        assert away.node.statistics().core.snapshot_index > 0


async def test_a_new_server_joins_and_one_is_removed(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        await group.put("first", b"1")
        leader = await group.wait_leader()
        newcomer = Member(7, tmp_path, leader.settings)
        await group.start(newcomer)
        group.members.append(newcomer)
        await leader.node.add_peer(newcomer.peer)
        await group.put("second", b"2")
        await group.wait_equal()
        assert value_at(newcomer, "first") == b"1"
        assert len(newcomer.node.configuration()) == 4
        gone = next(member for member in group.members[:3] if member is not leader)
        await leader.node.remove_peer(gone.peer.server_id)
        await group.put("third", b"3")
        assert len(leader.node.configuration()) == 3


async def test_leadership_is_handed_over_on_request(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        await group.put("a", b"1")
        old = await group.wait_leader()
        new_id = await old.node.transfer_leadership(None)
        assert new_id != old.peer.server_id
        await group.put("b", b"2")
        await group.wait_equal()


async def test_consistent_reads_share_rounds(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        leader = await group.wait_leader()
        before = leader.node.statistics().rounds_total
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(lambda: leader.node.confirm_leadership(timeout_s=5.0))
        assert leader.node.statistics().rounds_total - before < 100


async def test_a_minority_acknowledges_nothing(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        leader = await group.wait_leader()
        await _stop_others(group, leader)
        with pytest.raises(MeshError) as caught:
            await leader.node.propose(set_command("a", b"1"), timeout_s=1.0)
        assert not caught.value.definite
        await wait_until(lambda: not leader.node.lease_valid(), "the lease outlives its majority")


async def _stop_others(group: Group, leader: Member) -> None:
    for member in group.members:
        if member is not leader:
            await group.stop(member)


async def test_a_single_server_commits_without_waiting_for_a_heartbeat(tmp_path: Path) -> None:
    slow = Timings(heartbeat_s=0.5, election_min_s=1.6, election_max_s=3.0)
    async with raft_group(tmp_path, 1, timings=slow) as group:
        with trio.fail_after(30.0):  # 100 heartbeats would take 50 s
            for number in range(100):
                await group.put(f"k{number}", b"1")
