"""What a node claims: what a change makes of the claims, and what it has to do with what is known already."""

import random

import pytest

from agent.local import state as module
from agent.local.state import LocalState, Origin, OutputSettings
from base.errors import Refused
from structs.catalog import NodeService
from structs.check_spec import CheckSpec

WEB = NodeService(service_id="web", service="web", tags=["v1"])


def a_state(**settings: object) -> LocalState:
    found = LocalState(node="n1", settings=OutputSettings(**settings), rng=random.Random(1))  # type: ignore[arg-type]
    found.node_is_dirty = False
    return found


def ttl(check_id: str, service_id: str = "", **more: object) -> CheckSpec:
    return CheckSpec(check_id=check_id, name=check_id, service_id=service_id, ttl_s=10.0, **more)  # type: ignore[arg-type]


def put(state: LocalState, spec: CheckSpec, *, now_s: float = 0.0, status: str = "") -> None:
    state.put_check(spec, token="", origin=Origin.API, now_s=now_s, status=status)


def settle(state: LocalState) -> None:
    state.assume(services=(), checks=(), gone_services=(), gone_checks=(), node=False)


def test_the_same_again_is_no_change() -> None:
    state = a_state()
    assert state.put_service(WEB, token="a", origin=Origin.API)
    put(state, ttl("c", "web"))
    settle(state)
    told: list[int] = []
    state.subscribe(lambda: told.append(1))
    assert not state.put_service(WEB, token="b", origin=Origin.API)
    put(state, ttl("c", "web"))
    assert not state.is_dirty
    assert told == []
    assert state.services["web"].token == "b"


def test_a_change_of_tags_changes_the_checks_of_the_service() -> None:
    state = a_state()
    state.put_service(WEB, token="", origin=Origin.API)
    put(state, ttl("c", "web"))
    put(state, ttl("n"))
    settle(state)
    state.put_service(NodeService(service_id="web", service="web", tags=["v2"]), token="", origin=Origin.API)
    assert list(state.dirty_checks) == ["c"]
    assert state.checks["c"].check.service_tags == ["v2"]


def test_a_check_of_a_service_that_is_not_here_is_refused() -> None:
    with pytest.raises(Refused, match='ServiceID "web" does not exist'):
        put(a_state(), ttl("c", "web"))


def test_a_service_goes_with_its_checks_and_they_come_back_as_news() -> None:
    state = a_state()
    state.put_service(WEB, token="", origin=Origin.API)
    put(state, ttl("a", "web"))
    put(state, ttl("b", "web"))
    settle(state)
    assert state.remove_service("web") == ["a", "b"]
    assert (list(state.gone_services), list(state.gone_checks)) == (["web"], [])
    state.put_service(WEB, token="", origin=Origin.API)
    put(state, ttl("b", "web"))
    assert list(state.gone_services) == []
    assert list(state.gone_checks) == ["a"], "the catalog may still have it, and its service does not go any more"
    assert list(state.dirty_checks) == ["b"]


def test_a_write_of_an_old_revision_proves_nothing_about_the_new_one() -> None:
    state = a_state()
    put(state, ttl("c"))
    revision = state.checks["c"].revision
    state.update_check("c", "passing", "", now_s=1.0)
    state.check_is_known("c", revision)
    assert list(state.dirty_checks) == ["c"]
    state.check_is_known("c", state.checks["c"].revision)
    assert not state.dirty_checks


def test_a_new_status_is_told_at_once_and_a_new_output_later() -> None:
    state = a_state(update_interval_s=300.0)
    put(state, ttl("c"))
    settle(state)
    assert state.update_check("c", "passing", "a", now_s=10.0)
    settle(state)
    assert not state.update_check("c", "passing", "a", now_s=10.0), "the same again"
    assert state.next_due_s() is None
    assert not state.update_check("c", "passing", "b", now_s=10.0)
    assert state.checks["c"].check.output == "b", "whoever asks this agent sees it"
    assert not state.is_dirty
    due_s = state.next_due_s()
    assert due_s is not None
    assert 10.0 + 150.0 <= due_s <= 10.0 + 450.0
    assert not state.update_check("c", "passing", "c", now_s=20.0)
    assert state.next_due_s() == due_s, "more of it does not put it off"
    assert not state.release_outputs(due_s - 1.0)
    assert state.release_outputs(due_s)
    assert list(state.dirty_checks) == ["c"]


def test_a_new_status_takes_a_held_back_output_along() -> None:
    state = a_state()
    put(state, ttl("c"))
    settle(state)
    state.update_check("c", "critical", "a", now_s=0.0)
    assert state.update_check("c", "warning", "b", now_s=1.0)
    settle(state)
    assert not state.release_outputs(10_000.0)
    assert not state.is_dirty


def test_outputs_are_told_at_once_where_the_interval_is_zero_and_not_kept_where_they_are_discarded() -> None:
    state = a_state(update_interval_s=0.0)
    put(state, ttl("c"))
    assert state.update_check("c", "critical", "x", now_s=0.0)
    state = a_state(discard=True)
    put(state, ttl("c"))
    assert not state.update_check("c", "critical", "x", now_s=0.0)
    assert state.checks["c"].check.output == ""


def test_an_output_beyond_all_bounds_is_cut() -> None:
    state = a_state(bytes_max=10)
    put(state, ttl("c"))
    state.update_check("c", "passing", "\u20ac" * 10_000, now_s=0.0)
    output = state.checks["c"].check.output
    assert output.endswith(" ... (captured 4106 of 30000 bytes)")
    assert len(output.encode()) < 4106 + 60


def test_a_check_moves_to_another_owner() -> None:
    state = a_state()
    state.put_service(WEB, token="", origin=Origin.API)
    put(state, ttl("c"))
    put(state, ttl("c", "web"))
    assert state.checks_of_service("") == []
    assert [check.check_id for check in state.checks_of_service("web") or ()] == ["c"]
    assert list(state.gone_checks) == []
    assert state.checks_of_service("nobody") is None


def test_a_service_is_given_up_only_after_it_was_critical_without_a_break() -> None:
    state = a_state()
    state.put_service(WEB, token="", origin=Origin.API)
    put(state, ttl("c", "web", deregister_after_s=60.0), now_s=100.0)
    put(state, ttl("n", deregister_after_s=60.0), now_s=100.0)
    assert state.expired_services(160.0) == []
    assert state.expired_services(160.1) == [("web", "c")]
    state.update_check("c", "passing", "", now_s=170.0)
    assert state.expired_services(1000.0) == []
    state.update_check("c", "critical", "", now_s=1000.0)
    state.update_check("c", "critical", "other", now_s=1050.0)
    assert state.expired_services(1060.1) == [("web", "c")]
    put(state, ttl("c", "web", deregister_after_s=90.0), now_s=1070.0)
    assert state.expired_services(1090.1) == [("web", "c")], "being registered again is no recovery"


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAX", 2)
    state = a_state()
    for name in ("a", "b"):
        state.put_service(NodeService(service_id=name, service=name), token="", origin=Origin.API)
        put(state, ttl(name))
    with pytest.raises(Refused, match="2 services already"):
        state.put_service(WEB, token="", origin=Origin.API)
    with pytest.raises(Refused, match="2 checks already"):
        put(state, ttl("c"))
    state.put_service(NodeService(service_id="a", service="a", port=1), token="", origin=Origin.API)


def test_whoever_subscribes_is_told_until_he_takes_it_back() -> None:
    state = a_state()
    told: list[str] = []
    forget = state.subscribe(lambda: told.append("x"))
    put(state, ttl("c"))
    state.update_check("c", "passing", "", now_s=0.0)
    state.update_check("c", "passing", "news", now_s=0.0)
    state.remove_check("c")
    assert len(told) == 4
    forget()
    put(state, ttl("c"))
    assert len(told) == 4


def test_what_was_known_or_gone_in_an_old_revision_is_neither_now() -> None:
    state = a_state()
    state.put_service(WEB, token="", origin=Origin.API)
    first = state.services["web"].revision
    state.put_service(NodeService(service_id="web", service="web", port=1), token="", origin=Origin.API)
    state.service_is_known("web", first)
    assert list(state.dirty_services) == ["web"]
    state.service_is_known("web", state.services["web"].revision)
    assert not state.dirty_services

    state.remove_service("web")
    went = state.gone_services["web"].revision
    state.put_service(WEB, token="", origin=Origin.API)
    state.remove_service("web")
    state.service_is_gone("web", went)
    assert list(state.gone_services) == ["web"]
    state.service_is_gone("web", state.gone_services["web"].revision)
    assert not state.gone_services

    put(state, ttl("c"))
    state.remove_check("c")
    went = state.gone_checks["c"].revision
    put(state, ttl("c"))
    state.remove_check("c")
    state.check_is_gone("c", went)
    assert list(state.gone_checks) == ["c"]
    state.check_is_gone("c", state.gone_checks["c"].revision)
    assert not state.is_dirty
