"""What members say of each other, and what follows: states, suspicion, refutation, conflicts, names taken over."""

import pytest

from gossip.fields import U32_MAX
from gossip.instructions import Address, Log
from gossip.layers import State
from gossip.messages import Alive, Dead, Message, Suspect, encode
from gossip.rumours import INCARNATION_LEAP_MAX
from tests.fakes.swim_group import Group, Peer

META = b"\xff\x80"
ELSEWHERE = "10.7.7.7"


def alive(name: str, incarnation: int, *, host: str = "", meta: bytes = META) -> Alive:
    host = host or f"10.0.0.{ord(name[0]) - ord('a') + 1}"
    return Alive(incarnation=incarnation, node=name, host=host, port=8301, meta=meta)


def suspect(name: str, incarnation: int, sender: str = "z") -> Suspect:
    return Suspect(incarnation=incarnation, node=name, sender=sender)


def dead(name: str, incarnation: int, sender: str = "z") -> Dead:
    return Dead(incarnation=incarnation, node=name, sender=sender)


def told(*messages: Message) -> tuple[Group, Peer]:
    """Return "a" after it was told all this in one moment, with nobody there."""
    group = Group(1)
    for message in messages:
        group.deliver("a", encode(message))
    return group, group["a"]


def record(peer: Peer, name: str = "b") -> tuple[State, int]:
    node = peer.swim.nodes[name]
    return node.state, node.incarnation


ALIVE, SUSPECT, DEAD = State.ALIVE, State.SUSPECT, State.DEAD


@pytest.mark.parametrize(
    ("messages", "end"),
    [
        ([alive("b", 1)], (ALIVE, 1)),
        ([alive("b", 5), alive("b", 4)], (ALIVE, 5)),
        ([alive("b", 5), suspect("b", 4)], (ALIVE, 5)),
        ([alive("b", 5), suspect("b", 5)], (SUSPECT, 5)),
        ([alive("b", 5), suspect("b", 7)], (SUSPECT, 7)),
        ([alive("b", 5), suspect("b", 5), alive("b", 5)], (SUSPECT, 5)),
        ([alive("b", 5), suspect("b", 5), alive("b", 6)], (ALIVE, 6)),
        ([alive("b", 5), dead("b", 4)], (ALIVE, 5)),
        ([alive("b", 5), dead("b", 5)], (DEAD, 5)),
        ([alive("b", 5), suspect("b", 5), dead("b", 5)], (DEAD, 5)),
        ([alive("b", 5), dead("b", 6), dead("b", 9)], (DEAD, 6)),
        ([alive("b", 5), dead("b", 5), suspect("b", 5)], (DEAD, 5)),
        ([alive("b", 5), dead("b", 5), alive("b", 5)], (DEAD, 5)),
        ([alive("b", 5), dead("b", 5), alive("b", 6)], (ALIVE, 6)),
    ],
)
def test_of_two_claims_the_higher_incarnation_holds_and_the_worse_one_among_equals(
    messages: list[Message], end: tuple[State, int]
) -> None:
    assert record(told(*messages)[1]) == end


def test_accusations_of_unknown_members_are_ignored() -> None:
    _, a = told(suspect("b", 5), dead("c", 5))
    assert list(a.swim.nodes) == ["a"]


def test_the_upper_layer_hears_of_joins_changes_and_deaths_once_each() -> None:
    _, a = told(
        alive("b", 1),
        alive("b", 1),
        alive("b", 2),
        alive("b", 3, meta=b"\xff\x81\xa1x\xa1y"),
        suspect("b", 3),
        dead("b", 3),
        dead("b", 3),
        alive("b", 4),
    )
    assert a.upper.events == [
        ("joined", "a"),
        ("joined", "b"),
        ("updated", "b"),
        ("left", "b"),
        ("joined", "b"),
    ]


def test_what_was_new_is_passed_on_and_what_was_not_is_not() -> None:
    group = Group(3)
    group.join_all()
    group.run(5.0)
    a = group["a"]
    a.sent.clear()
    for message in (alive("b", 1), suspect("b", 0), dead("b", 0)):
        group.deliver("a", encode(message))
    group.run(0.4)
    assert not [each for _, each in a.sent if isinstance(each, Alive | Suspect | Dead)]
    group.deliver("a", encode(alive("b", 2)))
    group.run(0.4)
    assert alive("b", 2) in [each for _, each in a.sent]


def test_a_confirmation_is_passed_on_while_it_counts() -> None:
    group, a = told(*(alive(name, 1) for name in "bcdef"))
    for sender in ("c", "c", "d", "e", "f"):
        group.deliver("a", encode(suspect("b", 1, sender)))
    a.sent.clear()
    group.run(0.4)
    senders = {each.sender for _, each in a.sent if isinstance(each, Suspect) and each.sender != "a"}
    assert senders == {"e"}, "the first, then two confirmations; the last one replaced those before it"


def test_confirmations_shorten_a_running_suspicion() -> None:
    group, a = told(*(alive(name, 1) for name in "bcde"))
    group.passes = lambda sender, receiver, payload: False
    group.deliver("a", encode(suspect("b", 1, "c")))
    group.run(3.0)
    for sender in "de":
        group.deliver("a", encode(suspect("b", 1, sender)))
    assert a.state_of("b") is SUSPECT
    group.run(1.01)
    assert a.state_of("b") is DEAD


def test_a_confirmation_that_comes_late_ends_a_suspicion_at_once() -> None:
    group, a = told(*(alive(name, 1) for name in "bcde"))
    group.deliver("a", encode(suspect("b", 1, "c")))
    group.run(10.0)
    group.deliver("a", encode(suspect("b", 1, "d")))
    assert a.state_of("b") is SUSPECT
    group.deliver("a", encode(suspect("b", 1, "e")))
    group.run(0.001)
    assert a.state_of("b") is DEAD


def test_a_suspect_that_says_something_in_time_stays() -> None:
    group, a = told(*(alive(name, 1) for name in "bcde"))
    group.deliver("a", encode(suspect("b", 1)))
    group.run(3.0)
    group.deliver("a", encode(alive("b", 2)))
    assert record(a) == (ALIVE, 2)
    assert a.swim.statistics().suspects_count == 0


# About ourselves


@pytest.mark.parametrize(
    "claim", [suspect("a", 1), dead("a", 1), suspect("a", 7), alive("a", 7), alive("a", 1, meta=b"x")]
)
def test_what_is_wrongly_said_of_us_is_refuted(claim: Message) -> None:
    group, a = told(alive("b", 1), claim)
    wanted = claim.incarnation + 1  # type: ignore[attr-defined]
    assert record(a, "a") == (ALIVE, wanted)
    group.run(0.5)
    assert alive("a", wanted) in [message for _, message in a.sent]
    assert a.swim.statistics().health_score == 1
    assert a.swim.statistics().refutations_total == 1


@pytest.mark.parametrize("claim", [suspect("a", 0), dead("a", 0), alive("a", 0), alive("a", 1)])
def test_what_is_out_of_date_or_true_needs_no_refutation(claim: Message) -> None:
    _, a = told(claim)
    assert record(a, "a") == (ALIVE, 1)


def test_a_change_of_meta_data_raises_the_incarnation_and_travels() -> None:
    group = Group(3)
    group.join_all()
    group["a"].swim.set_meta(group.now_s, b"\xff\x81\xa1x\xa1y")
    group.run(2.0)
    for name in "bc":
        node = group[name].swim.nodes["a"]
        assert (node.meta, node.incarnation) == (b"\xff\x81\xa1x\xa1y", 2)
        assert ("updated", "a") in group[name].upper.events


# Incarnations that cannot be


@pytest.mark.parametrize("make", [suspect, dead, alive])
def test_an_impossible_incarnation_locks_nobody_out(make: type[Suspect]) -> None:
    group = Group(3)
    group.join_all()
    for victim in "abc":
        for receiver in "abc":
            group.deliver(receiver, encode(make(victim, U32_MAX)))  # type: ignore[call-arg, arg-type]
    assert all(record(group[name], other) == (ALIVE, 1) for name in "abc" for other in "abc")
    assert any("cannot be" in log.text for log in group["a"].logs + list_of_logs(group["a"]))
    group.run(60.0)
    assert group.all_alive()


def list_of_logs(peer: Peer) -> list[Log]:
    return [each for each in peer.out if isinstance(each, Log)]


def test_a_large_but_possible_incarnation_is_refuted_everywhere() -> None:
    group = Group(3)
    group.join_all()
    for receiver in "bc":
        group.deliver(receiver, encode(suspect("a", INCARNATION_LEAP_MAX)))
    group.run_until(group.all_alive, within_s=5.0)
    assert record(group["b"], "a") == (ALIVE, INCARNATION_LEAP_MAX + 1)


def test_a_newcomer_without_any_incarnation_left_is_not_taken_in() -> None:
    _, a = told(alive("b", U32_MAX))
    assert list(a.swim.nodes) == ["a"]


# Another address


def test_a_known_name_at_another_address_is_a_conflict_and_ignored() -> None:
    _, a = told(alive("b", 1), alive("b", 9, host=ELSEWHERE))
    assert record(a) == (ALIVE, 1)
    assert a.upper.conflicts == [("b", Address(ELSEWHERE, 8301))]


def test_our_own_name_at_another_address_is_a_conflict_and_not_refuted() -> None:
    _, a = told(alive("a", 9, host=ELSEWHERE))
    assert record(a, "a") == (ALIVE, 1)
    assert a.upper.conflicts == [("a", Address(ELSEWHERE, 8301))]


@pytest.mark.parametrize(
    ("sender", "after_s", "incarnation", "taken"),
    [
        ("z", 29.0, 2, False),
        ("z", 31.0, 2, True),
        ("z", 31.0, 1, False),
        ("", 0.1, 2, True),
        ("b", 0.1, 2, True),
        ("", 0.1, 1, False),
    ],
)
def test_the_name_of_the_dead_is_taken_over_after_a_while_and_of_who_left_at_once(
    sender: str, after_s: float, incarnation: int, taken: bool
) -> None:
    group, a = told(*(alive(name, 1) for name in "bcdefghijklmnopqrstuvwxy"), dead("b", 1, sender))
    group.passes = lambda *_: False
    a.swim._timers.cancel("probe")  # nobody is forgotten meanwhile
    group.run(after_s)
    group.deliver("a", encode(alive("b", incarnation, host=ELSEWHERE)))
    assert (record(a)[0] is ALIVE) is taken
    assert (a.swim.nodes["b"].address.host == ELSEWHERE) is taken
    assert bool(a.upper.conflicts) is not taken


def test_a_host_that_comes_back_with_its_name_at_another_address_gets_in_by_itself() -> None:
    group = Group(5)
    group.join_all()
    group.stop("e")
    group.run_until(group.all_alive, within_s=40.0)
    group.add("e", ELSEWHERE)
    assert group.join("e", "a") == ""
    took_s = group.run_until(group.all_alive, within_s=120.0)
    assert took_s < 90.0
    assert all(group[name].swim.nodes["e"].address.host == ELSEWHERE for name in "abcd")


def test_the_old_owner_of_a_name_does_not_get_it_back_by_a_replay() -> None:
    group, a = told(alive("b", 1), dead("b", 1, ""), alive("b", 2, host=ELSEWHERE))
    for message in (alive("b", 1), dead("b", 1, ""), suspect("b", 1)):
        group.deliver("a", encode(message))
    assert record(a) == (ALIVE, 2)
    assert a.swim.nodes["b"].address.host == ELSEWHERE


def test_a_member_restarted_at_its_address_is_alive_again_at_once() -> None:
    group = Group(5)
    group.join_all()
    group.stop("e")
    group.run(2.0)
    group.add("e")
    assert group.join("e", "a") == ""
    group.run_until(group.all_alive, within_s=10.0)


# Refusals


def test_an_alive_message_that_the_upper_layer_refuses_is_ignored() -> None:
    group = Group(1)
    group["a"].upper.alive_refusal = "wrong datacenter"
    group.deliver("a", encode(alive("b", 1)))
    assert list(group["a"].swim.nodes) == ["a"]
    assert any("wrong datacenter" in log.text for log in group["a"].logs)


@pytest.mark.parametrize(
    "claim", [alive("b", 1, meta=bytes(513)), Alive(incarnation=1, node="b", port=8301), Alive(host="10.0.0.2", port=1)]
)
def test_an_alive_message_that_cannot_be_used_is_ignored(claim: Alive) -> None:
    assert list(told(claim)[1].swim.nodes) == ["a"]


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.members.MEMBERS_MAX", 3)
    _, a = told(*(alive(name, 1) for name in "bcdef"))
    assert list(a.swim.nodes) == ["a", "b", "c"]
    assert any("members already" in log.text for log in list_of_logs(a) + a.logs)


def test_a_message_too_large_for_any_packet_does_not_block_the_queue() -> None:
    group, a = told(*(alive(chr(0x10000 + number) * 250, 1, host="10.0.0.9", meta=bytes(512)) for number in range(40)))
    group.deliver("a", encode(alive("b", 1)))
    group.run(1.0)
    assert alive("b", 1) in [message for _, message in a.sent]
