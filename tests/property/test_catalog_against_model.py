"""The catalog's tables and a few dicts take the same commands and must agree, counters included, after every one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from fsm.commands.refusal import Refusal
from fsm.store import checks, coordinate, nodes, services
from structs.catalog import CONNECT_PROXY, SERF_CHECK_ID, HealthCheck, NodeService
from structs.coordinate import Coordinate, NodeCoordinate
from tests.fakes.replica import Replica
from tests.property.going_on import GoingOn

NODES = ["a", "A", "b", "a\x00", "é" * 300]
IDS = ["", "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"]
SERVICE_IDS = ["s1", "S1", "s2", "s\x00"]
SERVICE_NAMES = ["web", "WEB", "db", "p\x01"]
CHECK_IDS = [SERF_CHECK_ID, "c1", "C1", "c2"]
STATES = ["passing", "critical", ""]

nodes_, ids_, service_ids, check_ids = map(st.sampled_from, (NODES, IDS, SERVICE_IDS, CHECK_IDS))
services_ = st.one_of(
    st.none(),
    st.tuples(service_ids, st.sampled_from(SERVICE_NAMES), st.sampled_from(["", "web", "db"]), st.integers(1, 2)),
)
checks_ = st.lists(st.tuples(check_ids, st.sampled_from(STATES), st.sampled_from(["", "", *SERVICE_IDS])), max_size=3)


class Row(dict[str, Any]):
    """What is stored, with `create` and `modify`; equality of the rest decides whether a write changes anything."""

    def same(self, fields: dict[str, Any]) -> bool:
        return {name: value for name, value in self.items() if name not in ("create", "modify")} == fields


class Model:
    """What the tables must do."""

    def __init__(self) -> None:
        self.nodes: dict[str, Row] = {}
        self.services: dict[tuple[str, str], Row] = {}
        self.checks: dict[tuple[str, str], Row] = {}
        self.coordinates: dict[str, float] = {}
        self.counters: dict[str, int] = {}

    def _put(self, table: dict[Any, Row], key: Any, index: int, fields: dict[str, Any]) -> bool:
        old = table.get(key)
        if old is not None and old.same(fields):
            return False
        table[key] = Row(fields, create=old["create"] if old is not None else index, modify=index)
        return True

    def bump(self, index: int, *names: str) -> None:
        self.counters.update(dict.fromkeys(names, index))

    def bump_service(self, index: int, service: Row) -> None:
        self.bump_names(index, service["name"], service["destination"])

    def bump_names(self, index: int, *names: str) -> None:
        for name in names:
            if any(row["name"].lower() == name.lower() for row in self.services.values()):
                self.counters[f"service.{name.lower()}"] = index
            else:
                self.counters.pop(f"service.{name.lower()}", None)

    def bump_node(self, index: int, node: str) -> None:
        for (owner, _), service in self.services.items():
            if owner == node:
                self.bump_service(index, service)

    def register(
        self, index: int, name: str, node_id: str, address: str, skip: bool, service: Any, found: list[Any]
    ) -> bool:
        node = name.lower()
        old = self.nodes.get(node)
        fields = {"name": name, "id": node_id, "address": address}
        writes = old is None or (not skip and not old.same(fields))
        owner = next((key for key, row in self.nodes.items() if node_id and row["id"] == node_id and key != node), None)
        if writes and owner is not None:
            serf = self.checks.get((owner, SERF_CHECK_ID.lower()))
            if serf is not None and serf["status"] != "critical":
                return False
        own = {key[1] for key in self.services if key[0] == node} | ({service[0].lower()} if service else set())
        if any(service_id and service_id.lower() not in own for _, _, service_id in found):
            return False
        if writes:
            create = (old or self.nodes.get(owner or "") or Row()).get("create", index)
            if owner is not None:
                self.delete_node(index, owner)
            self.nodes[node] = Row(fields, create=create, modify=index)
            self.bump(index, "nodes")
            self.bump_node(index, node)
            self.bump_names(index, *[check["name"] for key, check in self.checks.items() if key[0] == node])
        if service is not None:
            self._ensure_service(index, node, *service)
        for check_id, status, service_id in found:
            self._ensure_check(index, node, check_id, status or "critical", service_id)
        return True

    def _ensure_service(self, index: int, node: str, service_id: str, name: str, destination: str, port: int) -> None:
        key = (node, service_id.lower())
        old = self.services.get(key)
        if self._put(
            self.services, key, index, {"id": service_id, "name": name, "destination": destination, "port": port}
        ):
            self.bump(index, "services")
            if old is not None:
                names = (old["name"].lower(), old["destination"].lower())
                if names != (name.lower(), destination.lower()):
                    self.bump_service(index, old)
            self.bump_service(index, self.services[key])

    def _ensure_check(self, index: int, node: str, check_id: str, status: str, service_id: str) -> None:
        key = (node, check_id.lower())
        old = self.checks.get(key)
        name = self.services[(node, service_id.lower())]["name"] if service_id else ""
        fields = {
            "node": self.nodes[node]["name"], "id": check_id, "status": status, "service_id": service_id, "name": name,
        }  # fmt: skip
        if self._put(self.checks, key, index, fields):
            self.bump(index, "checks")
            for row in (old, self.checks[key]):
                if row is not None:
                    self._bump_health(index, node, row)

    def _bump_health(self, index: int, node: str, check: Row) -> None:
        if check["service_id"]:
            self.bump_service(index, self.services[(node, check["service_id"].lower())])
            self.bump_names(index, check["name"])
        else:
            self.bump_node(index, node)

    def delete_check(self, index: int, key: tuple[str, str]) -> None:
        check = self.checks.pop(key, None)
        if check is not None:
            self.bump(index, "checks", *(() if check["service_id"] else ("services",)))
            self._bump_health(index, key[0], check)

    def delete_service(self, index: int, key: tuple[str, str]) -> None:
        if key not in self.services:
            return
        for check_key, check in list(self.checks.items()):
            if check_key[0] == key[0] and check["service_id"].lower() == key[1]:
                self.delete_check(index, check_key)
        service = self.services.pop(key)
        self.bump(index, "services", "checks")
        self.bump_service(index, service)

    def delete_node(self, index: int, node: str) -> None:
        if node not in self.nodes:
            return
        for key in [key for key in self.services if key[0] == node]:
            self.delete_service(index, key)
        for key in [key for key in self.checks if key[0] == node]:
            self.delete_check(index, key)
        if self.coordinates.pop(node, None) is not None:
            self.bump(index, "coordinates")
        del self.nodes[node]
        self.bump(index, "nodes")


class CatalogAgainstModel(GoingOn):
    """Registrations of all kinds, deregistrations, positions; snapshots, archives and replays in between."""

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

    @rule(
        node=nodes_, node_id=ids_, address=st.sampled_from("xy"), skip=st.booleans(), service=services_, found=checks_
    )
    def register(self, node: str, node_id: str, address: str, skip: bool, service: Any, found: Any) -> None:
        expected = self.model.register(self.index_next, node, node_id, address, skip, service, found)
        record = None
        if service is not None:
            service_id, name, destination, port = service
            record = NodeService(
                service_id=service_id,
                service=name,
                kind=CONNECT_PROXY if destination else "",
                proxy_destination=destination,
                port=port,
            )
        records = [
            HealthCheck(node=node, check_id=check_id, status=status, service_id=service_id)
            for check_id, status, service_id in found
        ]
        outcome = self.replica.register(
            node, address=address, node_id=node_id, skip_node_update=skip, service=record, checks=records
        )
        assert isinstance(outcome, Refusal) != expected, outcome

    @rule(node=nodes_, service_id=service_ids)
    def deregister_service(self, node: str, service_id: str) -> None:
        self.model.delete_service(self.index_next, (node.lower(), service_id.lower()))
        self.replica.deregister(node, service_id=service_id)

    @rule(node=nodes_, check_id=check_ids)
    def deregister_check(self, node: str, check_id: str) -> None:
        self.model.delete_check(self.index_next, (node.lower(), check_id.lower()))
        self.replica.deregister(node, check_id=check_id)

    @rule(node=nodes_)
    def deregister_node(self, node: str) -> None:
        self.model.delete_node(self.index_next, node.lower())
        self.replica.deregister(node)

    @rule(places=st.lists(st.tuples(nodes_, st.sampled_from([1.0, 2.0])), max_size=3))
    def locate(self, places: list[tuple[str, float]]) -> None:
        for node, x in places:
            if node.lower() in self.model.nodes:
                self.model.coordinates[node.lower()] = x
        self.model.bump(self.index_next, "coordinates")
        self.replica.locate(
            *[NodeCoordinate(node=node, coordinate=Coordinate(vec=[x] + [0.0] * 7)) for node, x in places]
        )

    @invariant()
    def tables_agree(self) -> None:
        if not hasattr(self, "replica"):
            return
        self.replica.check()
        model = self.model
        assert self.replica.counters() == model.counters
        with self.replica.machine.read() as view:
            found = {
                node.node.lower(): (node.node, node.node_id, node.address, node.create_index, node.modify_index)
                for node in nodes.every(view, {})
            }
            assert found == {
                key: (row["name"], row["id"], row["address"], row["create"], row["modify"])
                for key, row in model.nodes.items()
            }
            for name in NODES:
                self._agree_on_node(view, name)
            for state in ("passing", "critical"):
                assert {(c.node.lower(), c.check_id.lower()) for c in checks.in_state(view, state)} == {
                    key for key, row in model.checks.items() if row["status"] == state
                }
            for service in SERVICE_NAMES:
                assert {(c.node.lower(), c.check_id.lower()) for c in checks.of_service(view, service)} == {
                    key for key, row in model.checks.items() if row["name"].lower() == service.lower()
                }

    def _agree_on_node(self, view: Any, name: str) -> None:
        model, node = self.model, name.lower()
        assert [
            (s.service_id, s.service, s.port, s.create_index, s.modify_index) for s in services.of_node(view, name)
        ] == [
            (row["id"], row["name"], row["port"], row["create"], row["modify"])
            for key, row in sorted(model.services.items())
            if key[0] == node
        ]
        assert [
            (c.node, c.check_id, c.status, c.service_id, c.service_name, c.create_index, c.modify_index)
            for c in checks.of_node(view, name)
        ] == [
            (row["node"], row["id"], row["status"], row["service_id"], row["name"], row["create"], row["modify"])
            for key, row in sorted(model.checks.items())
            if key[0] == node
        ]
        places = [found.coordinate.vec[0] for found in coordinate.of_node(view, name) if found.coordinate is not None]
        assert places == ([model.coordinates[node]] if node in model.coordinates else [])


CatalogAgainstModel.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestCatalogAgainstModel = CatalogAgainstModel.TestCase
