"""Who is there, as far as hellos tell."""

import pytest

from base.errors import Refused
from server.roster import ALIVE_S, FORGET_S, LEFT_S, Roster
from structs.cluster import Member, MemberStatus


def member(name: str, *, node_id: str = "", role: str = "consul", address: str = "10.0.0.1") -> Member:
    return Member(
        name=name, address=address, port=8301, tags={"id": node_id or f"id-{name}", "role": role, "port": "1"}
    )


def statuses(roster: Roster, now_s: float) -> dict[str, MemberStatus]:
    return {m.name: m.status for m in roster.members(now_s)}


def test_who_is_heard_is_alive_and_who_falls_silent_has_failed() -> None:
    roster = Roster(member("me"))
    roster.heard(member("a"), leaving=False, now_s=10.0)
    assert statuses(roster, 10.0)["a"] is MemberStatus.ALIVE
    assert statuses(roster, 10.0 + ALIVE_S)["a"] is MemberStatus.FAILED


def test_who_says_goodbye_has_left_and_not_failed() -> None:
    roster = Roster(member("me"))
    roster.heard(member("a"), leaving=True, now_s=10.0)
    assert statuses(roster, 10.0)["a"] is MemberStatus.LEAVING
    assert statuses(roster, 10.0 + ALIVE_S)["a"] is MemberStatus.LEFT


def test_a_rumour_cannot_keep_a_dead_member_alive() -> None:
    one, two = Roster(member("one")), Roster(member("two"))
    one.heard(member("dead", address="10.0.0.7"), leaving=False, now_s=0.0)
    now_s = 0.0
    for _ in range(40):
        now_s += 0.5
        one.heard(member("two"), leaving=False, now_s=now_s)
        two.heard(member("one"), leaving=False, now_s=now_s)
        two.heard_of(one.heard_directly(now_s), now_s)
        one.heard_of(two.heard_directly(now_s), now_s)
    assert statuses(one, now_s)["dead"] is MemberStatus.FAILED
    assert statuses(two, now_s)["dead"] is MemberStatus.FAILED


def test_a_goodbye_is_not_prolonged_by_being_passed_on() -> None:
    roster = Roster(member("me"))
    gone = member("a")
    gone = Member(name=gone.name, address=gone.address, port=1, tags=gone.tags, status=MemberStatus.LEAVING)
    for step in range(7):
        roster.heard_of([gone], step * 0.5)
    assert statuses(roster, 3.0)["a"] is MemberStatus.LEFT


def test_a_second_server_with_the_same_id_is_refused_while_the_first_is_heard() -> None:
    roster = Roster(member("me"))
    roster.heard(member("a", node_id="x", address="10.0.0.1"), leaving=False, now_s=0.0)
    with pytest.raises(Refused, match=r"node id x is also used by a at 10\.0\.0\.1:1"):
        roster.heard(member("a", node_id="x", address="10.0.0.2"), leaving=False, now_s=1.0)
    roster.heard(member("a", node_id="x", address="10.0.0.2"), leaving=False, now_s=1.0 + ALIVE_S)


def test_somebody_else_with_our_own_id_is_refused() -> None:
    roster = Roster(member("me", node_id="x"))
    with pytest.raises(Refused, match="also used by me"):
        roster.heard(member("other", node_id="x", address="10.0.0.9"), leaving=False, now_s=0.0)


def test_a_new_server_at_an_old_address_has_taken_its_place() -> None:
    roster = Roster(member("me", address="10.0.0.9"))
    roster.heard(member("a", node_id="old", address="10.0.0.1"), leaving=False, now_s=0.0)
    roster.heard(member("a", node_id="new", address="10.0.0.1"), leaving=False, now_s=0.5)
    assert [m.tags["id"] for m in roster.servers(0.5)] == ["new"]


def test_hearsay_does_not_overrule_our_own_ears() -> None:
    roster = Roster(member("me"))
    roster.heard(member("a", address="10.0.0.1"), leaving=False, now_s=0.0)
    roster.heard_of([member("a", address="10.0.0.2")], 1.0)
    assert roster.members(1.0)[1].address == "10.0.0.1"


def test_failed_members_are_forgotten_after_three_days_and_left_ones_after_one() -> None:
    roster = Roster(member("me"))
    roster.heard(member("a"), leaving=False, now_s=0.0)
    roster.heard(member("b", address="10.0.0.2"), leaving=True, now_s=0.0)
    roster.sweep(LEFT_S + 1)
    assert [m.name for m in roster.members(LEFT_S + 1)] == ["me", "a"]
    roster.sweep(FORGET_S + 1)
    assert [m.name for m in roster.members(FORGET_S + 1)] == ["me"]


def test_only_servers_are_listed_as_servers() -> None:
    roster = Roster(member("me"))
    roster.heard(member("a"), leaving=False, now_s=0.0)
    roster.heard(member("agent", role="node"), leaving=False, now_s=0.0)
    assert [m.name for m in roster.servers(0.0)] == ["a"]
    assert roster.name_of("id-agent") == "agent"
    assert roster.name_of("nobody") is None
