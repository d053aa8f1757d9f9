"""Transactions over keys, nodes, services and checks against the catalog's model and a dict: all of it, or nothing.

Between them run the rules of the catalog's own test, so that they meet every state that those lead to. Counters,
digests and the second ways to rows are compared after each step; after a transaction that failed, with those before it.
"""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from structs.catalog import CONNECT_PROXY, HealthCheck, Node, NodeService
from structs.txn import ServiceOnNode, TxnOp
from tests.property.test_catalog_against_model import (
    SERVICE_NAMES,
    STATES,
    CatalogAgainstModel,
    Model,
    check_ids,
    ids_,
    nodes_,
    service_ids,
)

VERBS = st.sampled_from(["get", "set", "set", "cas", "delete", "delete-cas"])
SEEN, ZERO, WRONG = range(3)
"""Which index a comparison gets: that of what is stored, if anything is; 0; one that nothing has."""
SEEN_OFTEN = st.sampled_from([SEEN, SEEN, SEEN, ZERO, WRONG])
WRONG_INDEX = 1 << 40
KEYS = ["a", "a/b", "b"]
services_ = st.tuples(
    service_ids, st.sampled_from(SERVICE_NAMES), st.sampled_from(["", "web", "db"]), st.integers(1, 2)
)
checks_ = st.tuples(check_ids, st.sampled_from(STATES), st.one_of(st.just(""), service_ids))
operations_ = st.one_of(
    st.tuples(st.just("node"), VERBS, SEEN_OFTEN, nodes_, st.tuples(ids_, st.sampled_from("xy"))),
    st.tuples(st.just("service"), VERBS, SEEN_OFTEN, nodes_, services_),
    st.tuples(st.just("check"), VERBS, SEEN_OFTEN, nodes_, checks_),
    st.tuples(
        st.just("key"),
        st.sampled_from(["set", "delete", "get"]),
        st.just(SEEN),
        st.sampled_from(KEYS),
        st.binary(max_size=1),
    ),
)


def stored(model: Model, kind: str, name: str, fields: Any) -> Any:
    """The row that an operation is about, or None."""
    node = name.lower()
    if kind == "node":
        return model.nodes.get(node)
    table = model.services if kind == "service" else model.checks
    return table.get((node, fields[0].lower()))


def record(kind: str, verb: str, index: int, name: str, fields: Any) -> TxnOp:
    if kind == "key":
        return TxnOp(verb=verb, key=name, value=fields)
    if kind == "node":
        node_id, address = fields
        node_id = "" if verb == "get" else node_id
        return TxnOp(verb=verb, node=Node(node=name, node_id=node_id, address=address, modify_index=index))
    if kind == "service":
        service_id, service, destination, port = fields
        found = NodeService(
            service_id=service_id,
            service=service,
            kind=CONNECT_PROXY if destination else "",
            proxy_destination=destination,
            port=port,
            modify_index=index,
        )
        return TxnOp(verb=verb, service=ServiceOnNode(node=name, service=found))
    check_id, status, service_id = fields
    check = HealthCheck(node=name, check_id=check_id, status=status, service_id=service_id, modify_index=index)
    return TxnOp(verb=verb, check=check)


class Models:
    """The catalog's model and the keys."""

    def __init__(self, catalog: Model, keys: dict[str, bytes]) -> None:
        self.catalog = catalog
        self.keys = keys

    def do(self, at: int, kind: str, verb: str, index: int, name: str, fields: Any) -> bool:
        """Do one operation; returns False where it must fail, and then nothing was changed."""
        if kind == "key":
            return self._do_key(at, verb, name, fields)
        row = stored(self.catalog, kind, name, fields)
        if verb == "get":
            return row is not None
        if verb == "delete-cas" and (row is None or row["modify"] != index):
            return False
        if verb == "cas" and (row is not None if index == 0 else row is None or row["modify"] != index):
            return False
        if verb in ("set", "cas"):
            return self._set(at, kind, name, fields)
        node = name.lower()
        if kind == "node":
            self.catalog.delete_node(at, node)
        elif kind == "service":
            self.catalog.delete_service(at, (node, fields[0].lower()))
        else:
            self.catalog.delete_check(at, (node, fields[0].lower()))
        return True

    def _set(self, at: int, kind: str, name: str, fields: Any) -> bool:
        if kind == "node":
            node_id, address = fields
            return self.catalog.register(at, name, node_id, address, False, None, [])
        if name.lower() not in self.catalog.nodes:
            return False
        service, checks = (fields, []) if kind == "service" else (None, [fields])
        return self.catalog.register(at, name, "", "", True, service, checks)

    def _do_key(self, at: int, verb: str, key: str, value: bytes) -> bool:
        if verb == "get":
            return key in self.keys
        if verb == "set" and self.keys.get(key) != value:
            self.keys[key] = value
            self.catalog.bump(at, "kvs")
        elif verb == "delete" and self.keys.pop(key, None) is not None:
            self.catalog.bump(at, "kvs", "tombstones")
        return True


class TxnAgainstModels(CatalogAgainstModel):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, bytes] = {}

    @rule(operations=st.lists(operations_, min_size=1, max_size=8))
    def transaction(self, operations: list[tuple[str, str, int, str, Any]]) -> None:
        models = Models(copy.deepcopy(self.model), dict(self.keys))
        at = self.index_next
        sent, failing = [], []
        for position, (kind, verb, choice, name, fields) in enumerate(operations):
            row = stored(models.catalog, kind, name, fields) if kind != "key" else None
            seen = row["modify"] if row is not None else 0
            index = {SEEN: seen, ZERO: 0, WRONG: WRONG_INDEX}[choice]
            sent.append(record(kind, verb, index, name, fields))
            if not models.do(at, kind, verb, index, name, fields):
                failing.append(position)
        machine = self.replica.machine
        before = self.replica.dump(), machine.digest_now
        outcome = self.replica.txn(*sent)
        assert [error.position for error in outcome.errors] == failing, outcome.errors
        if failing:
            assert outcome.results == []
            assert (self.replica.dump(), machine.digest_now) == before
            return
        self.model, self.keys = models.catalog, models.keys
        shown = [op for op in operations if op[1] not in ("delete", "delete-cas")]
        assert len(outcome.results) == len(shown)
        entries, _ = self.replica.entries("")
        assert {entry.key: entry.value for entry in entries} == self.keys


TxnAgainstModels.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestTxnAgainstModels = TxnAgainstModels.TestCase
