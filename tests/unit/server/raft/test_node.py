"""What the node adds to core and driver: beginning late, a disk that hangs, rounds that many readers share."""

import threading
from pathlib import Path

import pytest
import trio

from base.errors import NoLeader, NotReady, OutcomeUnknown, Refused
from server.raft import envelope as wire
from structs.cluster import Peer
from tests.integration.raft_group import Group, Member, raft_group, set_command, wait_until

OTHERS = [Peer(server_id=f"b{number}", name=f"b{number}", address=f"127.0.0.1:{number}") for number in (1, 2)]


async def deliver(member: Member, message: list[object]) -> None:
    """Have a peer say something to a server that has no configuration yet."""
    driver = member.node._driver
    driver.connected("b1", 1_000_000)
    driver.message("b1", 1_000_000, message, 10)
    await member.node.between_rounds(lambda core, now_s: None)


async def test_a_fresh_server_has_promised_nothing_when_it_begins(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 1, bootstrap=False) as group:
        member = group.members[0]
        await member.node.bootstrap([member.peer, *OTHERS])
        assert member.node.last_contact_s() == -1.0


async def test_a_server_that_a_leader_has_counted_keeps_its_promise_when_it_begins(tmp_path: Path) -> None:
    """An append that didn't fit its empty log was answered, and that answer may carry the leader's lease."""
    async with raft_group(tmp_path, 1, bootstrap=False) as group:
        member = group.members[0]
        await deliver(member, [wire.APPEND, 3, 5.0, 0.0, 0, 9, 3, 0, []])
        assert not member.node.bootstrapped()
        await member.node.bootstrap([member.peer, *OTHERS])
        assert member.node.last_contact_s() >= 0.0


async def test_beginning_twice_is_refused_also_while_the_first_is_under_way(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 1, bootstrap=False) as group:
        member = group.members[0]
        ends: list[str] = []

        async def begin() -> None:
            try:
                await member.node.bootstrap([member.peer])
                ends.append("begun")
            except Refused:
                ends.append("refused")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            nursery.start_soon(begin)
        assert sorted(ends) == ["begun", "refused"]
        await begin()
        assert ends[-1] == "refused"
        assert len(member.node.configuration()) == 1


async def hang_disk(member: Member, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """From its next write on, this server's disk hangs until the event is set."""
    assert member.opened is not None
    journal = member.opened.journal
    gate = threading.Event()
    write_batch = journal._write_batch

    def hanging(payload: bytes, records_count: int, commit_index: int) -> None:
        assert gate.wait(30.0)
        write_batch(payload, records_count, commit_index)

    monkeypatch.setattr(journal, "_write_batch", hanging)
    return gate


async def test_the_others_go_on_without_a_leader_whose_disk_hangs_and_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raft_group(tmp_path, 3) as group:
        await group.put("before", b"1")
        old = await group.wait_leader()
        gate = await hang_disk(old, monkeypatch)
        try:
            with pytest.raises(OutcomeUnknown):
                await old.node.propose(set_command("lost", b"2"), timeout_s=0.2)
            await wait_until(lambda: not old.node.is_leader(), "it still takes itself for the leader")
            assert old.node.leader() is None
            assert not old.node.lease_valid()
            with pytest.raises(NoLeader):
                await old.node.propose(set_command("refused", b"3"), timeout_s=5.0)
            with pytest.raises(NoLeader):
                await old.node.confirm_leadership(timeout_s=5.0)
            await wait_until(lambda: group.leader() not in (None, old), "nobody else leads")
            await group.put("after", b"4")
        finally:
            gate.set()
        await group.wait_equal()


async def test_a_leader_that_was_not_heard_for_long_and_then_is_counts_as_a_change_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a slow sync a new leader was heard too long ago to be named when the library's change of mind is told."""
    async with raft_group(tmp_path, 3) as group:
        leader = await group.wait_leader()
        follower = next(member for member in group.members if member is not leader)
        await wait_until(lambda: follower.node.leader() == leader.peer, "the follower does not follow")
        for silence_s in (99.0, 0.0):
            with trio.fail_after(20.0):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(follower.node.wait_leadership_change)
                    await trio.lowlevel.checkpoint()
                    monkeypatch.setattr(
                        follower.node._core, "last_leader_contact_s", lambda now_s, said_s=silence_s: said_s
                    )
            assert follower.node.leader() == (None if silence_s else leader.peer)


async def test_whoever_waits_to_be_confirmed_hears_that_the_leadership_is_lost(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        leader = await group.wait_leader()
        await stop_others(group, leader)
        with pytest.raises((NoLeader, NotReady)), trio.fail_after(20.0):
            await leader.node.confirm_leadership(timeout_s=20.0)
        await wait_until(lambda: not leader.node.is_leader(), "it leads without a majority")


async def test_a_confirmation_that_takes_too_long_says_so(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        leader = await group.wait_leader()
        await stop_others(group, leader)
        with pytest.raises((NoLeader, NotReady)):
            await leader.node.confirm_leadership(timeout_s=0.01)


async def test_a_hand_over_to_nobody_ends_and_writes_go_on(tmp_path: Path) -> None:
    async with raft_group(tmp_path, 3) as group:
        leader = await group.wait_leader()
        for target in ("nobody", leader.peer.server_id):
            with pytest.raises(Refused):
                await leader.node.transfer_leadership(target)
        await group.put("after", b"1")
        with pytest.raises(Refused):
            await leader.node.remove_peer("nobody")


async def stop_others(group: Group, leader: Member) -> None:
    """Leave the leader alone."""
    for member in group.members:
        if member is not leader:
            await group.stop(member)
