"""Nodes, services and checks: which write moves which counter, what goes with what, and what is refused.

Source: state store specification, sections 2 and 3. Tests name the counters that a write moves, and no others may move.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fsm.commands.refusal import Refusal
from fsm.store import catalog, checks, coordinate, nodes, services
from structs.catalog import (
    CONNECT_PROXY,
    SERF_CHECK_ID,
    CheckDefinition,
    CheckStatus,
    HealthCheck,
    Node,
    NodeService,
    RegisterCommand,
    ServiceConnect,
)
from structs.coordinate import Coordinate, NodeCoordinate
from tests.fakes.replica import Replica

ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
WEB = NodeService(service_id="web1", service="web", tags=["v1"], port=80)
DB = NodeService(service_id="db1", service="db")


def check(
    node: str, check_id: str, status: str = "passing", *, service_id: str = "", output: str = "", name: str = ""
) -> HealthCheck:
    return HealthCheck(
        node=node, check_id=check_id, status=status, service_id=service_id, output=output, service_name=name
    )


def place(node: str, x: float = 1.0, *, segment: str = "") -> NodeCoordinate:
    return NodeCoordinate(node=node, segment=segment, coordinate=Coordinate(vec=[x] + [0.0] * 7))


def node_of(replica: Replica, name: str) -> Node:
    with replica.machine.read() as view:
        found = nodes.get(view, name)
    assert found is not None, name
    return found


def check_of(replica: Replica, node: str, check_id: str) -> HealthCheck:
    with replica.machine.read() as view:
        found = checks.get(view, node, check_id)
    assert found is not None, (node, check_id)
    return found


def service_of(replica: Replica, node: str, service_id: str) -> NodeService:
    with replica.machine.read() as view:
        found = services.get(view, node, service_id)
    assert found is not None, (node, service_id)
    return found


@contextmanager
def moves(replica: Replica, *expected: str, removes: str = "") -> Iterator[None]:
    """What happens inside sets these counters to its own index, removes perhaps one, and leaves all others alone."""
    before = replica.counters()
    yield
    now, index = replica.counters(), replica.machine.index_applied
    assert {name for name in now if now[name] != before.get(name)} == set(expected)
    assert all(now[name] == index for name in expected)
    assert set(before) - set(now) == ({removes} if removes else set())
    replica.check()


@pytest.fixture
def full(replica: Replica) -> Replica:
    """Two nodes with an instance of `web` each, the first with `db` as well, and checks of both kinds."""
    replica.register("a", service=WEB, checks=[check("a", SERF_CHECK_ID), check("a", "w", service_id="web1")])
    replica.register("a", service=DB)
    replica.register("b", service=WEB, checks=[check("b", SERF_CHECK_ID)])
    return replica


# Nodes


def test_a_new_node_moves_the_nodes(replica: Replica) -> None:
    with moves(replica, "nodes"):
        replica.register("a")
    found = node_of(replica, "A")
    assert (found.node, found.create_index, found.modify_index) == ("a", 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "10.0.0.2"},
        {"node_id": ID},
        {"datacenter": "dc2"},
        {"tagged_addresses": {"lan": "x"}},
        {"tagged_addresses": {}},
        {"node_meta": {"k": "v"}},
    ],
    ids=str,
)
def test_a_changed_node_moves_the_services_on_it_too(full: Replica, change: dict[str, object]) -> None:
    with moves(full, "nodes", "service.web", "service.db"):
        full.register("a", **change)  # type: ignore[arg-type]
    found = node_of(full, "a")
    assert found.create_index == 1
    assert found.modify_index == full.machine.index_applied


def test_a_node_that_is_the_same_already_is_not_written(full: Replica) -> None:
    full.register("a", node_id=ID, node_meta={"x": "1", "y": "2"})
    with moves(full):
        full.register("a", node_id=ID, node_meta={"y": "2", "x": "1"})
        full.register("a", address="10.9.9.9", skip_node_update=True)
        full.register("A", address="", skip_node_update=True)
    assert node_of(full, "a").address == "10.0.0.1"


def test_skipping_the_node_still_makes_one_that_is_not_there(replica: Replica) -> None:
    with moves(replica, "nodes"):
        replica.register("a", address="", skip_node_update=True)


def test_a_name_in_another_case_is_the_same_node_spelt_anew(full: Replica) -> None:
    with moves(full, "nodes", "service.web", "service.db"):
        full.register("A")
    assert (node_of(full, "a").node, node_of(full, "a").create_index) == ("A", 1)
    full.register("ΑΣ")
    with moves(full):
        full.register("ΑΣ")
    assert node_of(full, "ασ").node == "ΑΣ"


def test_another_id_under_the_same_name_takes_its_place(replica: Replica) -> None:
    replica.register("a", node_id=ID)
    replica.register("a", node_id=ID.replace("4", "5"))
    assert node_of(replica, "a").node_id == ID.replace("4", "5")
    assert node_of(replica, "a").create_index == 1
    assert isinstance(replica.register("b", node_id=ID), Refusal) is False


@pytest.mark.parametrize("status", ["passing", "warning"])
def test_the_id_of_a_living_node_is_refused_under_another_name(replica: Replica, status: str) -> None:
    replica.register("a", node_id=ID, checks=[check("a", SERF_CHECK_ID, status)])
    replica.register("c", node_id="other")
    with moves(replica):
        text = f'failed inserting node: node ID "{ID}" for node "b" aliases existing node "a"'
        assert replica.register("b", node_id=ID) == Refusal(text=text)
        assert replica.register("C", node_id=ID) == Refusal(text=text.replace('"b"', '"C"'))


@pytest.mark.parametrize("check_id", [SERF_CHECK_ID, "another"])
def test_the_id_of_a_dead_or_unwatched_node_renames_it(replica: Replica, check_id: str) -> None:
    replica.register("a", node_id=ID, service=WEB, checks=[check("a", check_id, "critical")])
    replica.locate(place("a"))
    expected = ("nodes", "services", "checks", "coordinates")
    with moves(replica, *expected, removes="service.web"):
        replica.register("b", node_id=ID)
    with replica.machine.read() as view:
        assert [node.node for node in nodes.every(view, {})] == ["b"]
        assert list(checks.in_state(view, "any")) == []
    assert node_of(replica, "b").create_index == 1


def test_renaming_to_a_node_that_exists_keeps_that_ones_history(replica: Replica) -> None:
    replica.register("a", node_id=ID)
    replica.register("b", service=WEB)
    with moves(replica, "nodes", "service.web"):
        replica.register("b", node_id=ID, service=WEB)
    assert (node_of(replica, "b").create_index, node_of(replica, "b").node_id) == (2, ID)


def test_deleting_a_node_takes_everything_on_it(full: Replica) -> None:
    full.locate(place("a"), place("a", segment="s"), place("b"))
    expected = ("nodes", "services", "checks", "coordinates", "service.web")
    with moves(full, *expected, removes="service.db"):
        full.deregister("A")
    with full.machine.read() as view:
        assert [found.node for found in nodes.every(view, {})] == ["b"]
        assert [found.node for found in checks.in_state(view, "any")] == ["b"]
        assert coordinate.every(view) == [place("b")]
        assert services.of_node(view, "a") == []


def test_deleting_an_empty_node_moves_the_nodes_alone(full: Replica) -> None:
    full.register("c")
    with moves(full, "nodes"):
        full.deregister("c")


def test_deleting_what_is_not_there_moves_nothing(full: Replica) -> None:
    with moves(full):
        full.deregister("nobody")
        full.deregister("a", service_id="nothing")
        full.deregister("a", check_id="nothing")
        full.deregister("nobody", service_id="web1")


# Services


def test_a_new_instance_moves_the_services_and_its_name(full: Replica) -> None:
    with moves(full, "services", "service.api"):
        full.register("b", service=NodeService(service_id="x", service="API"))
    assert service_of(full, "B", "X").create_index == full.machine.index_applied


@pytest.mark.parametrize(
    "change",
    [
        NodeService(service_id="web1", service="web", tags=["v2"], port=80),
        NodeService(service_id="web1", service="web", tags=None, port=80),
        NodeService(service_id="web1", service="web", tags=["v1"], port=81),
        NodeService(service_id="web1", service="web", tags=["v1"], port=80, address="x"),
        NodeService(service_id="web1", service="web", tags=["v1"], port=80, meta={}),
        NodeService(service_id="web1", service="web", tags=["v1"], port=80, enable_tag_override=True),
        NodeService(service_id="web1", service="web", tags=["v1"], port=80, connect=ServiceConnect(native=True)),
        NodeService(service_id="WEB1", service="web", tags=["v1"], port=80),
    ],
)
def test_a_changed_instance_moves_them_too(full: Replica, change: NodeService) -> None:
    with moves(full, "services", "service.web"):
        full.register("a", service=change)
    found = service_of(full, "a", "web1")
    assert (found.create_index, found.modify_index) == (1, full.machine.index_applied)


def test_an_instance_that_is_the_same_already_is_not_written(full: Replica) -> None:
    full.register("a", service=NodeService(service_id="m", service="m", meta={"x": "1", "y": "2"}))
    with moves(full):
        full.register("a", service=WEB)
        full.register("a", service=NodeService(service_id="web1", service="web", tags=["v1"], port=80, create_index=77))
        full.register("a", service=NodeService(service_id="m", service="m", meta={"y": "2", "x": "1"}))


def test_a_service_that_changes_its_name_moves_both_names(full: Replica) -> None:
    with moves(full, "services", "service.web", "service.api"):
        full.register("a", service=NodeService(service_id="web1", service="api"))
    with moves(full, "services", "service.api", removes="service.db"):
        full.register("a", service=NodeService(service_id="db1", service="api"))


def test_deleting_an_instance_takes_its_checks(full: Replica) -> None:
    with moves(full, "services", "checks", "service.web"):
        full.deregister("a", service_id="WEB1")
    with full.machine.read() as view:
        assert [found.check_id for found in checks.of_node(view, "a")] == [SERF_CHECK_ID]


def test_the_counter_of_a_name_goes_with_its_last_instance(full: Replica) -> None:
    with moves(full, "services", "checks", removes="service.db"):
        full.deregister("a", service_id="db1")
    with moves(full, "services", "service.db"):
        full.register("b", service=NodeService(service_id="again", service="DB"))


def test_a_counter_removed_and_made_again_in_one_batch_is_the_new_one(full: Replica) -> None:
    full.deregister("a", service_id="db1")
    full.register("a", service=DB, commit=False)
    full.machine.apply(full.raft_index + 1, 1, full.log[-2])  # the deregistration
    full.machine.commit_batch()
    assert "service.db" not in full.counters()
    full.check()


def test_a_proxy_moves_the_name_of_its_destination(full: Replica) -> None:
    proxy = NodeService(service_id="p", service="web-proxy", kind=CONNECT_PROXY, proxy_destination="WEB", port=1)
    with moves(full, "services", "service.web-proxy", "service.web"):
        full.register("b", service=proxy)
    with moves(full, "checks", "service.web-proxy", "service.web"):
        full.register("b", checks=[check("b", "p", service_id="p")])
    other = NodeService(service_id="p", service="web-proxy", kind=CONNECT_PROXY, proxy_destination="none", port=1)
    with moves(full, "services", "service.web-proxy", "service.web"):
        full.register("b", service=other)
    with moves(full, "services", "checks", removes="service.web-proxy"):
        full.deregister("b", service_id="p")


# Checks


def test_a_check_of_a_service_moves_that_service(full: Replica) -> None:
    with moves(full, "checks", "service.web"):
        full.register("a", checks=[check("a", "w", "critical", service_id="web1")])
    with moves(full, "checks", "service.web"):
        full.register("b", checks=[check("b", "new", service_id="web1")])


def test_a_check_of_a_node_moves_every_service_on_it(full: Replica) -> None:
    with moves(full, "checks", "service.web", "service.db"):
        full.register("a", checks=[check("a", SERF_CHECK_ID, "critical")])
    with moves(full, "checks", "service.web"):
        full.register("b", checks=[check("b", SERF_CHECK_ID, "critical")])


def test_a_check_that_moves_to_another_service_moves_both(full: Replica) -> None:
    with moves(full, "checks", "service.web", "service.db"):
        full.register("a", checks=[check("a", "w", service_id="db1")])
    with moves(full, "checks", "service.db", "service.web"):
        full.register("a", checks=[check("a", "w")])


def test_a_check_that_has_an_older_name_of_its_service_moves_that_name_too(full: Replica) -> None:
    full.register("a", service=NodeService(service_id="web1", service="api"))
    with moves(full, "checks", "service.api", "service.web"):
        full.register("a", checks=[check("a", "w", "critical", service_id="web1")])
    full.register("a", service=NodeService(service_id="web1", service="other"))
    with moves(full, "checks", "service.other"):
        full.deregister("a", check_id="w")  # it is called after `api`, which has no instance any more
    named = HealthCheck(node="b", check_id="x", service_name="DB")
    with moves(full, "checks", "service.web", "service.db"):
        full.register("b", checks=[named])


def test_a_check_that_is_the_same_already_is_not_written(full: Replica) -> None:
    with moves(full):
        full.register("a", checks=[check("a", SERF_CHECK_ID), check("a", "w", service_id="web1", name="ignored")])
        full.register("A", skip_node_update=True, checks=[check("A", SERF_CHECK_ID)])


@pytest.mark.parametrize(
    "change",
    [
        {"output": "x"},
        {"notes": "x"},
        {"name": "x"},
        {"definition": CheckDefinition(http="x")},
        {"status": "warning"},
        {"status": ""},
    ],
    ids=str,
)
def test_every_other_field_counts(full: Replica, change: dict[str, object]) -> None:
    fields: dict[str, object] = {"node": "b", "check_id": SERF_CHECK_ID, "status": "passing"} | change
    with moves(full, "checks", "service.web"):
        full.register("b", checks=[HealthCheck(**fields)])  # type: ignore[arg-type]


def test_a_check_without_a_status_is_critical(full: Replica) -> None:
    full.register("a", checks=[check("a", "x", "")])
    assert check_of(full, "a", "X").status == CheckStatus.CRITICAL


def test_a_check_has_its_services_name_and_tags(full: Replica) -> None:
    found = check_of(full, "a", "w")
    assert (found.service_name, found.service_tags) == ("web", ["v1"])
    full.register("a", service=NodeService(service_id="web1", service="web2", tags=["v2"]))
    assert check_of(full, "a", "w").service_tags == ["v1"]
    full.register("a", checks=[check("a", "w", service_id="web1")])
    assert (check_of(full, "a", "w").service_name, check_of(full, "a", "w").service_tags) == ("web2", ["v2"])
    with full.machine.read() as view:
        assert [found.node for found in checks.of_service(view, "WEB2")] == ["a"]
        assert checks.of_service(view, "web") == []
        assert [found.check_id for found in checks.of_instance(view, "a", "web1")] == ["w"]
        assert [found.check_id for found in checks.of_instance(view, "a", "")] == [SERF_CHECK_ID]


def test_deleting_a_check_of_a_service_moves_that_service(full: Replica) -> None:
    with moves(full, "checks", "service.web"):
        full.deregister("a", check_id="W")


def test_deleting_a_check_of_a_node_moves_the_services_and_every_name_on_it(full: Replica) -> None:
    with moves(full, "checks", "services", "service.web", "service.db"):
        full.deregister("a", check_id=SERF_CHECK_ID)


# Registrations as a whole


def test_a_registration_happens_as_a_whole_or_not(full: Replica) -> None:
    bad = [
        ([check("a", "x"), check("b", "y")], 'check node "b" does not match node "a"'),
        (
            [check("a", "x"), check("a", "y", service_id="none")],
            "failed inserting check: Missing service registration",
        ),
    ]
    for wrong, text in bad:
        with moves(full):
            outcome = full.register(
                "a", address="10.5.5.5", service=NodeService(service_id="n", service="n"), checks=wrong
            )
            assert outcome == Refusal(text=text)
    with moves(full):
        assert full.register("", checks=[]) == Refusal(text="Must provide node")


def test_a_check_may_be_of_the_service_registered_with_it(replica: Replica) -> None:
    with moves(replica, "nodes", "services", "checks", "service.web"):
        replica.register("n", service=WEB, checks=[check("N", "c", service_id="WEB1")])
    assert check_of(replica, "n", "c").node == "n"


def test_what_changes_nothing_is_known_before_it_is_logged(full: Replica) -> None:
    def nothing(**fields: object) -> bool:
        command = RegisterCommand(**({"node": "a", "address": "10.0.0.1"} | fields))  # type: ignore[arg-type]
        with full.machine.read() as view:
            return catalog.changes_nothing(view, command)

    serf = check("a", SERF_CHECK_ID)
    assert nothing()
    assert nothing(service=WEB, checks=[serf, check("a", "w", service_id="web1")])
    assert nothing(address="", skip_node_update=True, service=DB)
    assert not nothing(address="10.0.0.2")
    assert not nothing(node="c")
    assert not nothing(service=NodeService(service_id="web1", service="web"))
    assert not nothing(checks=[serf, check("a", "w", "critical", service_id="web1")])
    assert not nothing(checks=[check("a", "w")])
    assert not nothing(checks=[check("a", "w", service_id="none")])
    assert not nothing(checks=[check("b", SERF_CHECK_ID)])


def test_a_savepoint_takes_back_rows_counters_and_second_ways(full: Replica) -> None:
    full.register("c", node_id=ID, service=NodeService(service_id="x", service="x"))
    before = (full.dump(), full.machine.store.state.digests)
    batch = full.machine.store.write()
    savepoint = batch.savepoint()
    catalog.delete_node(batch, "a")
    web2 = NodeService(service_id="web1", service="web2")
    changed = RegisterCommand(
        node="b", node_id=ID, address="x", service=web2, checks=[check("b", SERF_CHECK_ID, "critical")]
    )
    catalog.register(batch, changed)
    savepoint.roll_back()
    batch.commit()
    assert (full.dump(), full.machine.store.state.digests) == before
    full.check()


# Names


def test_names_of_any_characters_never_meet(replica: Replica) -> None:
    odd = ["a", "a\x00", "a\x00b", "a\x01", "a\x01\x01", "\x00", "é", "İ", "a" * 900, "a" * 900 + "\x00", "0", "٣"]
    for name in odd:
        replica.register(
            name,
            service=NodeService(service_id=name, service=name),
            checks=[check(name, name, service_id=name), check(name, "n")],
        )
        replica.locate(place(name))
    with replica.machine.read() as view:
        assert sorted(node.node for node in nodes.every(view, {})) == sorted(odd)
        for name in odd:
            assert [found.service for found in services.of_node(view, name)] == [name]
            assert {found.check_id for found in checks.of_node(view, name)} == {name, "n"}
            assert [found.node for found in checks.of_service(view, name)] == [name]
            assert coordinate.of_node(view, name) == [place(name)]
    replica.check()
    for name in odd:
        replica.deregister(name)
        replica.check()
    assert set(replica.counters()) == {"nodes", "services", "checks", "coordinates"}
