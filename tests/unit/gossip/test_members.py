"""The member table: probe order, random picks, forgetting."""

import random

import pytest

from gossip.instructions import VERSIONS, Address
from gossip.layers import Node, State
from gossip.members import SAMPLE_WHOLE_MAX, Members


def node(name: str, state: State = State.ALIVE, changed_s: float = 0.0) -> Node:
    address = Address("10.0.0.1", 8301)
    return Node(
        name=name, address=address, meta=b"", incarnation=1, state=state, changed_s=changed_s, versions=VERSIONS
    )


def table(count: int, seed: int = 1) -> Members:
    """Ourselves, "us", and so many others, "0" and on."""
    members = Members(node("us"), random.Random(seed))
    for number in range(count):
        members.add(node(str(number)))
    return members


def turn(members: Members, count: int) -> list[str]:
    found = [members.next_to_probe(0.0, 30.0) for _ in range(count)]
    return [each.name for each in found if each is not None]


def test_each_turn_probes_everybody_once_in_another_order() -> None:
    members = table(20)
    turns = [turn(members, 20) for _ in range(5)]
    assert all(sorted(each, key=int) == [str(number) for number in range(20)] for each in turns)
    assert len({tuple(each) for each in turns}) == 5


def test_the_order_depends_on_the_seed_alone() -> None:
    assert turn(table(20), 60) == turn(table(20), 60)
    assert turn(table(20), 60) != turn(table(20, seed=2), 60)


def test_a_newcomer_gets_a_random_place() -> None:
    places = set()
    for seed in range(60):
        members = table(9, seed)
        places.add(turn(members, 9).index("8"))
    assert places == set(range(9))


def test_alone_or_among_the_dead_there_is_nobody_to_probe() -> None:
    assert table(0).next_to_probe(0.0, 30.0) is None
    members = table(3)
    for name in "012":
        members.change(members.nodes[name], State.DEAD, 0.0)
    assert members.next_to_probe(0.0, 30.0) is None
    assert (members.alive_count, len(members)) == (1, 4)


def test_the_dead_are_forgotten_at_the_end_of_a_turn_once_they_are_dead_for_long() -> None:
    members = table(3)
    members.change(members.nodes["0"], State.DEAD, 100.0)
    for _ in range(6):
        members.next_to_probe(130.0, 30.0)
    assert "0" in members.nodes
    for _ in range(4):
        members.next_to_probe(130.1, 30.0)
    assert list(members.nodes) == ["us", "1", "2"]


def test_the_upper_layer_forgets_the_dead_only() -> None:
    members = table(5)
    members.forget("1")
    members.forget("us")
    members.forget("nobody")
    assert len(members) == 6
    seen = turn(members, 2)
    gone = next(name for name in "01234" if name not in seen)
    members.change(members.nodes[gone], State.DEAD, 0.0)
    members.forget(gone)
    assert gone not in members.nodes
    assert sorted(seen + turn(members, 2)) == sorted(set("01234") - {gone})


@pytest.mark.parametrize("count", [2, SAMPLE_WHOLE_MAX - 1, SAMPLE_WHOLE_MAX + 1, 200])
def test_picks_are_different_eligible_and_never_ourselves(count: int) -> None:
    members = table(count)
    for _ in range(100):
        picked = members.pick(3, lambda each: each.name != "1")
        names = [each.name for each in picked]
        assert len(set(names)) == len(names) == min(3, count - 1)
        assert not {"us", "1"} & set(names)


def test_picks_find_the_few_that_are_eligible_among_many() -> None:
    members = table(500)
    assert [each.name for each in members.pick(3, lambda each: each.name == "77")] == ["77"]
    assert members.pick(3, lambda each: False) == []
    assert members.pick(0, lambda each: True) == []


def test_everybody_is_picked_about_equally_often() -> None:
    members = table(50)
    counts = dict.fromkeys(members.nodes, 0)
    for _ in range(5_000):
        for each in members.pick(3, lambda each: True):
            counts[each.name] += 1
    del counts["us"]
    assert min(counts.values()) > 200
    assert max(counts.values()) < 400
