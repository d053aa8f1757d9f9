"""Servers find each other by hellos, begin once, and notice who does not belong."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base.disk import RealDisk
from base.errors import ConfigInvalid, DataDamaged, Refused
from server.joining import PIN_NAME, Joining, Pins
from structs.cluster import Member, Peer
from tests.fakes.server_parts import FakePool, ServerParts

SEED = "10.0.0.1:8300"


class Group:
    """Several servers' insides on one pool, each with its hellos."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.pool = FakePool()
        self.parts: list[ServerParts] = []
        self.joinings: list[Joining] = []

    def add(self, number: int, *, expect: int) -> Joining:
        parts = ServerParts(self.folder, number, pool=self.pool)
        self.stack.callback(parts.machine.close)
        joining = parts.join(self.folder / f"raft-{number}", expect=expect, addresses=[SEED])
        self.parts.append(parts)
        self.joinings.append(joining)
        return joining

    def configurations(self) -> list[list[str]]:
        return [[peer.server_id for peer in parts.raft.configuration()] for parts in self.parts]


async def test_three_servers_that_know_one_address_form_one_cluster(
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
            assert [m.name for m in group.parts[1].roster.members(trio.current_time())] == ["s2", "s1", "s3"]
            nursery.cancel_scope.cancel()


async def test_a_fourth_server_asks_the_leader_to_be_added(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            group = Group(tmp_path, stack)
            for number in (1, 2, 3):
                await nursery.start(group.add(number, expect=3).run)
            await trio.sleep(1.0)
            group.parts[0].raft.change_leader(group.parts[0].peer)
            await nursery.start(group.add(4, expect=3).run)
            await trio.sleep(1.0)
            assert group.configurations()[3] == []
            assert list(group.joinings[0].wants) == ["id-4"]
            nursery.cancel_scope.cancel()


async def test_a_server_of_another_datacenter_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        group = Group(tmp_path, stack)
        joining = group.add(1, expect=1)
        foreign = group.add(2, expect=1).announcement()
        with pytest.raises(Refused, match="datacenter is 'dc1' here, not 'dc2'"):
            joining.hello(replace(foreign, datacenter="dc2"))


async def test_a_server_that_meets_its_own_id_elsewhere_stops(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with ExitStack() as stack:
        group = Group(tmp_path, stack)
        group.add(1, expect=3)
        twin = group.add(2, expect=3)
        other = group.parts[0]
        stolen = Peer(server_id="id-2", name="thief", address="10.0.0.7:8300")
        other.roster.heard(
            Member(name=stolen.name, address="10.0.0.7", port=1, tags={"id": "id-2", "role": "consul", "port": "8300"}),
            leaving=False,
            now_s=trio.current_time() + 60.0,
        )
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigInvalid, match="also used by thief"), flatten_subgroups=True):
            await twin.run()


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
