"""H18: slices of the library's journal copy the whole tail, once a follower and tick; ours are views."""

import random
import sys
from pathlib import PurePosixPath

from pysyncobj.journal import MemoryJournal

from server.raft.journal import Journal, LogView
from tests.fakes.disk import SimDisk

ENTRIES_COUNT = 5000


def test_the_library_copies_the_tail_and_ours_does_not() -> None:
    theirs = MemoryJournal()
    ours = Journal.open(SimDisk(random.Random(0)), PurePosixPath("/raft"), segment_bytes=8192, rng=random.Random(0))
    theirs.add(b"\x01", 1, 0)
    for index in range(2, ENTRIES_COUNT + 1):
        theirs.add(b"entry", index, 1)
        ours.add(b"entry", index, 1)
    tail = ours[10:]
    assert isinstance(tail, LogView)
    assert sys.getsizeof(tail) < 200 < ENTRIES_COUNT < sys.getsizeof(theirs[10:])
    assert list(tail) == theirs[10:]
    assert tail[:3] == theirs[10:13]


def test_taking_a_batch_from_a_slice_touches_only_that_batch() -> None:
    """As the library does: slice to the end, then walk until the batch is full."""
    journal = Journal.open(SimDisk(random.Random(0)), PurePosixPath("/raft"), segment_bytes=8192, rng=random.Random(0))
    for index in range(2, ENTRIES_COUNT + 1):
        journal.add(b"entry", index, 1)
    view = journal[100:]
    taken = count = 0
    for entry in view:
        taken += len(entry[0])
        count += 1
        if taken >= 50:
            break
    batch = view[:count]
    assert [entry[1] for entry in batch] == list(range(101, 111))
