"""Keys and values: verbs, indexes, listings, tombstones. Source: state store specification, sections 3 and 4."""

import pytest

from fsm.commands.refusal import Refusal
from fsm.store import kv
from structs.kv import KVApplyReply, KVVerb
from tests.fakes.replica import Replica

LONG = "deep/" * 300
"""1,500 bytes: three pieces in LMDB."""


def test_set_creates_with_both_indexes_at_the_entry(replica: Replica) -> None:
    index = replica.set("a", b"1", flags=7)
    entry, answer_index = replica.get("a")
    assert entry is not None
    assert (entry.value, entry.flags, entry.create_index, entry.modify_index) == (b"1", 7, index, index)
    assert (entry.lock_index, entry.session, answer_index) == (0, "", index)


def test_set_keeps_create_index_and_moves_modify_index(replica: Replica) -> None:
    first = replica.set("a", b"1")
    second = replica.set("a", b"2")
    entry = replica.entry("a")
    assert (entry.create_index, entry.modify_index) == (first, second)


def test_an_identical_set_leaves_modify_index_but_other_flags_are_a_change(replica: Replica) -> None:
    first = replica.set("a", b"1", flags=3)
    replica.set("a", b"1", flags=3)
    assert replica.entry("a").modify_index == first
    second = replica.set("a", b"1", flags=4)
    assert replica.entry("a").modify_index == second


def test_cas_zero_succeeds_only_when_the_key_is_absent(replica: Replica) -> None:
    assert replica.ok(KVVerb.CAS, "a", b"1", cas_index=0)
    assert not replica.ok(KVVerb.CAS, "a", b"2", cas_index=0)
    assert replica.entry("a").value == b"1"


def test_cas_succeeds_only_at_the_same_modify_index(replica: Replica) -> None:
    index = replica.set("a", b"1")
    assert not replica.ok(KVVerb.CAS, "a", b"2", cas_index=index + 1)
    assert not replica.ok(KVVerb.CAS, "absent", b"2", cas_index=index)
    assert replica.ok(KVVerb.CAS, "a", b"2", cas_index=index)
    assert replica.entry("a").value == b"2"


def test_deleting_an_absent_key_succeeds_and_moves_no_index(replica: Replica) -> None:
    replica.set("a")
    before = replica.get("absent")[1]
    assert replica.ok(KVVerb.DELETE, "absent")
    assert replica.get("absent")[1] == before


def test_delete_cas_of_an_absent_key_is_true_and_changes_nothing(replica: Replica) -> None:
    assert replica.ok(KVVerb.DELETE_CAS, "absent", cas_index=5)
    assert replica.get("absent")[1] == 1


def test_delete_cas_needs_the_same_modify_index_and_zero_never_matches(replica: Replica) -> None:
    index = replica.set("a")
    assert not replica.ok(KVVerb.DELETE_CAS, "a", cas_index=0)
    assert not replica.ok(KVVerb.DELETE_CAS, "a", cas_index=index + 5)
    assert replica.ok(KVVerb.DELETE_CAS, "a", cas_index=index)
    assert replica.get("a")[0] is None


def test_delete_tree_removes_by_bytes_not_by_path(replica: Replica) -> None:
    for key in ("a", "a/b", "ab", "b"):
        replica.set(key)
    replica.delete_tree("a/")
    assert replica.keys("")[0] == ["a", "ab", "b"]
    replica.delete_tree("a")
    assert replica.keys("")[0] == ["b"]


def test_delete_tree_of_everything_leaves_no_tombstone_but_moves_the_table_index(replica: Replica) -> None:
    replica.set("a")
    index = replica.delete_tree("")
    assert replica.entries("") == ([], index)
    assert replica.dump()["tombstones"] == []


def test_delete_tree_of_nothing_changes_nothing(replica: Replica) -> None:
    index = replica.set("a")
    replica.delete_tree("zzz")
    assert replica.entries("")[1] == index


def test_a_large_tree_is_deleted_in_slices(replica: Replica) -> None:
    count = kv.TOUCHED_KEYS_MAX + 1
    for number in range(count):
        replica.write(KVVerb.SET, f"t/{number}", commit=False)
    replica.set("u")
    index = replica.delete_tree("t/")
    assert replica.keys("") == (["u"], index)
    assert replica.entries("t/") == ([], index)


def test_the_index_of_an_absent_key_is_that_of_both_tables_and_at_least_one(replica: Replica) -> None:
    assert replica.get("a") == (None, 1)
    replica.set("other")
    assert replica.get("a")[1] == 1
    replica.set("other", b"x")
    assert replica.get("a")[1] == 2
    deleted = replica.delete("other")
    assert replica.get("a")[1] == deleted


def test_delete_leaves_a_tombstone_so_that_list_watchers_see_a_higher_index(replica: Replica) -> None:
    replica.set("a/1")
    replica.set("a/2")
    index = replica.delete("a/1")
    replica.set("unrelated")
    assert replica.entries("a/")[1] == index
    assert replica.keys("a/")[1] == index


def test_the_index_of_a_prefix_is_the_highest_modify_index_under_it(replica: Replica) -> None:
    replica.set("a/1")
    index = replica.set("a/2")
    replica.set("b")
    entries, answer_index = replica.entries("a/")
    assert [entry.key for entry in entries] == ["a/1", "a/2"]
    assert answer_index == index


def test_the_index_of_a_prefix_without_anything_is_the_tables(replica: Replica) -> None:
    index = replica.set("b")
    assert replica.entries("a/") == ([], index)
    assert replica.entries("") == (replica.entries("b")[0], index)


def test_the_index_of_a_deep_prefix_does_not_fall_when_a_tree_above_is_deleted(replica: Replica) -> None:
    replica.set("a/b/1")
    replica.delete("a/b/1")
    before = replica.set("a/b/2")
    assert replica.entries("a/b/")[1] == before
    index = replica.delete_tree("a/")
    assert replica.entries("a/b/") == ([], index)
    assert replica.keys("a/b/", "/") == ([], index)


def test_the_index_of_a_prefix_does_not_fall_when_everything_is_deleted(replica: Replica) -> None:
    replica.set("a")
    replica.delete("a")
    replica.set("a")
    index = replica.delete_tree("")
    assert replica.entries("a") == ([], index)
    assert replica.dump()["tombstones"] == []


def test_the_deletion_of_a_tree_replaces_the_tombstones_under_it(replica: Replica) -> None:
    for key in ("t/1", "t/2", "t/3"):
        replica.set(key)
    replica.delete("t/1")
    index = replica.delete_tree("t/")
    assert [key for key, _ in replica.dump()["tombstones"]] == [b"t/"]
    assert replica.entries("t")[1] == index
    assert replica.reap(index).count == 1


def test_reaping_forgets_old_tombstones_and_moves_no_counter(replica: Replica) -> None:
    replica.set("a/1")
    replica.set("a/2")
    first = replica.delete("a/1")
    second = replica.delete("a/2")
    table_index = replica.entries("")[1]
    assert replica.reap(first).count == 1
    assert replica.entries("a/")[1] == second
    assert replica.reap(second).count == 1
    assert replica.entries("a/")[1] == table_index
    assert replica.dump()["tombstones"] == []


def test_reaping_is_bounded_and_says_that_more_remain(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsm.commands.tombstone.REAPED_MAX", 2)
    for key in "abc":
        replica.set(key)
        replica.delete(key)
    reply = replica.reap(replica.raft_index)
    assert (reply.count, reply.more) == (2, True)
    reply = replica.reap(replica.raft_index)
    assert (reply.count, reply.more) == (1, False)


def test_a_key_deleted_again_has_one_tombstone_with_the_newer_index(replica: Replica) -> None:
    replica.set("a")
    first = replica.delete("a")
    replica.set("a")
    second = replica.delete("a")
    assert replica.reap(first).count == 0
    assert replica.entries("a")[1] == second


def test_keys_are_folded_behind_the_separator(replica: Replica) -> None:
    for key in ("a", "a/b", "a/c/d", "a/c/e", "b/x", "c"):
        replica.set(key)
    assert replica.keys("", "/")[0] == ["a", "a/", "b/", "c"]
    assert replica.keys("a/", "/")[0] == ["a/b", "a/c/"]
    assert replica.keys("a", "/")[0] == ["a", "a/"]
    assert replica.keys("a/c", "/")[0] == ["a/c/"]


def test_a_separator_may_have_several_characters(replica: Replica) -> None:
    for key in ("x::1::2", "x::1::3", "x:4"):
        replica.set(key)
    assert replica.keys("x", "::")[0] == ["x:4", "x::"]
    assert replica.keys("x::", "::")[0] == ["x::1::"]


def test_folded_keys_count_for_the_index(replica: Replica) -> None:
    replica.set("a/1")
    index = replica.set("a/2")
    replica.set("b")
    assert replica.keys("a", "/") == (["a/"], index)


def test_a_huge_folded_listing_jumps_and_answers_with_the_table_index(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "FOLDED_VISITS_MAX", 3)
    for key in ("p/a/1", "p/a/2", "p/a/3", "p/a/4", "p/a/5", "p/a/6", "p/b", "p/c/1", "p/c/2", f"p/d{LONG}"):
        replica.set(key)
    table_index = replica.set("q")
    assert replica.keys("p/", "/") == (["p/a/", "p/b", "p/c/", "p/ddeep/"], table_index)


def test_long_keys_are_as_good_as_short_ones(replica: Replica) -> None:
    for key in (LONG, LONG + "x", "a", LONG[:480], LONG[:481]):
        replica.set(key, key.encode())
    assert replica.keys("")[0] == ["a", LONG[:480], LONG[:481], LONG, LONG + "x"]
    assert replica.entry(LONG).value == LONG.encode()
    assert replica.keys(LONG)[0] == [LONG, LONG + "x"]
    replica.delete_tree(LONG)
    assert replica.keys("deep/")[0] == [LONG[:480], LONG[:481]]


def test_lock_verbs_refuse_sessions_that_do_not_exist(replica: Replica) -> None:
    assert replica.write(KVVerb.LOCK, "a", session="s") == Refusal(text='invalid session "s"')
    assert replica.write(KVVerb.LOCK, "a") == Refusal(text="missing session")
    assert replica.write(KVVerb.UNLOCK, "a") == Refusal(text="missing session")
    assert replica.write(KVVerb.UNLOCK, "a", session="s") == KVApplyReply(ok=False)


@pytest.mark.parametrize("verb", [KVVerb.GET, KVVerb.CHECK_INDEX, KVVerb.GET_TREE])
def test_a_verb_that_only_reads_is_refused_as_a_write(replica: Replica, verb: KVVerb) -> None:
    assert replica.write(verb, "a") == Refusal(text=f'unknown KV verb "{verb.value}"')


def test_what_the_border_should_have_refused_is_a_value_here(replica: Replica) -> None:
    assert replica.write(KVVerb.SET, "") == Refusal(text="Must provide key")
    assert isinstance(replica.write(KVVerb.SET, "a", flags=-1), Refusal)
    assert replica.keys("")[0] == []


def test_flags_have_all_64_bits(replica: Replica) -> None:
    replica.set("a", flags=2**64 - 1)
    assert replica.entry("a").flags == 2**64 - 1


def test_the_two_kinds_of_rows_read_back_what_was_written() -> None:
    for flags, lock_index, session in ((0, 0, ""), (1, 0, ""), (0, 2, ""), (0, 0, "s"), (2**64 - 1, 3, "s" * 36)):
        row = kv.encode_body(4, 5, flags, lock_index, session, b"value") + bytes(16)
        assert kv.decode_row(row) == (4, 5, flags, lock_index, session, b"value")
        assert kv.modify_index_of(row) == 5


def test_a_session_or_flags_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="session"):
        kv.encode_body(1, 1, 0, 0, "s" * 300, b"")
    with pytest.raises(ValueError, match="too large"):
        kv.encode_body(1, 1, 1 << 64, 0, "", b"")
