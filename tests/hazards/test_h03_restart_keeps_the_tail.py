"""H3: on restart, a snapshot newer than the log's head makes the library clear the log, acknowledged tail included."""

import random
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from server.raft.journal import Journal
from server.raft.snapshots import SnapshotMeta, SnapshotStore
from server.raft.starting import reconcile_log
from structs.cluster import Peer
from tests.fakes.disk import PowerLost, SimDisk

ROOT = Path(__file__).resolve().parents[2]
FOLDER = PurePosixPath("/raft")
SNAPSHOT_INDEX = 10
LAST_INDEX = 20

LIBRARY_RESTART = f"""
import sys
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import FileJournal
from pysyncobj.serializer import Serializer
folder = sys.argv[1]
journal = FileJournal(folder + "/journal")
for index in range(1, {LAST_INDEX + 1}):
    journal.add(b"\\x01", index, min(index - 1, 1))
journal.setCurrentTerm(1, None)
journal._destroy()
# The dump's rename has happened, the journal's trim has not: the process was killed in between.
serializer = Serializer(folder + "/dump", 1000, False, None, None, None)
before, last = (b"\\x01", {SNAPSHOT_INDEX - 1}, 1), (b"\\x01", {SNAPSHOT_INDEX}, 1)
serializer.serialize((None, last, before, set()), {SNAPSHOT_INDEX - 1})
conf = SyncObjConf(autoTick=False, journalFile=folder + "/journal", fullDumpFile=folder + "/dump", useFork=False)
server = SyncObj("127.0.0.1:0", [], conf)
server.doTick(0)
log = server._SyncObj__raftLog
print(log[0][1], log[-1][1])
server.destroy()
"""


def test_the_library_clears_an_acknowledged_tail(tmp_path: Path) -> None:
    """In a process of its own: other tests replace parts of the library."""
    ran = subprocess.run(
        [sys.executable, "-c", LIBRARY_RESTART, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    first, last = map(int, ran.stdout.split()[:2])
    assert (first, last) == (SNAPSHOT_INDEX - 1, SNAPSHOT_INDEX)
    assert last < LAST_INDEX


def take_snapshot(disk: SimDisk, journal: Journal) -> SnapshotMeta:
    """A snapshot at SNAPSHOT_INDEX becomes durable, then the log is trimmed to it: in this order."""
    store = SnapshotStore(disk, FOLDER / "snapshots")
    draft = store.begin()
    disk.open_file(draft.state_path, create=True).write(0, b"state at 10")
    meta = store.finish(
        draft,
        index=SNAPSHOT_INDEX,
        term=1,
        configuration=[Peer(server_id="a", name="a", address="127.0.0.1:1")],
        configuration_index=2,
        digest="d",
    )
    journal.trim_to(meta.index)
    journal.sync()
    return meta


@pytest.mark.parametrize("death", ["crash", "restart"])
def test_ours_keeps_it_wherever_the_process_or_the_power_dies(death: str) -> None:
    died_count = 0
    for at in range(40):
        disk = SimDisk(random.Random(at))
        journal = Journal.open(disk, FOLDER, segment_bytes=4096, rng=random.Random(1))
        for index in range(2, LAST_INDEX + 1):
            journal.add(b"e" * 900, index, 1)
            journal.sync()
        disk.operations_count = 0
        disk.power_lost_at = at
        try:
            take_snapshot(disk, journal)
        except PowerLost:
            died_count += 1
        getattr(disk, death)()
        journal = Journal.open(disk, FOLDER, segment_bytes=4096, rng=random.Random(1))
        snapshot = SnapshotStore(disk, FOLDER / "snapshots").newest_intact(journal.first_index)
        reconcile_log(journal, snapshot)
        assert journal.last_index == LAST_INDEX
        assert snapshot is not None or journal.first_index == 1
        base = max(journal.first_index, snapshot.index if snapshot is not None else 1)
        assert [entry[1] for entry in journal.entries_from(base + 1)] == list(range(base + 1, LAST_INDEX + 1))
    assert 10 < died_count < 40


def test_a_snapshot_that_was_installed_but_not_yet_followed_by_the_log_s_reset_is_used() -> None:
    disk = SimDisk(random.Random(0))
    journal = Journal.open(disk, FOLDER, segment_bytes=4096, rng=random.Random(1))
    journal.add(b"uncommitted", 2, 1)
    journal.sync()
    store = SnapshotStore(disk, FOLDER / "snapshots")
    meta = SnapshotMeta(
        index=500, term=3, configuration=[], configuration_index=2, size_bytes=0, sha256=EMPTY_SHA256, digest=""
    )
    store.begin_incoming(meta).finish()
    disk.crash()
    journal = Journal.open(disk, FOLDER, segment_bytes=4096, rng=random.Random(1))
    snapshot = SnapshotStore(disk, FOLDER / "snapshots").newest_intact(journal.first_index)
    assert snapshot == meta
    reconcile_log(journal, snapshot)
    assert (journal.first_index, journal.last_index, journal.last_term) == (500, 500, 3)


EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
