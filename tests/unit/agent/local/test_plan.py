"""The fewest writes that make the catalog what the node claims, against a catalog in dicts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.local.plan import CHECKS_BYTES_MAX, CatalogView, Write, carried_out, compare, rests, writes
from agent.local.state import LocalState, Origin, OutputSettings
from base.errors import Refused
from structs.catalog import (
    CONSUL_SERVICE,
    SERF_CHECK_ID,
    DeregisterCommand,
    HealthCheck,
    NodeService,
    RegisterCommand,
    ServiceProxy,
)
from structs.check_spec import CheckSpec
from tests.fakes.local import INFO, FakeCatalog

MINE = replace(INFO, token="default", node_token="agents")


def a_state() -> LocalState:
    return LocalState(node="n1", settings=OutputSettings(), rng=random.Random(1))


def put_service(state: LocalState, name: str, *, token: str = "", **fields: object) -> None:
    service = NodeService(service_id=name, service=name.rstrip("0123456789"), **fields)  # type: ignore[arg-type]
    state.put_service(service, token=token, origin=Origin.API)


def put_check(state: LocalState, check_id: str, service_id: str = "", *, token: str = "", status: str = "") -> None:
    spec = CheckSpec(check_id=check_id, name=check_id, service_id=service_id, ttl_s=1.0)
    state.put_check(spec, token=token, origin=Origin.API, now_s=0.0, status=status)


def view_of(catalog: FakeCatalog) -> CatalogView:
    return CatalogView(
        node=catalog.node, services=list(catalog.services.values()), checks=list(catalog.checks.values())
    )


def flat(stages: list[list[Write]]) -> list[Write]:
    return [write for stage in stages for write in stage]


def carry_out(state: LocalState, catalog: FakeCatalog) -> list[Write]:
    done = flat(writes(state, MINE))
    for write in done:
        catalog.apply(write.command)
        carried_out(state, write)
    return done


def sync(state: LocalState, catalog: FakeCatalog) -> list[Write]:
    compare(state, MINE, view_of(catalog))
    return carry_out(state, catalog)


def test_a_service_takes_its_checks_along_and_the_node_too() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "web", tags=["v1"])
    put_check(state, "a", "web")
    put_check(state, "b", "web")
    done = sync(state, catalog)
    assert len(done) == 1
    command = done[0].command
    assert isinstance(command, RegisterCommand)
    assert [check.check_id for check in command.checks] == ["a", "b"]
    assert (command.node_id, command.node_meta) == (MINE.node_id, MINE.meta)
    assert done[0].token == "default"
    assert not state.is_dirty


def test_checks_of_another_token_go_alone_and_after_their_service() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "web", token="s")
    put_check(state, "a", "web", token="s")
    put_check(state, "b", "web", token="c")
    compare(state, MINE, view_of(catalog))
    stages = writes(state, MINE)
    assert [[(list(write.services), list(write.checks), write.token) for write in stage] for stage in stages] == [
        [(["web"], ["a"], "s")],
        [([], ["b"], "c")],
    ]


def test_a_node_without_anything_is_written_with_its_own_token_and_once() -> None:
    state, catalog = a_state(), FakeCatalog()
    done = sync(state, catalog)
    assert [(write.token, write.services, write.checks) for write in done] == [("agents", {}, {})]
    assert sync(state, catalog) == []
    assert catalog.node is not None
    catalog.node = replace(catalog.node, meta={"old": "1"})
    assert len(sync(state, catalog)) == 1


def test_what_others_put_here_goes_but_for_the_servers_own() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "web")
    sync(state, catalog)
    catalog.services["old"] = NodeService(service_id="old", service="old")
    catalog.services[CONSUL_SERVICE] = NodeService(service_id=CONSUL_SERVICE, service=CONSUL_SERVICE)
    for check_id, service_id in ((SERF_CHECK_ID, ""), ("o", "old"), ("x", ""), ("y", "web"), ("z", CONSUL_SERVICE)):
        catalog.checks[check_id] = HealthCheck(node="n1", check_id=check_id, service_id=service_id)
    done = sync(state, catalog)
    assert [write.command for write in done] == [
        DeregisterCommand(node="n1", service_id="old"),
        DeregisterCommand(node="n1", check_id="x"),
        DeregisterCommand(node="n1", check_id="y"),
    ]
    assert sorted(catalog.checks) == [SERF_CHECK_ID, "z"]
    assert sorted(catalog.services) == [CONSUL_SERVICE, "web"]


def test_tags_that_the_catalog_may_decide_are_taken_from_it() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "web", tags=["mine"], enable_tag_override=True)
    put_check(state, "c", "web")
    sync(state, catalog)
    catalog.services["web"] = replace(catalog.services["web"], tags=["theirs"])
    assert sync(state, catalog) == []
    assert state.services["web"].service.tags == ["theirs"]
    put_service(state, "api", tags=["mine"])
    sync(state, catalog)
    catalog.services["api"] = replace(catalog.services["api"], tags=["theirs"])
    assert len(sync(state, catalog)) == 1
    assert catalog.services["api"].tags == ["mine"]


@pytest.mark.parametrize(
    "stored",
    [
        {"tags": []},
        {"meta": {}},
        {"tagged_addresses": {}},
        {"proxy": ServiceProxy()},
        {"proxy": ServiceProxy(config={}, mesh_gateway={}, expose={}, upstreams=[])},
        {"create_index": 5, "modify_index": 7},
    ],
)
def test_how_a_server_stores_nothing_is_no_difference(stored: dict[str, object]) -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "web")
    put_check(state, "c", "web")
    sync(state, catalog)
    catalog.services["web"] = replace(catalog.services["web"], **stored)
    catalog.checks["c"] = replace(catalog.checks["c"], kind="", service_tags=[], create_index=9)
    assert sync(state, catalog) == []


def test_a_held_back_output_is_no_difference_and_an_old_one_is() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_check(state, "c")
    sync(state, catalog)
    state.update_check("c", "critical", "news", now_s=0.0)
    assert sync(state, catalog) == []
    catalog.checks["c"] = replace(catalog.checks["c"], status="passing")
    assert len(sync(state, catalog)) == 1
    catalog.checks["c"] = replace(catalog.checks["c"], output="lost")
    assert len(sync(state, catalog)) == 1
    assert catalog.checks["c"].output == "news"


def test_large_outputs_do_not_all_go_with_their_service() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "web")
    for number in range(100):
        put_check(state, f"c{number}", "web")
        state.update_check(f"c{number}", "critical", "x" * 4096, now_s=0.0)
    done = sync(state, catalog)
    first = done[0].command
    assert isinstance(first, RegisterCommand)
    assert 0 < sum(len(check.output) for check in first.checks) < CHECKS_BYTES_MAX
    assert len(first.checks) + len(done) - 1 == 100
    assert sync(state, catalog) == []


def test_an_id_that_comes_back_in_another_case_is_the_same_to_the_catalog() -> None:
    state, catalog = a_state(), FakeCatalog()
    put_service(state, "Web")
    put_check(state, "C", "Web")
    sync(state, catalog)
    with pytest.raises(Refused, match='service ID "web" differs only by case from "Web"'):
        put_service(state, "web")
    with pytest.raises(Refused, match='check ID "c" differs only by case from "C"'):
        put_check(state, "c")
    state.remove_service("Web")
    put_service(state, "web")
    put_check(state, "c", "web")
    assert [write.command for write in flat(writes(state, MINE)) if isinstance(write.command, DeregisterCommand)] == []
    compare(state, MINE, view_of(catalog))
    assert (list(state.dirty_services), dict(state.gone_services), dict(state.gone_checks)) == (["web"], {}, {})


def test_what_rests_is_tried_again_after_the_next_comparison() -> None:
    state, catalog = a_state(), FakeCatalog()
    state.node_is_dirty = False
    put_service(state, "web")
    (write,) = flat(writes(state, MINE))
    rests(state, write)
    assert writes(state, MINE) == []
    assert len(sync(state, catalog)) == 1


SERVICES = st.sampled_from(["a", "b", "c"])
CHECKS = st.sampled_from(["k", "l", "m"])
OWNERS = st.sampled_from(["", "a", "b"])
TAGS = st.sampled_from([None, [], ["x"], ["y"]])
TOKEN = st.sampled_from(["", "t"])
STATUS = st.sampled_from(["passing", "critical"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("service"), SERVICES, TAGS, st.booleans(), TOKEN),
        st.tuples(st.just("gone service"), SERVICES),
        st.tuples(st.just("check"), CHECKS, OWNERS, TOKEN),
        st.tuples(st.just("status"), CHECKS, STATUS, st.sampled_from(["", "o"])),
        st.tuples(st.just("gone check"), CHECKS),
        st.tuples(st.just("catalog service"), SERVICES, TAGS),
        st.tuples(st.just("catalog check"), st.sampled_from(["k", "x"]), OWNERS),
        st.tuples(st.just("catalog loses"), SERVICES),
        st.tuples(st.just("partial")),
        st.tuples(st.just("full")),
    ),
    max_size=30,
)


def change(state: LocalState, catalog: FakeCatalog, what: tuple[object, ...]) -> None:
    match what:
        case ("service", str(name), tags, bool(override), str(token)):
            put_service(state, name, token=token, tags=tags, enable_tag_override=override)
        case ("gone service", str(name)):
            state.remove_service(name)
        case ("check", str(check_id), str(owner), str(token)):
            if not owner or owner in state.services:
                put_check(state, check_id, owner, token=token)
        case ("status", str(check_id), str(status), str(output)):
            state.update_check(check_id, status, output, now_s=0.0)
        case ("gone check", str(check_id)):
            state.remove_check(check_id)
        case ("catalog service", str(name), tags):
            catalog.services[name] = NodeService(service_id=name, service=name, tags=tags)  # type: ignore[arg-type]
        case ("catalog check", str(check_id), str(owner)):
            if not owner or owner in catalog.services:
                catalog.checks[check_id] = HealthCheck(node="n1", check_id=check_id, service_id=owner)
        case ("catalog loses", str(name)):
            catalog.apply(DeregisterCommand(node="n1", service_id=name))
        case ("partial",):
            try_partial(state, catalog)
        case ("full",):
            sync(state, catalog)


def try_partial(state: LocalState, catalog: FakeCatalog) -> None:
    """Others may have taken a service away meanwhile: then a check of it is refused, and rests."""
    for write in flat(writes(state, MINE)):
        command = write.command
        checks = command.checks if isinstance(command, RegisterCommand) and command.service is None else []
        if any(check.service_id and check.service_id not in catalog.services for check in checks):
            rests(state, write)
        else:
            catalog.apply(command)
            carried_out(state, write)


@given(CHANGES)
def test_after_a_plan_the_catalog_is_what_is_claimed_and_nothing_is_left_to_do(
    changes: list[tuple[object, ...]],
) -> None:
    state, catalog = a_state(), FakeCatalog()
    for what in changes:
        change(state, catalog, what)
    sync(state, catalog)
    assert not state.is_dirty
    assert sorted(catalog.services) == sorted(state.services)
    assert sorted(catalog.checks) == sorted(state.checks)
    for name, entry in state.services.items():
        assert catalog.services[name].tags == entry.service.tags or not entry.service.tags
    for check_id, check in state.checks.items():
        there = catalog.checks[check_id]
        assert (there.status, there.service_id) == (check.check.status, check.check.service_id)
        assert there.output == check.check.output or check.held_back_until_s is not None
    assert sync(state, catalog) == []


@given(CHANGES)
def test_a_partial_plan_is_enough_where_nobody_else_writes(changes: list[tuple[object, ...]]) -> None:
    state, catalog = a_state(), FakeCatalog()
    sync(state, catalog)
    for what in changes:
        if not str(what[0]).startswith("catalog"):
            change(state, catalog, what)
    carry_out(state, catalog)
    assert not state.is_dirty
    assert sync(state, catalog) == []


def test_ten_thousand_services_are_ten_thousand_writes_and_then_none() -> None:
    state, catalog = a_state(), FakeCatalog()
    for number in range(10_000):
        put_service(state, f"web{number}")
        put_check(state, f"c{number}", f"web{number}")
    assert len(sync(state, catalog)) == 10_000
    assert sync(state, catalog) == []
    for number in range(10_000):
        state.remove_service(f"web{number}")
    gone = flat(writes(state, MINE))
    assert len(gone) == 10_000
    for write in gone:
        carried_out(state, write)
    assert not state.is_dirty
