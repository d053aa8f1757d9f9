"""Snapshots at work: taken beside writes, sent, fetched whole or not at all, and not taken while a peer fetches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from base import codec
from base.disk import RealDisk
from base.errors import DataDamaged, DiskFailed, InvalidRequest, InvariantBroken, NotFound, Unreachable
from fsm.commands.registry import KVS, encode_command
from fsm.machine import Machine
from fsm.store.store import Store
from fsm.watch import WatchRegistry
from rpc.pool import RPCPool
from server.raft import snapshotting as module
from server.raft.core import Core, FetchSnapshot
from server.raft.snapshots import SnapshotMeta, SnapshotStore
from server.raft.snapshotting import SnapshotPolicy, Snapshotting
from structs.cluster import Peer
from structs.kv import KVCommand, KVVerb

PEERS = [Peer(server_id="a", name="a", address="10.0.0.1:8300")]
POLICY = SnapshotPolicy()


class StubCore:
    """Takes every snapshot, or refuses to install as the real core does where it knows better."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.installs = True
        self.taken: list[tuple[int, int]] = []
        self.failed_count = 0

    def snapshot_taken(self, meta: SnapshotMeta, trailing_count: int) -> None:
        self.taken.append((meta.index, trailing_count))

    def install(self, meta: SnapshotMeta, now_s: float) -> bool:
        if self.installs:
            self.side.snapshotting.adopt(meta)
        return self.installs

    def fetch_failed(self) -> None:
        self.failed_count += 1


class Side:
    """One server's snapshots on a real folder, and the node they belong to."""

    def __init__(self, folder: Path, pool: FakePool | None = None) -> None:
        self.store = SnapshotStore(RealDisk(), folder / "snapshots")
        self.machine = Machine(Store.create(folder / "state" / "a"), WatchRegistry())
        self.snapshotting = Snapshotting(
            snapshots=self.store,
            newest=None,
            state_folder=folder / "state",
            machine=self.machine,
            pool=cast(RPCPool, pool),
            clock=trio.current_time,
        )
        self.core = StubCore(self)
        self.address: str | None = "10.0.0.1:8300"

    def write(self, count: int) -> None:
        for _ in range(count):
            index = self.machine.raft_index_applied + 1
            command = KVCommand(verb=KVVerb.SET, key=f"k{index}", value=b"v" * 1000)
            self.machine.apply(index, 1, encode_command(KVS, command))
        self.machine.commit_batch()

    def wanted(self, policy: SnapshotPolicy = POLICY, *, applied_index: int, log_bytes: int = 0) -> bool:
        return self.snapshotting.wanted(
            policy, applied_index=applied_index, log_count=10, log_bytes=log_bytes, now_s=trio.current_time() + 3600.0
        )

    # The node, as snapshotting sees it.

    def address_of(self, server_id: str) -> str | None:
        return self.address

    def configuration_at(self, index: int) -> tuple[list[Peer], int]:
        return PEERS, 1

    def trailing_count(self) -> int:
        return 7

    async def between_rounds(self, action: Callable[[Core, float], object]) -> object:
        await trio.lowlevel.checkpoint()
        return action(cast(Core, self.core), 0.0)


class ListStream:
    """Keeps the chunks; `gate` holds the second one back, `error` breaks there."""

    def __init__(self, *, gate: trio.Event | None = None, error: Exception | None = None) -> None:
        self.chunks: list[bytes] = []
        self.finished = False
        self._gate = gate
        self._error = error

    async def send_chunk(self, data: bytes) -> None:
        if self.chunks and self._gate is not None:
            await self._gate.wait()
        if self.chunks and self._error is not None:
            raise self._error
        self.chunks.append(data)

    async def finish(self) -> None:
        self.finished = True

    async def receive_chunk(self) -> bytes:
        if len(self.chunks) == 1 and self._error is not None:
            raise self._error
        return self.chunks.pop(0) if self.chunks else b""


class FakePool:
    """Its one stream brings what a sender has put there."""

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.stream_made = ListStream(error=error)
        self.stream_made.chunks = chunks

    @asynccontextmanager
    async def stream(self, address: str, method: str, body: bytes) -> AsyncIterator[ListStream]:
        yield self.stream_made


@pytest.fixture
async def leader(tmp_path: Path) -> Side:
    """A server with a snapshot at index 20."""
    side = Side(tmp_path / "leader")
    side.write(20)
    assert await side.snapshotting.take(side) is not None
    return side


async def sent_by(leader: Side) -> list[bytes]:
    stream = ListStream()
    await leader.snapshotting.send(20, 1, stream)
    return stream.chunks


def offer(index: int = 20, term: int = 1) -> FetchSnapshot:
    return FetchSnapshot(from_id="leader", index=index, term=term)


# --- taking


async def test_a_snapshot_is_durable_before_the_log_is_cut_behind_it(tmp_path: Path) -> None:
    side = Side(tmp_path)
    side.write(20)
    there: list[str] = []
    cut = side.core.snapshot_taken

    def snapshot_taken(meta: SnapshotMeta, trailing_count: int) -> None:
        there.extend(side.store.names())
        cut(meta, trailing_count)

    side.core.snapshot_taken = snapshot_taken  # type: ignore[method-assign]
    meta = await side.snapshotting.take(side)
    assert meta is not None
    assert (meta.index, meta.term, meta.configuration) == (20, 1, PEERS)
    assert there == ["20-1"]
    assert side.core.taken == [(20, 7)]
    side.machine.close()


async def test_nothing_new_needs_no_snapshot(leader: Side) -> None:
    assert await leader.snapshotting.take(leader) is None
    assert leader.snapshotting.taken_total == 1
    leader.machine.close()


async def test_one_at_a_time(tmp_path: Path) -> None:
    side = Side(tmp_path)
    side.write(20)
    results: list[SnapshotMeta | None] = []

    async def take() -> None:
        results.append(await side.snapshotting.take(side))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
    assert sum(result is not None for result in results) == 1
    side.machine.close()


# --- sending


async def test_what_is_sent_is_the_head_and_then_the_file(leader: Side) -> None:
    chunks = await sent_by(leader)
    meta = codec.decode(SnapshotMeta, chunks[0])
    assert b"".join(chunks[1:]) == RealDisk().read(leader.store.state_path(meta))
    leader.machine.close()


async def test_what_is_not_there_is_not_found(tmp_path: Path, leader: Side) -> None:
    empty = Side(tmp_path / "empty")
    for side, index in ((empty, 0), (leader, 21)):
        with pytest.raises(NotFound):
            await side.snapshotting.send(index, 1, ListStream())
        side.machine.close()


async def test_no_snapshot_cuts_the_log_from_under_a_peer_that_fetches(
    leader: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = 20 + POLICY.threshold_count
    assert leader.wanted(applied_index=due)
    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader.snapshotting.send, 20, 1, ListStream(gate=gate))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert not leader.wanted(applied_index=due)
        assert not leader.wanted(applied_index=due, log_bytes=POLICY.log_bytes_max + 1)
        assert leader.wanted(applied_index=due, log_bytes=POLICY.transfer_log_bytes_max + 1)
        gate.set()
    monkeypatch.setattr(module, "AFTER_SEND_S", 7200.0)
    assert not leader.wanted(applied_index=due)  # it checks, syncs and installs
    monkeypatch.setattr(module, "AFTER_SEND_S", 30.0)
    assert leader.wanted(applied_index=due)
    leader.machine.close()


async def test_a_transfer_that_broke_holds_nothing_back(leader: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AFTER_SEND_S", 7200.0)
    with pytest.raises(Unreachable):
        await leader.snapshotting.send(20, 1, ListStream(error=Unreachable("gone")))
    assert leader.wanted(applied_index=20 + POLICY.threshold_count)
    leader.machine.close()


async def test_a_snapshot_that_has_rotted_is_replaced_at_once(leader: Side, caplog: pytest.LogCaptureFixture) -> None:
    meta = leader.store.newest_intact(1)
    assert meta is not None
    file = RealDisk().open_file(leader.store.state_path(meta))
    file.write(meta.size_bytes - 1, b"?")
    with pytest.raises(DataDamaged):
        await sent_by(leader)
    assert leader.wanted(applied_index=20), "nothing new was written, and the one transfer was none"
    assert await leader.snapshotting.take(leader) is not None
    assert not leader.wanted(applied_index=20)
    assert leader.store.newest_intact(20) is not None
    await sent_by(leader)
    leader.machine.close()


async def test_a_snapshot_that_is_missing_is_replaced_as_well(leader: Side, caplog: pytest.LogCaptureFixture) -> None:
    meta = leader.store.newest_intact(1)
    assert meta is not None
    RealDisk().unlink(leader.store.state_path(meta))
    with pytest.raises(NotFound):
        await sent_by(leader)
    assert leader.wanted(applied_index=20)
    assert await leader.snapshotting.take(leader) is not None
    assert leader.store.newest_intact(20) is not None
    await sent_by(leader)
    leader.machine.close()


# --- fetching


async def test_what_was_fetched_becomes_the_state(tmp_path: Path, leader: Side) -> None:
    follower = Side(tmp_path / "follower", FakePool(await sent_by(leader)))
    before = follower.machine.store.path
    await follower.snapshotting.fetch(offer(), follower)
    assert follower.machine.raft_index_visible == 20
    assert follower.machine.digest_now == leader.machine.digest_now
    assert follower.machine.store.path != before
    assert follower.store.names() == ["20-1"]
    assert follower.snapshotting.installed_total == 1
    assert await follower.snapshotting.take(follower) is None  # it has one of this state already
    for side in (follower, leader):
        side.machine.close()


async def test_what_the_core_does_not_want_any_more_changes_nothing(tmp_path: Path, leader: Side) -> None:
    follower = Side(tmp_path / "follower", FakePool(await sent_by(leader)))
    follower.core.installs = False
    before = follower.machine.store
    await follower.snapshotting.fetch(offer(), follower)
    assert follower.machine.store is before
    assert follower.snapshotting.installed_total == 0
    assert follower.core.failed_count == 0
    for side in (follower, leader):
        side.machine.close()


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "no head", "broken", "older", "gone", "unreadable"])
async def test_what_does_not_arrive_whole_is_asked_for_again(tmp_path: Path, leader: Side, damage: str) -> None:
    chunks = await sent_by(leader)
    error: Exception | None = None
    wanted = offer()
    if damage == "cut":
        chunks[-1] = chunks[-1][:-1]
    elif damage == "changed":
        chunks[-1] = bytes([chunks[-1][0] ^ 1]) + chunks[-1][1:]
    elif damage == "longer":
        chunks.append(b"x")
    elif damage == "no head":
        chunks[0] = b"\xc1"
    elif damage == "broken":
        error = Unreachable("the leader went away")
    elif damage == "unreadable":
        error = DiskFailed("it is the leader's disk that failed, not ours")
    elif damage == "older":
        wanted = offer(index=21)
    if error is not None:
        chunks = chunks[:1]
    follower = Side(tmp_path / "follower", FakePool(chunks, error))
    if damage == "gone":
        follower.address = None
    await follower.snapshotting.fetch(wanted, follower)
    assert follower.core.failed_count == 1
    assert follower.store.names() == []
    assert follower.machine.raft_index_visible == 0
    follower.snapshotting._pool = cast(RPCPool, FakePool(await sent_by(leader)))
    follower.address = "10.0.0.1:8300"
    await follower.snapshotting.fetch(offer(), follower)
    assert follower.machine.raft_index_visible == 20
    for side in (follower, leader):
        side.machine.close()


async def test_a_head_of_another_size_than_a_head_has_is_refused(tmp_path: Path) -> None:
    follower = Side(tmp_path, FakePool([bytes(module.META_BYTES_MAX + 1)]))
    with pytest.raises(InvalidRequest):
        await follower.snapshotting._receive(offer(), follower)
    follower.machine.close()


async def test_installing_what_nobody_prepared_stops_the_server(leader: Side) -> None:
    meta = codec.decode(SnapshotMeta, (await sent_by(leader))[0])
    with pytest.raises(InvariantBroken):
        leader.snapshotting.adopt(meta)
    leader.machine.close()


async def test_views_that_are_open_while_a_snapshot_is_installed_stay_readable(tmp_path: Path, leader: Side) -> None:
    follower = Side(tmp_path / "follower", FakePool(await sent_by(leader)))
    with follower.machine.read() as view:
        await follower.snapshotting.fetch(offer(), follower)
        for index in (40, 60):  # also when others replace the one that replaced it
            leader.write(20)
            await leader.snapshotting.take(leader)
            follower.snapshotting._pool = cast(RPCPool, FakePool(await sent_by(leader)))
            await follower.snapshotting.fetch(offer(index), follower)
        assert view.raft_index == 0
        assert view.index_row("kv") == 0
    with follower.machine.read() as view:
        assert view.raft_index == 60
    assert [each.name for each in (tmp_path / "follower" / "state").iterdir()] == ["3"]
    for side in (follower, leader):
        side.machine.close()


async def test_a_copy_that_failed_leaves_no_folder_behind(
    tmp_path: Path, leader: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Side(tmp_path / "follower")
    with monkeypatch.context() as patched:

        def fail(directory: Path, *, map_bytes: int) -> Store:
            raise DataDamaged("it cannot be opened now")

        patched.setattr(Store, "open", fail)
        for count in (1, 2, 3):
            follower.snapshotting._pool = cast(RPCPool, FakePool(await sent_by(leader)))
            await follower.snapshotting.fetch(offer(), follower)
            assert follower.core.failed_count == count
    follower.snapshotting._pool = cast(RPCPool, FakePool(await sent_by(leader)))
    await follower.snapshotting.fetch(offer(), follower)
    assert follower.machine.raft_index_visible == 20
    assert len(list((tmp_path / "follower" / "state").iterdir())) == 1
    for side in (follower, leader):
        side.machine.close()


def test_a_start_removes_old_copies_and_nothing_else_of_a_folder_that_is_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("0", "7", "lost+found"):
        Store.create(elsewhere / name).close()
    (elsewhere / "README").write_text("this disk may be wiped")
    (tmp_path / "state").symlink_to(elsewhere)
    snapshots = SnapshotStore(RealDisk(), tmp_path / "snapshots")
    module.prepare_state(RealDisk(), snapshots, None, tmp_path / "state").close()
    assert sorted(each.name for each in elsewhere.iterdir()) == ["0", "README", "lost+found"]
