"""Whom a fault hits."""

import random
from collections import Counter

import pytest

from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.targets import Share, choose, most_named


@pytest.mark.parametrize(
    ("servers_count", "expected"),
    [
        (0, (0, 0, 0, 0, 0)),
        (1, (1, 0, 1, 0, 1)),
        (2, (1, 0, 2, 1, 2)),
        (3, (1, 1, 2, 2, 3)),
        (4, (1, 1, 3, 3, 4)),
        (5, (1, 2, 3, 4, 5)),
        (7, (1, 3, 4, 6, 7)),
    ],
)
def test_shares_of_servers_are_counted_as_quorums_are(servers_count: int, expected: tuple[int, ...]) -> None:
    assert tuple(share.of(servers_count) for share in Share) == expected


@pytest.mark.parametrize("servers_count", range(1, 12))
def test_a_minority_is_the_most_that_leaves_a_majority(servers_count: int) -> None:
    needed = Share.MAJORITY.of(servers_count)
    assert servers_count - Share.MINORITY.of(servers_count) >= needed
    assert servers_count - (Share.MINORITY.of(servers_count) + 1) < needed


def test_the_chosen_are_different_and_in_their_old_order() -> None:
    names = list("abcdefg")
    for seed in range(50):
        chosen = choose(names, 3, random.Random(seed))
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 3


def test_equal_seeds_choose_equally_and_everybody_has_a_turn() -> None:
    names = ["a", "b", "c"]
    assert choose(names, 2, random.Random(7)) == choose(names, 2, random.Random(7))
    seen = Counter(choose(names, 1, random.Random(seed))[0] for seed in range(300))
    assert min(seen[name] for name in names) > 60


@pytest.mark.parametrize(("things", "count"), [([], 1), (["a"], 2), (["a"], 0)])
def test_too_few_to_choose_from_is_no_injection(things: list[str], count: int) -> None:
    with pytest.raises(NotInjected):
        choose(things, count, random.Random(1))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["", ""], ""),
        (["", "a"], "a"),
        (["a", "b", "b"], "b"),
        (["a", "b"], "a"),
        (["", "", "", "a", "b", "b"], "b"),
    ],
)
def test_the_leader_is_whom_most_name_and_silence_counts_for_nobody(names: list[str], expected: str) -> None:
    assert most_named(names) == expected
