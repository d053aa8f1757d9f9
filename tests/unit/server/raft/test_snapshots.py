"""Snapshot folders: complete under their final name or not there, verified before use, one to fall back to."""

import hashlib
import random
import threading
from pathlib import Path, PurePath, PurePosixPath

import msgspec
import pytest

from base.disk import RealDisk
from base.errors import DataDamaged, InvalidRequest, NotFound
from server.raft.snapshots import SnapshotMeta, SnapshotStore, decode_meta, encode_meta
from structs.cluster import Peer
from tests.fakes.disk import PowerLost, SimDisk

FOLDER = PurePosixPath("/raft/snapshots")
PEERS = [Peer(server_id="a" * 36, name="one", address="10.0.0.1:8300")]


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(0))


def take(disk: SimDisk, store: SnapshotStore, index: int, content: bytes = b"") -> SnapshotMeta:
    draft = store.begin()
    file = disk.open_file(draft.state_path, create=True)
    file.write(0, content or b"state at %d" % index)
    return store.finish(draft, index=index, term=2, configuration=PEERS, configuration_index=4, digest="d")


def meta_of(index: int, content: bytes) -> SnapshotMeta:
    return SnapshotMeta(
        index=index,
        term=3,
        configuration=PEERS,
        configuration_index=4,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        digest="d",
    )


def test_a_finished_snapshot_is_found_again_whole(tmp_path: Path) -> None:
    store = SnapshotStore(RealDisk(), tmp_path / "snapshots")
    assert store.newest_intact(1) is None
    draft = store.begin()
    Path(draft.state_path).write_bytes(b"x" * 3_000_000)
    meta = store.finish(draft, index=7, term=2, configuration=PEERS, configuration_index=4, digest="d")
    assert meta.size_bytes == 3_000_000
    again = SnapshotStore(RealDisk(), tmp_path / "snapshots")
    assert again.newest_intact(7) == meta
    assert again.repairs == []
    reader = again.open_state(meta)
    chunks = []
    while chunk := reader.read_chunk():
        chunks.append(chunk)
    reader.close()
    assert len(chunks) == 3
    assert b"".join(chunks) == Path(again.state_path(meta)).read_bytes()


def test_two_are_kept_and_older_ones_pruned(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    for index in (5, 9, 10, 100):
        take(disk, store, index)
    assert store.names() == ["100-2", "10-2"]
    assert disk.list(FOLDER) == ["10-2", "100-2"]


def test_a_pruned_snapshot_can_be_read_on_but_not_opened(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    meta = take(disk, store, 5)
    reader = store.open_state(meta)
    for index in (6, 7):
        take(disk, store, index)
    assert reader.read_chunk() == b"state at 5"
    with pytest.raises(NotFound, match="5-2"):
        store.open_state(meta)


def test_whoever_reads_a_snapshot_that_has_rotted_is_told_at_its_end_and_the_next_one_takes_its_place(
    disk: SimDisk,
) -> None:
    store = SnapshotStore(disk, FOLDER)
    meta = take(disk, store, 9)
    disk.flip_bit(store.state_path(meta), 3, 1)
    reader = store.open_state(meta)
    assert reader.read_chunk()
    with pytest.raises(DataDamaged, match=r"9-2/state\.mdb: the snapshot is not what was written"):
        reader.read_chunk()
    store.found_damaged(meta)
    assert store.names() == ["9-2"]
    take(disk, store, 12)
    assert store.names() == ["12-2"]


def test_finding_damage_waits_for_no_snapshot_that_is_being_published(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    meta = take(disk, store, 9)
    finding = threading.Thread(target=store.found_damaged, args=(meta,), daemon=True)
    with store._lock:  # as a worker thread has it while a disk takes its time
        finding.start()
        finding.join(10.0)
        assert not finding.is_alive()


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_snapshot_that_takes_the_place_of_a_damaged_one_of_its_name_stays(disk: SimDisk, moment: str) -> None:
    store = SnapshotStore(disk, FOLDER)
    meta = take(disk, store, 9)
    disk.remove_tree(FOLDER / meta.name)

    def also_found_by_another_sender(operation: str, path: PurePath) -> None:
        if operation == "rename":
            store.found_damaged(meta)

    if moment == "before":
        store.found_damaged(meta)
    else:
        disk.hook = also_found_by_another_sender
    take(disk, store, 9)
    assert store.newest_intact(9) == meta
    disk.hook = None
    take(disk, store, 12)
    assert store.names() == (["12-2", "9-2"] if moment == "before" else ["12-2"])


def test_a_snapshot_that_was_thought_damaged_and_is_not_stays(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    store.found_damaged(take(disk, store, 9))
    take(disk, store, 9)
    take(disk, store, 12)
    assert store.names() == ["12-2", "9-2"]


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_that_a_start_has_found_outlives_a_power_failure(seed: int) -> None:
    disk = SimDisk(random.Random(seed))
    store = SnapshotStore(disk, FOLDER)
    operations: list[str] = []

    def kill_behind_the_rename(operation: str, path: PurePath) -> None:
        if operation == "sync folder" and "rename" in operations:
            raise PowerLost("kill -9, in truth: what was renamed is to be seen, and not durable")
        operations.append(operation)

    disk.hook = kill_behind_the_rename
    with pytest.raises(PowerLost):
        take(disk, store, 9)
    disk.hook = None
    disk.restart()
    found = SnapshotStore(disk, FOLDER).newest_intact(1)
    assert found is not None
    disk.crash()
    assert SnapshotStore(disk, FOLDER).newest_intact(9) == found


@pytest.mark.parametrize("damage", ["flip", "cut", "meta", "no meta", "no state"])
def test_a_damaged_newest_snapshot_falls_back_to_the_older_one_and_says_so(disk: SimDisk, damage: str) -> None:
    store = SnapshotStore(disk, FOLDER)
    older = take(disk, store, 5)
    newer = take(disk, store, 9)
    state, meta = store.state_path(newer), FOLDER / newer.name / "meta.json"
    if damage == "flip":
        disk.flip_bit(state, 3, 1)
    elif damage == "cut":
        disk.cut(state, 4)
    elif damage == "meta":
        disk.flip_bit(meta, 30, 1)
    else:
        disk.remove(meta if damage == "no meta" else state)
    again = SnapshotStore(disk, FOLDER)
    assert again.newest_intact(5) == older
    assert "9-2 cannot be used" in again.repairs[0]
    with pytest.raises(DataDamaged, match=r"begins at 6.*9-2 cannot be used.*5-2 cannot be used: it ends before"):
        SnapshotStore(disk, FOLDER).newest_intact(6)
    take(disk, again, 12)
    assert again.names() == ["12-2", "5-2"], "the damaged one gives way first"


def test_no_intact_snapshot_is_no_harm_where_the_log_is_whole_and_damage_where_it_is_not(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    disk.flip_bit(store.state_path(take(disk, store, 9)), 3, 1)
    again = SnapshotStore(disk, FOLDER)
    assert again.newest_intact(1) is None
    assert len(again.repairs) == 1
    with pytest.raises(DataDamaged, match="join again under a new node id"):
        SnapshotStore(disk, FOLDER).newest_intact(2)
    with pytest.raises(DataDamaged, match="begins at 50"):
        SnapshotStore(disk, PurePosixPath("/elsewhere")).newest_intact(50)


def test_taking_the_same_snapshot_again_keeps_the_intact_one_and_replaces_a_damaged_one(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    first = take(disk, store, 9, b"first")
    assert take(disk, store, 9, b"second") == first
    disk.flip_bit(store.state_path(first), 0, 0)
    second = take(disk, store, 9, b"second")
    assert SnapshotStore(disk, FOLDER).newest_intact(9) == second
    assert disk.list(FOLDER) == ["9-2"]


def test_an_incoming_snapshot_is_published_only_if_it_is_what_was_announced(disk: SimDisk) -> None:
    content = random.Random(1).randbytes(10_000)
    meta = meta_of(50, content)
    store = SnapshotStore(disk, FOLDER)
    incoming = store.begin_incoming(meta)
    for start in range(0, len(content), 3000):
        incoming.append(content[start : start + 3000])
    assert incoming.finish() == meta
    disk.crash()
    again = SnapshotStore(disk, FOLDER)
    assert again.newest_intact(50) == meta
    assert disk.read(again.state_path(meta)) == content


@pytest.mark.parametrize("arrived", [b"", b"short", b"flipped bytes", b"announced bytes and more"])
def test_an_incoming_snapshot_that_differs_leaves_nothing(disk: SimDisk, arrived: bytes) -> None:
    store = SnapshotStore(disk, FOLDER)
    incoming = store.begin_incoming(meta_of(50, b"expected byte"))

    def receive() -> None:
        incoming.append(arrived)
        incoming.finish()

    with pytest.raises(InvalidRequest, match="50-3"):
        receive()
    incoming.discard()
    assert disk.list(FOLDER) == []


def test_an_incoming_snapshot_that_cannot_be_is_refused(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    with pytest.raises(InvalidRequest):
        store.begin_incoming(meta_of(-4, b""))
    with pytest.raises(InvalidRequest, match="format 99"):
        store.begin_incoming(msgspec.structs.replace(meta_of(4, b""), version=99))


def test_a_new_incoming_snapshot_replaces_an_unfinished_one(disk: SimDisk) -> None:
    store = SnapshotStore(disk, FOLDER)
    store.begin_incoming(meta_of(50, b"first")).append(b"fir")
    incoming = store.begin_incoming(meta_of(60, b"second"))
    incoming.append(b"second")
    incoming.finish()
    assert store.names() == ["60-3"]


def test_a_crash_anywhere_leaves_the_old_snapshots_or_the_new_one_too() -> None:
    survivors = set()
    for at in range(60):
        disk = SimDisk(random.Random(at))
        store = SnapshotStore(disk, FOLDER)
        metas = [take(disk, store, index) for index in (5, 9)]
        disk.operations_count = 0
        disk.power_lost_at = at
        finished = False
        try:
            take(disk, store, 12)
            finished = True
        except PowerLost:
            pass
        disk.crash()
        again = SnapshotStore(disk, FOLDER)
        newest = again.newest_intact(9)
        assert again.repairs == [] or all("unfinished" in line for line in again.repairs)
        assert newest is not None
        assert newest.index == 12 if finished else newest == metas[1] or newest.index == 12
        assert not any(name.endswith(".tmp") for name in disk.list(FOLDER))
        survivors.add(newest.index)
    assert survivors == {9, 12}


def test_meta_is_read_back_and_any_flipped_bit_in_it_is_seen() -> None:
    meta = meta_of(50, b"content")
    text = encode_meta(meta)
    assert decode_meta(text) == meta
    for position in range(len(text)):
        flipped = bytearray(text)
        flipped[position] ^= 1 << position % 3
        try:
            assert decode_meta(bytes(flipped)) == meta, "white space may change"
        except InvalidRequest:
            continue


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b'{"check": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_meta_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_meta(text)
