"""Sessions, locks and a few dicts take the same commands and must agree, counters included, after every one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from fsm.commands.refusal import Refusal
from fsm.store import session
from structs.catalog import HealthCheck
from structs.kv import KVApplyReply, KVVerb
from structs.session import ServiceCheck, SessionBehavior
from structs.txn import TxnOp
from tests.fakes.replica import Replica
from tests.property.going_on import GoingOn

NODES = ["n", "m"]
CHECKS = ["c1", "c2"]
IDS = ["s1", "s2", "s3"]
KEYS = ["a", "a/b", "b", "x" * 500, "x" * 500 + "y" * 500]
COUNTERS = ("kvs", "tombstones", "sessions")

nodes_, checks_, ids_, keys_ = map(st.sampled_from, (NODES, CHECKS, IDS, KEYS))
values = st.sampled_from([b"", b"1"])


class Row:
    """One key."""

    def __init__(self, value: bytes, lock_index: int, holder: str, create: int, modify: int) -> None:
        self.value, self.lock_index, self.holder, self.create, self.modify = value, lock_index, holder, create, modify

    def fields(self) -> tuple[Any, ...]:
        return self.value, self.lock_index, self.holder, self.create, self.modify


class Model:
    """What tables and counters must do; nodes are dicts of check -> status."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.sessions: dict[str, tuple[str, frozenset[str], bool, int]] = {}
        """id -> node, checks, whether it deletes, create index"""
        self.keys: dict[str, Row] = {}
        self.counters: dict[str, int] = {}

    def bump(self, index: int, *names: str) -> None:
        self.counters.update(dict.fromkeys(names, index))

    def set(self, index: int, key: str, value: bytes) -> None:
        old = self.keys.get(key)
        if old is None:
            self.keys[key] = Row(value, 0, "", index, index)
        elif old.value != value:
            old.value, old.modify = value, index
        else:
            return
        self.bump(index, "kvs")

    def lock(self, index: int, key: str, value: bytes, holder: str) -> bool | None:
        """None: there is no such session."""
        if holder not in self.sessions:
            return None
        old = self.keys.get(key)
        if old is None:
            self.keys[key] = Row(value, 1, holder, index, index)
        elif old.holder == holder:
            self.set(index, key, value)
            return True
        elif old.holder:
            return False
        else:
            old.value, old.modify, old.holder = value, index, holder
            old.lock_index += 1
        self.bump(index, "kvs")
        return True

    def unlock(self, index: int, key: str, value: bytes, holder: str) -> bool:
        old = self.keys.get(key)
        if old is None or old.holder != holder:
            return False
        old.value, old.modify, old.holder = value, index, ""
        self.bump(index, "kvs")
        return True

    def delete(self, index: int, key: str) -> None:
        if self.keys.pop(key, None) is not None:
            self.bump(index, "kvs", "tombstones")

    def delete_tree(self, index: int, prefix: str) -> None:
        doomed = [key for key in self.keys if key.startswith(prefix)]
        for key in doomed:
            del self.keys[key]
        if doomed:
            self.bump(index, "kvs", *(["tombstones"] if prefix else []))

    def create(self, index: int, session_id: str, node: str, found: frozenset[str], deletes: bool) -> bool:
        statuses = self.nodes.get(node)
        if session_id in self.sessions or statuses is None:
            return False
        if any(statuses.get(check, "critical") == "critical" for check in found):
            return False
        self.sessions[session_id] = (node, found, deletes, index)
        self.bump(index, "sessions")
        return True

    def end(self, index: int, session_id: str) -> None:
        ended = self.sessions.pop(session_id, None)
        if ended is None:
            return
        self.bump(index, "sessions")
        for key, row in list(self.keys.items()):
            if row.holder != session_id:
                continue
            if ended[2]:
                self.delete(index, key)
            else:
                row.holder, row.modify = "", index
                self.bump(index, "kvs")

    def end_where(self, index: int, node: str, check: str | None) -> None:
        for session_id, (owner, found, _, _) in list(self.sessions.items()):
            if owner == node and (check is None or check in found):
                self.end(index, session_id)


class SessionsAgainstModel(GoingOn):
    """Sessions, locks, plain writes, checks that fall, nodes that go; snapshots, archives and replays in between."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.replica = Replica(self.directory / "state")
        self.model = Model()
        self.stores = 0

    def teardown(self) -> None:
        if hasattr(self, "replica"):
            self.replica.close()
            self.folder.cleanup()

    @property
    def index_next(self) -> int:
        return self.replica.machine.index_applied + 1

    @rule(node=nodes_, check=checks_, status=st.sampled_from(["passing", "passing", "warning", "critical"]))
    def register(self, node: str, check: str, status: str) -> None:
        self.model.nodes.setdefault(node, {})[check] = status
        if status == "critical":
            self.model.end_where(self.index_next, node, check)
        self.replica.register(node, checks=[HealthCheck(node=node, check_id=check, status=status)])

    @rule(node=nodes_, check=st.one_of(checks_, checks_, st.none()))
    def deregister(self, node: str, check: str | None) -> None:
        found = self.model.nodes.get(node, {})
        if check is None:
            self.model.nodes.pop(node, None)
        else:
            found.pop(check, None)
        self.model.end_where(self.index_next, node, check)
        self.replica.deregister(node, check_id=check or "")

    @rule(session_id=ids_, node=nodes_, found=st.frozensets(checks_), of_service=st.booleans(), deletes=st.booleans())
    def create(self, session_id: str, node: str, found: frozenset[str], of_service: bool, deletes: bool) -> None:
        expected = self.model.create(self.index_next, session_id, node, found, deletes)
        checks = [] if of_service else sorted(found)
        outcome = self.replica.session(
            session_id,
            node,
            *checks,
            service_checks=[ServiceCheck(check_id=check) for check in found] if of_service else [],
            behavior=SessionBehavior.DELETE if deletes else SessionBehavior.RELEASE,
        )
        assert isinstance(outcome, Refusal) != expected, outcome

    @rule(session_ids=st.lists(ids_, max_size=2))
    def end(self, session_ids: list[str]) -> None:
        for session_id in session_ids:
            self.model.end(self.index_next, session_id)
        self.replica.end_sessions(*session_ids)

    @rule(key=keys_, value=values, holder=ids_)
    def lock(self, key: str, value: bytes, holder: str) -> None:
        expected = self.model.lock(self.index_next, key, value, holder)
        outcome = self.replica.write(KVVerb.LOCK, key, value, session=holder.upper())
        if expected is None:
            assert outcome == Refusal(text=f'invalid session "{holder.upper()}"')
        else:
            assert outcome == KVApplyReply(ok=expected)

    @rule(key=keys_, value=values, holder=ids_)
    def unlock(self, key: str, value: bytes, holder: str) -> None:
        expected = self.model.unlock(self.index_next, key, value, holder)
        assert self.replica.unlock(key, holder, value) == expected

    @rule(key=keys_, value=values)
    def set(self, key: str, value: bytes) -> None:
        self.model.set(self.index_next, key, value)
        self.replica.set(key, value)

    @rule(key=keys_)
    def delete(self, key: str) -> None:
        self.model.delete(self.index_next, key)
        self.replica.delete(key)

    @rule(prefix=st.sampled_from(["", "a", "a/", "x" * 500]))
    def delete_tree(self, prefix: str) -> None:
        self.model.delete_tree(self.index_next, prefix)
        self.replica.delete_tree(prefix)

    @rule(key=keys_, holder=ids_, asked=ids_, value=values)
    def transact(self, key: str, holder: str, asked: str, value: bytes) -> None:
        """Lock, and only if that key was held by `asked` before; else nothing may remain."""
        row = self.model.keys.get(key)
        locked_by = row.holder if row is not None else ""
        outcome = self.replica.txn(
            TxnOp(verb="check-session", key=key, session=asked),
            TxnOp(verb="unlock", key=key, value=value, session=asked),
            TxnOp(verb="lock", key=key, value=value, session=holder),
        )
        index = self.replica.machine.index_applied
        if locked_by == asked and holder in self.model.sessions:
            assert outcome.errors == []
            self.model.unlock(index, key, value, asked)
            self.model.lock(index, key, value, holder)
            assert outcome.results[-1].entry.session == holder
        else:
            assert outcome.errors

    @invariant()
    def tables_agree(self) -> None:
        if not hasattr(self, "replica"):
            return
        self.replica.check()
        model = self.model
        counters = self.replica.counters()
        assert {name: counters[name] for name in COUNTERS if name in counters} == model.counters
        entries = self.replica.entries("")[0]
        assert {
            entry.key: (entry.value, entry.lock_index, entry.session, entry.create_index, entry.modify_index)
            for entry in entries
        } == {key: row.fields() for key, row in model.keys.items()}
        with self.replica.machine.read() as view:
            found = {each.session_id: (each.node, each.create_index) for each in session.every(view)}
            assert found == {session_id: (row[0], row[3]) for session_id, row in model.sessions.items()}
            for node in NODES:
                of_node = [each.session_id for each in session.of_node(view, node)]
                assert of_node == sorted(each for each, row in model.sessions.items() if row[0] == node)
            for session_id in IDS:
                held = sum(row.holder == session_id for row in model.keys.values())
                assert session.keys_held_count(view, session_id, 100) == held


SessionsAgainstModel.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestSessionsAgainstModel = SessionsAgainstModel.TestCase
