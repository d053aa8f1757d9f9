"""What is sent on, in which order and how often."""

import pytest

from gossip.broadcast import MISFITS_MAX, QUEUE_LENGTH_MIN, BroadcastQueue, transmissions_of

ROOM = {"overhead_bytes": 2, "bytes_max": 1398}


def message(text: str, size_bytes: int = 40) -> bytes:
    return text.encode().ljust(size_bytes)


def pulled(queue: BroadcastQueue, bytes_max: int = 1398, members_count: int = 5) -> list[str]:
    found = queue.pull(0.0, overhead_bytes=2, bytes_max=bytes_max, members_count=members_count)
    return [each.decode().strip() for each in found]


@pytest.mark.parametrize(("members_count", "times"), [(1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (5000, 16)])
def test_each_is_sent_a_number_of_times_that_grows_with_the_cluster(members_count: int, times: int) -> None:
    assert transmissions_of(4, members_count) == times
    queue = BroadcastQueue(4)
    queue.put(0.0, "a", message("a"), members_count=members_count)
    count = 0
    while pulled(queue, members_count=members_count):
        count += 1
    assert (count, len(queue)) == (times, 0)


@pytest.mark.parametrize(("members_count", "times"), [(2, 8), (9, 8), (10, 8), (100, 12)])
def test_what_must_reach_all_of_a_few_is_sent_as_often_as_among_ten(members_count: int, times: int) -> None:
    queue = BroadcastQueue(4, transmissions_min=8)
    queue.put(0.0, "a", message("a"), members_count=members_count)
    assert sum(bool(pulled(queue, members_count=members_count)) for _ in range(20)) == times


def test_the_least_sent_goes_first_and_the_newest_among_equals() -> None:
    queue = BroadcastQueue(4)
    for name in "ab":
        queue.put(0.0, name, message(name), members_count=5)
    one = 42
    assert pulled(queue, one) == ["b"]
    assert pulled(queue, one) == ["a"]
    queue.put(0.0, "c", message("c"), members_count=5)
    assert pulled(queue) == ["c", "b", "a"]


def test_a_word_about_a_member_replaces_the_one_before() -> None:
    queue = BroadcastQueue(4)
    told: list[float] = []
    queue.put(0.0, "a", message("old"), members_count=5, sent=told.append)
    assert pulled(queue) == ["old"]
    queue.put(7.0, "a", message("new"), members_count=5)
    assert told == [7.0]
    assert [pulled(queue) for _ in range(5)] == [["new"]] * 4 + [[]]


def test_who_waits_for_a_broadcast_is_told_when_it_was_sent_its_full_count() -> None:
    queue = BroadcastQueue(4)
    told: list[float] = []
    queue.put(0.0, "a", message("a"), members_count=5, sent=told.append)
    for number in range(4):
        assert told == []
        queue.pull(float(number), members_count=5, **ROOM)
    assert told == [3.0]


def test_what_does_not_fit_lets_smaller_ones_pass() -> None:
    queue = BroadcastQueue(4)
    queue.put(0.0, "small", message("small", 30), members_count=5)
    queue.put(0.0, "large", message("large", 200), members_count=5)
    assert pulled(queue, 100) == ["small"]
    assert pulled(queue, 202) == ["large"]


def test_the_search_for_smaller_ones_has_an_end() -> None:
    queue = BroadcastQueue(4)
    queue.put(0.0, "small", message("small", 30), members_count=5)
    for number in range(MISFITS_MAX):
        queue.put(0.0, f"large{number}", message("large", 200), members_count=5)
    assert pulled(queue, 100) == []


def test_the_queue_is_bounded() -> None:
    queue = BroadcastQueue(4)
    for number in range(QUEUE_LENGTH_MIN + 10):
        queue.put(0.0, str(number), message(str(number)), members_count=5)
    assert len(queue) == QUEUE_LENGTH_MIN
    assert pulled(queue, 42) == [str(QUEUE_LENGTH_MIN + 9)]
