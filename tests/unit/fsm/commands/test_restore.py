"""Restoring through the log: all or nothing, visible at once, indexes never twice."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from base.codec import decode, encode
from fsm import archive
from fsm.commands.refusal import Refusal
from fsm.commands.registry import RESTORE_ABORT, RESTORE_COMMIT, encode_command
from fsm.commands.restore import CHAIN_START
from fsm.store import bulk, tombstones
from fsm.store.kv import encode_body
from fsm.watch import WatchSet
from structs.archive import ArchiveMeta, RestoreAbort, RestoreCommit, RestoreReply, RowChunk
from structs.kv import KVVerb
from tests.fakes.replica import Replica
from tests.fakes.restores import ID, begin, chunk, commit_of, kv_chunk, row

LONG = "long/" * 200


def saved(replica: Replica) -> archive.Archive:
    file = io.BytesIO()
    with replica.machine.read() as view:
        meta = ArchiveMeta(snapshot_id="x", index=view.index, term=view.term)
        archive.write_archive(view, file, meta)
    return archive.read_archive(file)


def filled(directory: Path) -> Replica:
    replica = Replica(directory)
    for number in range(50):
        replica.set(f"a/{number}", b"v%d" % number, flags=number % 3)
    replica.set(LONG, b"long")
    replica.set(LONG + "2", b"long")
    replica.delete("a/7")
    replica.delete_tree("a/1")
    return replica


def restore(replica: Replica, commands: list[bytes]) -> object:
    reply: object = None
    for command in commands:
        reply = replica.run(command)
    return reply


@pytest.fixture
def source(tmp_path: Path) -> Replica:
    return filled(tmp_path / "source")


def test_a_restored_state_is_the_archived_one_row_by_row(source: Replica, replica: Replica) -> None:
    replica.set("gone", b"after the restore")
    reply = restore(replica, list(saved(source).commands(ID)))
    assert isinstance(reply, RestoreReply)
    assert replica.dump() == source.dump()
    assert replica.machine.store.state.digests == source.machine.store.state.digests
    replica.check()


def test_nothing_is_visible_before_the_commit(source: Replica, replica: Replica) -> None:
    replica.set("mine")
    *before_commit, commit = saved(source).commands(ID)
    restore(replica, before_commit)
    assert replica.keys("")[0] == ["mine"]
    replica.set("written meanwhile")
    replica.run(commit)
    assert replica.keys("")[0] == source.keys("")[0]


def test_indexes_go_on_above_those_of_the_archive(source: Replica, replica: Replica) -> None:
    archived = source.machine.index_applied
    commands = list(saved(source).commands(ID))
    assert len(commands) < archived
    restore(replica, commands)
    assert replica.machine.index_applied == archived + 1
    assert replica.set("new") == archived + 2
    assert replica.machine.raft_index_applied < archived


def test_the_offset_never_falls(source: Replica, replica: Replica) -> None:
    for _ in range(2):
        before = replica.machine.index_applied
        restore(replica, list(saved(source).commands(ID)))
        assert replica.machine.index_applied > before
    for number in range(100):
        replica.set(f"more/{number}")
    before = replica.machine.index_applied
    restore(replica, list(saved(source).commands(ID)))
    assert replica.machine.index_applied > before


def test_the_commit_abandons_every_watch(source: Replica, replica: Replica) -> None:
    class Bell:
        rung = 0

        def fire(self) -> None:
            self.rung += 1

    bell = Bell()
    handle = replica.machine.watches.register(WatchSet().key("kvs", "whatever"), bell)
    *before_commit, commit = saved(source).commands(ID)
    restore(replica, before_commit)
    assert bell.rung == 0
    replica.run(commit)
    assert (bell.rung, handle.active) == (1, False)


def test_a_repeated_chunk_changes_nothing_and_a_missing_one_is_refused(replica: Replica) -> None:
    payloads = [kv_chunk("a"), kv_chunk("b")]
    replica.run(begin())
    assert isinstance(replica.run(chunk(1, payloads[1])), Refusal)
    assert replica.run(chunk(0, payloads[0])) == RestoreReply(rows_count=1)
    assert replica.run(chunk(0, payloads[0])) == RestoreReply(rows_count=1)
    assert replica.run(chunk(1, payloads[1])) == RestoreReply(rows_count=2)
    assert replica.run(commit_of(payloads)) == RestoreReply(rows_count=2)
    assert replica.keys("")[0] == ["a", "b"]


def test_entries_before_and_after_the_commit_may_share_its_batch(replica: Replica) -> None:
    replica.write(KVVerb.SET, "before", commit=False)
    replica.run(begin(), commit=False)
    replica.run(chunk(0, kv_chunk("restored")), commit=False)
    replica.run(commit_of([kv_chunk("restored")]), commit=False)
    replica.write(KVVerb.SET, "after", commit=False)
    replica.machine.commit_batch()
    assert replica.keys("")[0] == ["after", "restored"]
    replica.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: RestoreCommit(restore_id=ID, chunks_count=2, rows_count=c.rows_count, chain=c.chain),
        lambda c: RestoreCommit(restore_id=ID, chunks_count=1, rows_count=c.rows_count + 1, chain=c.chain),
        lambda c: RestoreCommit(restore_id=ID, chunks_count=1, rows_count=c.rows_count, chain=CHAIN_START),
        lambda c: RestoreCommit(restore_id="other", chunks_count=1, rows_count=c.rows_count, chain=c.chain),
    ],
)
def test_a_commit_that_does_not_fit_is_refused_and_changes_nothing(
    replica: Replica, change: Callable[[RestoreCommit], RestoreCommit]
) -> None:
    replica.set("mine")
    before = replica.dump()
    replica.run(begin())
    replica.run(chunk(0, kv_chunk("a")))
    right = decode(RestoreCommit, commit_of([kv_chunk("a")])[1:])
    assert isinstance(replica.run(encode_command(RESTORE_COMMIT, change(right))), Refusal)
    assert replica.dump() == before


def test_a_new_begin_forgets_the_unfinished_one(replica: Replica) -> None:
    replica.run(begin("first"))
    replica.run(chunk(0, kv_chunk("first"), "first"))
    replica.run(begin("second"))
    assert isinstance(replica.run(chunk(1, kv_chunk("first"), "first")), Refusal)
    replica.run(chunk(0, kv_chunk("second"), "second"))
    assert replica.run(commit_of([kv_chunk("second")], "second")) == RestoreReply(rows_count=1)
    assert replica.keys("")[0] == ["second"]


def test_an_aborted_restore_is_gone(replica: Replica) -> None:
    replica.run(begin())
    replica.run(chunk(0, kv_chunk("a")))
    assert replica.run(encode_command(RESTORE_ABORT, RestoreAbort(restore_id=ID))) == RestoreReply()
    assert isinstance(replica.run(encode_command(RESTORE_ABORT, RestoreAbort(restore_id=ID))), Refusal)
    assert isinstance(replica.run(commit_of([kv_chunk("a")])), Refusal)
    assert replica.keys("")[0] == []


TOMBSTONE = (3).to_bytes(tombstones.INDEX_BYTES, "big")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"garbage", "malformed"),
        (encode(RowChunk(table=99, keys=[b"a"], bodies=[row()])), "table number 99 is unknown"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[])), "without a body"),
        (encode(RowChunk(table=1, keys=[b""], bodies=[row()])), "empty or too long"),
        (encode(RowChunk(table=1, keys=[b"k" * 20_000], bodies=[row()])), "empty or too long"),
        (encode(RowChunk(table=1, keys=[b"\xc3", b"\xc3\x28"], bodies=[row()] * 2)), "not UTF-8"),
        (encode(RowChunk(table=1, keys=[b"a\xc3", b"\xa9"], bodies=[row()] * 2)), "not UTF-8"),
        (encode(RowChunk(table=1, keys=[b"b", b"a"], bodies=[row()] * 2)), "ascending"),
        (encode(RowChunk(table=1, keys=[b"a", b"a"], bodies=[row()] * 2)), "ascending"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[b""])), "cut off"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[b"\x00" * 10])), "cut off"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[b"\x07" * 40])), "unknown kind"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[encode_body(9, 3, 0, 0, "", b"")])), "created at 9"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[encode_body(0, 3, 0, 0, "", b"")])), "created at 0"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[encode_body(1, 1, 0, 0, "s" * 9, b"")[:-3]])), "session"),
        (encode(RowChunk(table=1, keys=[b"a"], bodies=[row(bulk.INDEX_MAX + 1)])), "out of range"),
        (encode(RowChunk(table=2, keys=[b"a"], bodies=[TOMBSTONE[:-1]])), "tombstone"),
        (encode(RowChunk(table=2, keys=[b"a"], bodies=[TOMBSTONE + b"x"])), "tombstone"),
        (encode(RowChunk(table=3, keys=[b"kvs"], bodies=[b"\x01"])), "counter"),
    ],
)
def test_rows_that_are_none_are_refused_and_so_is_their_commit(replica: Replica, payload: bytes, reason: str) -> None:
    replica.set("mine")
    replica.run(begin())
    refusal = replica.run(chunk(0, payload))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.text
    assert isinstance(replica.run(chunk(0, kv_chunk("a"))), Refusal)
    assert isinstance(replica.run(commit_of([])), Refusal)
    assert replica.keys("")[0] == ["mine"]


@pytest.mark.parametrize("second", ["a", "b" * 600])
def test_a_key_that_comes_twice_in_two_chunks_is_refused(replica: Replica, second: str) -> None:
    replica.run(begin())
    assert isinstance(replica.run(chunk(0, kv_chunk("a", "b" * 600))), RestoreReply)
    refusal = replica.run(chunk(1, kv_chunk(second)))
    assert isinstance(refusal, Refusal)
    assert "ascending" in refusal.text


def test_counters_that_an_archive_lacks_are_raised_to_its_rows(replica: Replica) -> None:
    payload = encode(RowChunk(table=1, keys=[b"a"], bodies=[row(70)]))
    restore(replica, [begin(), chunk(0, payload), commit_of([payload])])
    assert replica.get("absent")[1] == 70
    assert replica.set("b") == 72


def test_an_index_out_of_range_cannot_begin(replica: Replica) -> None:
    assert isinstance(replica.run(begin(index=bulk.INDEX_MAX + 1)), Refusal)
    assert isinstance(replica.run(begin(index=-1)), Refusal)
