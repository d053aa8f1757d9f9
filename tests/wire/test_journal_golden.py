"""Journals written by released versions stay readable for ever, byte for byte.

`journal_v1/` was written by `write_golden` below; each file is a segment without its unwritten end. A change of
the format gets a new folder beside it, and the old one stays.
"""

import random
from pathlib import Path, PurePosixPath

from server.raft.journal import Journal
from tests.fakes.disk import SimDisk

GOLDEN = Path(__file__).parent / "journal_v1"
FOLDER = PurePosixPath("/raft")
SEGMENT_BYTES = 4096


def write_golden(disk: SimDisk) -> Journal:
    """Every kind of record, a stuffed payload, several segments, unlinked ones before the first."""
    journal = Journal.open(disk, FOLDER, segment_bytes=SEGMENT_BYTES, rng=random.Random("golden"))
    rng = random.Random("commands")
    journal.setCurrentTerm(1, "adf4238a-882b-9ddc-4a9d-5b6758e4159e")
    for index in range(2, 12):
        journal.add(rng.randbytes(rng.randrange(700)), index, 1)
        journal.setRaftCommitIndex(index - 1)
        journal.sync()
    journal.reset_to(500, 3)
    journal.setCurrentTerm(4, None)
    journal.setCurrentTerm(4, "b")
    journal.sync()
    for index in range(501, 508):
        journal.add(b"\x00" + b"golden" * rng.randrange(150), index, 4)
        journal.sync()
    journal.deleteEntriesFrom(5)
    journal.setCurrentTerm(6, None)
    journal.add(bytes(1500), 505, 6)
    journal.setRaftCommitIndex(504)
    journal.sync()
    return journal


def golden_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(GOLDEN.glob("*.seg"))}


def test_this_release_writes_the_golden_bytes() -> None:
    disk = SimDisk(random.Random(0))
    write_golden(disk)
    assert {name: disk.read(FOLDER / name).rstrip(b"\0") for name in disk.list(FOLDER)} == golden_files()


def test_this_release_reads_the_golden_bytes() -> None:
    disk = SimDisk(random.Random(0))
    disk.make_folder(FOLDER)
    assert len(golden_files()) >= 2
    for name, content in golden_files().items():
        disk.open_file(FOLDER / name, create=True).write(0, content)
    journal = Journal.open(disk, FOLDER, segment_bytes=SEGMENT_BYTES, rng=random.Random(1))
    written = write_golden(SimDisk(random.Random(0)))
    assert list(journal) == list(written)
    assert [entry[1:] for entry in journal] == [(500, 3), (501, 4), (502, 4), (503, 4), (504, 4), (505, 6)]
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (6, None, 504)
    assert journal.repairs == []
