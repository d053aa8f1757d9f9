"""Servers that gossip shows to one another begin once; who finds a cluster waits for its leader."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base.disk import RealDisk
from base.errors import DataDamaged, Refused
from server.joining import PIN_NAME, Joining, Pins
from structs.cluster import MemberStatus, Peer
from tests.fakes.gossip import FakeNetwork
from tests.fakes.members import FOREIGN_BUILD, server
from tests.fakes.server_parts import FakePool, ServerParts


class Group:
    """Several servers' insides on one pool and in one gossip, each with its hellos."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.pool = FakePool()
        self.network = FakeNetwork()
        self.parts: list[ServerParts] = []
        self.joinings: list[Joining] = []

    def add(self, number: int, *, expect: int) -> Joining:
        parts = ServerParts(self.folder, number, pool=self.pool, network=self.network)
        self.stack.callback(parts.machine.close)
        joining = parts.join(self.folder / f"raft-{number}", expect=expect)
        self.parts.append(parts)
        self.joinings.append(joining)
        return joining

    def configurations(self) -> list[list[str]]:
        return [[peer.server_id for peer in parts.raft.configuration()] for parts in self.parts]

    def hellos_to(self, number: int) -> int:
        return self.pool.calls.count((f"10.0.0.{number}:8300", "Cluster.Hello"))


async def test_three_servers_that_see_each_other_form_one_cluster(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            for number in (1, 2, 3):
                await nursery.start(group.add(number, expect=3).run)
            await trio.sleep(1.0)
            assert group.configurations() == [["id-1", "id-2", "id-3"]] * 3
            assert (tmp_path / "raft-2" / PIN_NAME).exists()
            hellos_count = len(group.pool.calls)
            await trio.sleep(60.0)
            assert len(group.pool.calls) == hellos_count, "who is part of a cluster says hello no more"


async def test_two_of_three_wait_for_the_third(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            for number in (1, 2):
                await nursery.start(group.add(number, expect=3).run)
            await trio.sleep(5.0)
            assert group.configurations() == [[], []]
            await nursery.start(group.add(3, expect=3).run)
            await trio.sleep(1.0)
            assert group.configurations() == [["id-1", "id-2", "id-3"]] * 3


async def test_a_fourth_server_waits_for_the_leader_to_add_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            for number in (1, 2, 3):
                await nursery.start(group.add(number, expect=3).run)
            await trio.sleep(1.0)
            late = group.add(4, expect=3)
            await nursery.start(late.run)
            await trio.sleep(5.0)
            assert group.configurations()[3] == []
            assert not (tmp_path / "raft-4" / PIN_NAME).exists()
            group.parts[3].raft.peers = [group.parts[0].peer]  # the leader's log has reached it
            await trio.sleep(2.0)
            assert late.announcement().bootstrapped


async def test_a_gossiped_expectation_that_differs_keeps_everybody_from_promising(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            group.network.show(server("s9", expect="5"))  # it does not answer, but its tags are known
            for number in (1, 2, 3):
                await nursery.start(group.add(number, expect=3).run)
            await trio.sleep(3.0)
            assert group.configurations() == [[], [], []]
            group.network.set_status("s9", MemberStatus.LEFT)
            await trio.sleep(1.0)
            assert group.configurations() == [["id-1", "id-2", "id-3"]] * 3
            nursery.cancel_scope.cancel()


async def test_a_server_in_bootstrap_mode_keeps_others_from_promising(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            group.network.show(server("s9", bootstrap="1"))
            for number in (1, 2):
                await nursery.start(group.add(number, expect=2).run)
            await trio.sleep(3.0)
            assert group.configurations() == [[], []]
            nursery.cancel_scope.cancel()


async def test_who_answers_without_a_servers_certificate_is_no_candidate(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            one, impostor = group.add(1, expect=2), group.add(2, expect=2)
            group.pool.unproven.add(group.parts[1].peer.address)
            await nursery.start(one.run)
            await trio.sleep(5.0)
            assert group.hellos_to(2) > 1
            assert not one.announcement().view
            assert impostor.announcement().view, "it sees both, and it does not help"
            nursery.cancel_scope.cancel()


async def test_only_living_servers_of_ours_in_our_datacenter_are_greeted(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            group.network.show(server("s6", build=FOREIGN_BUILD))
            group.network.show(server("s7", dc="dc2"))
            group.network.show(server("s8", status="FAILED"))
            group.network.show(server("s9"))
            await nursery.start(group.add(1, expect=3).run)
            await trio.sleep(1.0)
            assert [group.hellos_to(number) > 0 for number in (6, 7, 8, 9)] == [False, False, False, True]
            nursery.cancel_scope.cancel()


async def test_a_server_that_failed_is_no_candidate(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    with ExitStack() as stack:
        group = Group(tmp_path, stack)
        one, two = group.add(1, expect=2), group.add(2, expect=2)
        one.hello(two.announcement())
        assert one.announcement().view
        group.network.set_status("s2", MemberStatus.FAILED)
        assert not one.announcement().view


async def test_a_server_of_another_datacenter_or_with_our_id_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        group = Group(tmp_path, stack)
        joining = group.add(1, expect=1)
        other = group.add(2, expect=1).announcement()
        with pytest.raises(Refused, match="datacenter is 'dc1' here, not 'dc2'"):
            joining.hello(replace(other, datacenter="dc2"))
        twin = Peer(server_id="id-1", name="thief", address="10.0.0.7:8300")
        with pytest.raises(Refused, match="also used by thief"):
            joining.hello(replace(other, peer=twin))
        for much in ({"view": ["x" * 100] * 200}, {"configuration": ["x" * 20_000]}):
            with pytest.raises(Refused, match="more than 16384 characters"):
                joining.hello(replace(other, **much))


def test_a_promise_on_disk_that_is_no_list_of_servers_refuses_the_start(tmp_path: Path) -> None:
    pins = Pins(RealDisk(), tmp_path)
    pins.write(["id 10.0.0.1:8300 a name"])
    assert pins.read() == ["id 10.0.0.1:8300 a name"]
    (tmp_path / PIN_NAME).write_text("nonsense\n")
    with pytest.raises(DataDamaged):
        pins.read()
    pins.remove()
    assert pins.read() is None


async def test_losing_the_race_against_the_first_leaders_log_is_no_failure(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            late = group.add(2, expect=3)
            raft = group.parts[0].raft

            async def bootstrap(peers: list[Peer]) -> None:
                raft.peers = list(peers)
                raise Refused("this server has a configuration already")

            monkeypatch.setattr(raft, "bootstrap", bootstrap)
            await nursery.start(group.add(1, expect=3).run)
            await nursery.start(late.run)
            await nursery.start(group.add(3, expect=3).run)
            await trio.sleep(1.0)
            assert group.configurations() == [["id-1", "id-2", "id-3"]] * 3
            assert late.announcement().bootstrapped
            nursery.cancel_scope.cancel()


async def test_who_was_part_of_a_cluster_before_says_hello_to_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            group.add(1, expect=3)
            group.parts[0].raft.peers = [group.parts[0].peer]
            restarted = Joining(
                config=group.parts[0].config,
                peer=group.parts[0].peer,
                raft=group.parts[0].raft,
                pool=group.pool,
                gossip=group.parts[0].gossip,
                pins=Pins(RealDisk(), tmp_path / "raft-1"),
                monotonic_s=trio.current_time,
            )
            await nursery.start(restarted.run)
            await nursery.start(group.add(2, expect=3).run)
            await trio.sleep(5.0)
            assert group.hellos_to(2) == 0
            assert restarted.announcement().bootstrapped
            assert group.configurations()[1] == []
            nursery.cancel_scope.cancel()
