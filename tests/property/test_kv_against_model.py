"""The KV tables and a small dict take the same commands and must agree, after every one of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from fsm.store import kv
from fsm.watch import WatchSet
from structs.kv import KVVerb
from structs.txn import TxnOp
from tests.fakes.replica import Replica
from tests.property.going_on import GoingOn

LONG = "x" * 478
KEYS = ["a", "a/", "a/b", "a/b/c", "a/c", "b", LONG, LONG + "/1", LONG + "/12", LONG + "/1" + LONG + "y" * 40]
PREFIXES = ["", "a", "a/", "a/b", "b", "z", LONG[:100], LONG + "/1", KEYS[-1]]
VALUES = [b"", b"1", b"2"]

keys_ = st.sampled_from(KEYS)
prefixes = st.sampled_from(PREFIXES)
values = st.sampled_from(VALUES)
flags_ = st.sampled_from([0, 1, 2**64 - 1])


class Model:
    """Twenty lines that say what the tables must do."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, int, int, int]] = {}  # value, flags, create, modify
        self.graves: dict[str, int] = {}
        self.table_index = 0

    def copy(self) -> Model:
        other = Model()
        other.rows, other.graves, other.table_index = dict(self.rows), dict(self.graves), self.table_index
        return other

    def write(self, index: int, verb: str, key: str, value: bytes, flags: int, cas: int) -> bool:
        old = self.rows.get(key)
        if verb == "set" or (verb == "cas" and (cas == old[3] != 0 if old else cas == 0)):
            if old is None or old[:2] != (value, flags):
                self.rows[key] = (value, flags, old[2] if old else index, index)
                self.table_index = index
            return True
        if verb == "delete" or (verb == "delete-cas" and (old is None or cas == old[3])):
            if old:
                del self.rows[key]
                self.graves[key] = index
                self.table_index = index
            return True
        if verb == "delete-tree":
            doomed = [name for name in self.rows if name.startswith(key)]
            for name in doomed:
                del self.rows[name]
            if doomed:
                self.table_index = index
                self.graves = {name: at for name, at in self.graves.items() if not name.startswith(key)}
                self.graves |= {key: index} if key else {}
            return True
        return False

    def prefix_index(self, prefix: str) -> int:
        under = [row[3] for name, row in self.rows.items() if name.startswith(prefix)]
        under += [index for name, index in self.graves.items() if name.startswith(prefix)]
        return (max(under, default=0) if prefix else 0) or max(1, self.table_index)


class KVAgainstModel(GoingOn):
    """Short and long keys, all verbs, transactions, reaping, batches, snapshots and archives in between."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.replica = Replica(self.directory / "state")
        self.model = Model()
        self.seen: dict[str, int] = {}
        self.stores = 0

    def teardown(self) -> None:
        if hasattr(self, "replica"):
            self.replica.check()
            self.replica.close()
            self.folder.cleanup()

    @property
    def index_next(self) -> int:
        return self.replica.machine.index_applied + 1

    def _modify_index(self, key: str, offset: int) -> int:
        row = self.model.rows.get(key)
        return max(0, (row[3] if row else 0) + offset)

    @rule(verb=st.sampled_from(["set", "delete", "delete-cas", "cas"]), key=keys_, value=values, flags=flags_)
    def write_with_the_right_index(self, verb: str, key: str, value: bytes, flags: int) -> None:
        self._write(verb, key, value, flags, self._modify_index(key, 0))

    @rule(verb=st.sampled_from(["cas", "delete-cas"]), key=keys_, value=values, cas=st.integers(0, 3))
    def write_with_some_index(self, verb: str, key: str, value: bytes, cas: int) -> None:
        self._write(verb, key, value, 0, cas)

    @rule(prefix=prefixes)
    def delete_tree(self, prefix: str) -> None:
        self._write("delete-tree", prefix, b"", 0, 0)

    def _write(self, verb: str, key: str, value: bytes, flags: int, cas: int) -> None:
        bell = Bell()
        handle = self.replica.machine.watches.register(WatchSet().key("kvs", key).prefix("kvs", key), bell)
        before = dict(self.model.rows)
        expected = self.model.write(self.index_next, verb, key, value, flags, cas)
        assert self.replica.ok(KVVerb(verb), key, value, flags=flags, cas_index=cas) == expected
        if before != self.model.rows:
            assert bell.rung == 1, "a change woke nobody"
        self.replica.machine.watches.unregister(handle)

    @rule(
        operations=st.lists(
            st.tuples(
                st.sampled_from(["set", "delete", "cas", "delete-tree", "get"]), keys_, values, st.integers(0, 1)
            ),
            min_size=1,
            max_size=5,
        )
    )
    def transaction(self, operations: list[tuple[str, str, bytes, int]]) -> None:
        trial = self.model.copy()
        ok = True
        ops = []
        for verb, key, value, wrong in operations:
            row = trial.rows.get(key)
            cas = (row[3] if row else 0) + wrong
            ops.append(TxnOp(verb=verb, key=key, value=value, index=cas))
            if verb == "get":
                ok = ok and row is not None
            else:
                ok = trial.write(self.index_next, verb, key, value, 0, cas) and ok
        outcome = self.replica.txn(*ops)
        assert (not outcome.errors) == ok
        if ok:
            self.model = trial

    @rule(behind=st.integers(0, 5))
    def reap(self, behind: int) -> None:
        index = max(0, self.index_next - behind)
        self.replica.reap(index)
        self.model.graves = {name: at for name, at in self.model.graves.items() if at > index}
        self.seen.clear()  # without their tombstones, indexes of prefixes may fall

    @invariant()
    def reads_agree(self) -> None:
        if not hasattr(self, "replica"):
            return
        with self.replica.machine.read() as view:
            for key in KEYS:
                self._agree_on_key(view, key)
            for prefix in PREFIXES:
                self._agree_on_prefix(view, prefix)

    def _agree_on_key(self, view: Any, key: str) -> None:
        entry, index = kv.get(view, key)
        row = self.model.rows.get(key)
        if row is None:
            assert (entry, index) == (None, max(1, self.model.table_index))
        else:
            assert entry is not None
            assert (entry.value, entry.flags, entry.create_index, entry.modify_index) == row
            assert index == row[3]

    def _agree_on_prefix(self, view: Any, prefix: str) -> None:
        expected = sorted(name for name in self.model.rows if name.startswith(prefix))
        entries, index = kv.list_entries(view, prefix)
        assert [entry.key for entry in entries] == expected
        assert index == self.model.prefix_index(prefix)
        assert kv.list_keys(view, prefix, None) == (expected, index)
        folded: list[str] = []
        for name in expected:
            cut = name.find("/", len(prefix))
            shown = name if cut < 0 else name[: cut + 1]
            if not folded or folded[-1] != shown:
                folded.append(shown)
        assert kv.list_keys(view, prefix, "/") == (folded, index)
        assert index >= self.seen.get(prefix, 0), "the index of a listing fell"
        self.seen[prefix] = index


class Bell:
    """A waiter that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def fire(self) -> None:
        self.rung += 1


KVAgainstModel.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestKVAgainstModel = KVAgainstModel.TestCase
