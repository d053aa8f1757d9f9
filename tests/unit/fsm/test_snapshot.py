"""Copies of the state: consistent while writes go on, equal when read back, refused when damaged."""

import threading
from pathlib import Path

import lmdb
import pytest

from base.codec import encode
from base.errors import DataDamaged, DiskFailed
from fsm import snapshot
from fsm.store import kv
from fsm.store.state import STATE_KEY, State
from fsm.store.store import Store, StoreClosed
from fsm.watch import WatchSet
from structs.kv import KVVerb
from tests.fakes.replica import Replica
from tests.fakes.restores import begin, chunk, commit_of, kv_chunk


def test_a_copy_knows_what_it_holds_and_reads_back_the_same(replica: Replica, tmp_path: Path) -> None:
    for number in range(200):
        replica.set(f"k/{number}" + "x" * (number * 7), b"v")
    replica.delete_tree("k/1")
    facts = snapshot.write_copy(replica.machine.store, tmp_path / "copy.mdb")
    assert (facts.raft_index, facts.term, facts.index) == (201, 1, 201)
    assert facts.digest == replica.machine.digest_now
    assert facts == snapshot.inspect_copy(tmp_path / "copy.mdb")
    other = Replica(tmp_path / "other", store=snapshot.open_copy(tmp_path / "copy.mdb", tmp_path / "other"))
    assert other.dump() == replica.dump()
    assert other.machine.digests_known() == [64, 128, 192]
    assert other.set("goes on") == 202
    other.check()
    other.close()
    assert facts == snapshot.inspect_copy(tmp_path / "copy.mdb"), "the copy was written to"


def test_a_copy_holds_whole_batches_however_much_is_written_meanwhile(replica: Replica, tmp_path: Path) -> None:
    for number in range(2_000):
        replica.write(KVVerb.SET, f"k/{number}", b"0" * 200, commit=False)
    replica.machine.commit_batch()
    copies: list[snapshot.CopyFacts] = []

    def copy() -> None:
        copies.extend(snapshot.write_copy(replica.machine.store, tmp_path / f"{n}.mdb") for n in range(10))

    thread = threading.Thread(target=copy)
    thread.start()
    digests = {replica.machine.raft_index_applied: replica.machine.digest_now}
    for number in range(100_000):
        replica.write(KVVerb.SET, f"k/{number % 2_000}", b"%d" % number, commit=number % 5 == 4)
        if number % 5 == 4:
            digests[replica.machine.raft_index_applied] = replica.machine.digest_now
            if not thread.is_alive():
                break
    thread.join()
    replica.machine.commit_batch()
    assert len(copies) == 10
    for facts in copies:
        assert digests[facts.raft_index] == facts.digest
    other = Replica(tmp_path / "other", store=snapshot.open_copy(tmp_path / "9.mdb", tmp_path / "other"))
    other.check()
    other.close()


def test_installing_a_copy_over_the_running_state_wakes_every_waiter(replica: Replica, tmp_path: Path) -> None:
    class Bell:
        rung = 0

        def fire(self) -> None:
            self.rung += 1

    ahead = Replica(tmp_path / "ahead")
    for number in range(70):
        ahead.set(f"k/{number}")
    snapshot.write_copy(ahead.machine.store, tmp_path / "copy.mdb")
    bell = Bell()
    replica.set("behind")
    replica.write(KVVerb.SET, "uncommitted", commit=False)
    replica.machine.watches.register(WatchSet().key("kvs", "k/1"), bell)
    replica.machine.replace_store(snapshot.open_copy(tmp_path / "copy.mdb", replica.directory))
    assert bell.rung == 1
    assert replica.machine.digest_now == ahead.machine.digest_now
    assert replica.machine.digest_at(64) == ahead.machine.digest_at(64)
    assert replica.dump() == ahead.dump()
    assert replica.set("next") == 71
    ahead.close()


def test_a_view_in_use_outlives_the_replacement_of_its_store(replica: Replica, tmp_path: Path) -> None:
    replica.set("old")
    snapshot.write_copy(replica.machine.store, tmp_path / "copy.mdb")
    replica.set("older")
    with replica.machine.read() as view:
        old = replica.machine.store
        replica.machine.replace_store(snapshot.open_copy(tmp_path / "copy.mdb", tmp_path / "state2"))
        assert kv.list_keys(view, "", None)[0] == ["old", "older"]
        assert replica.keys("")[0] == ["old"]
        with pytest.raises(StoreClosed):
            old.read()
        assert old.views_open == {view}
    with pytest.raises(lmdb.Error):
        old.environment.info()


def test_a_reader_in_another_thread_survives_replacements(replica: Replica, tmp_path: Path) -> None:
    for number in range(500):
        replica.write(KVVerb.SET, f"k/{number}", commit=False)
    replica.machine.commit_batch()
    snapshot.write_copy(replica.machine.store, tmp_path / "copy.mdb")
    counts: list[int] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with replica.machine.read() as view:
                counts.append(len(kv.list_keys(view, "", None)[0]))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(20):
            # A folder for each, as the server does it: the reader may be in one of long ago.
            replica.machine.replace_store(snapshot.open_copy(tmp_path / "copy.mdb", tmp_path / f"state-{number}"))
    finally:
        ended.set()
        thread.join()
    assert set(counts) <= {500}


def test_a_copy_in_the_middle_of_a_restore_can_go_on_with_it(replica: Replica, tmp_path: Path) -> None:

    replica.run(begin())
    replica.run(chunk(0, kv_chunk("a")))
    snapshot.write_copy(replica.machine.store, tmp_path / "copy.mdb")
    other = Replica(tmp_path / "other", store=snapshot.open_copy(tmp_path / "copy.mdb", tmp_path / "other"))
    for each in (replica, other):
        each.run(chunk(1, kv_chunk("b")))
        each.run(commit_of([kv_chunk("a"), kv_chunk("b")]))
    assert other.keys("")[0] == ["a", "b"]
    assert other.machine.digest_now == replica.machine.digest_now
    other.close()


@pytest.mark.parametrize("content", [b"", b"not a state file" * 1_000])
def test_a_file_that_is_no_copy_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "copy.mdb").write_bytes(content)
    with pytest.raises(DataDamaged, match=r"copy\.mdb"):
        snapshot.open_copy(tmp_path / "copy.mdb", tmp_path / "state")
    with pytest.raises(DataDamaged):
        snapshot.inspect_copy(tmp_path / "absent.mdb")


def test_a_copy_of_another_format_is_refused(replica: Replica, tmp_path: Path) -> None:
    with replica.machine.store.environment.begin(write=True) as txn:
        txn.put(STATE_KEY, encode(State(format=2)), db=replica.machine.store.meta)
    with pytest.raises(DataDamaged, match="format 2"):
        snapshot.write_copy(replica.machine.store, tmp_path / "copy.mdb")
    with replica.machine.store.environment.begin(write=True) as txn:
        txn.put(STATE_KEY, encode(State()), db=replica.machine.store.meta)


def test_a_copy_that_cannot_be_written_is_a_disk_failure(replica: Replica, tmp_path: Path) -> None:
    with pytest.raises(DiskFailed, match="cannot be written"):
        snapshot.write_copy(replica.machine.store, tmp_path / "no" / "such" / "folder.mdb")


def test_a_full_state_is_a_disk_failure(tmp_path: Path) -> None:
    replica = Replica(tmp_path, store=Store.open(tmp_path, map_bytes=1 << 20))
    for number in range(8):
        replica.set(f"k/{number}", b"x" * 100_000)
    with pytest.raises(DiskFailed, match="cannot be written"):
        replica.set("large", b"x" * 300_000)
    replica.close()


def test_creating_a_store_starts_with_nothing(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.set("a")
    replica.close()
    again = Replica(tmp_path)
    assert (again.raft_index, again.keys("")[0]) == (0, [])
    again.close()


def test_the_state_file_is_for_its_owner_only(replica: Replica) -> None:
    assert replica.machine.store.path.stat().st_mode & 0o777 == 0o600
    assert replica.directory.stat().st_mode & 0o777 == 0o700
    assert replica.machine.store.file_bytes() > 0
