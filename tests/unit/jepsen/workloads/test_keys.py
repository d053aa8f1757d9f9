"""Groups of workers share a key and leave it in time; final reads reach every key."""

import random

import pytest
import trio
from trio.testing import MockClock

from jepsen.client import HTTP, Answer, CallFailed, CallUnclear, Client
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import (
    RECENT_KEYS,
    UNKNOWN_MAX,
    SharedKeys,
    choose_mode,
    number,
    numbers,
    read_finally,
    text_of,
    within,
)
from jepsen.workloads.workload import Worker


def client(node: str = "n") -> Client:
    return Client(address="127.0.0.1:1", node=node, workload="w", process=1, record=lambda _: None, now_ns=lambda: 0)


def worker(position: int) -> Worker:
    return Worker(process=position, position=position, rng=random.Random(position), client=client())


def ended(key: str, outcome: Outcome) -> Operation:
    return Operation(workload="w", process=1, function="f", key=key, outcome=outcome, began_ns=0, ended_ns=1)


def test_neighbours_share_a_key_and_others_do_not() -> None:
    keys = SharedKeys("p/", workers_per_key=3, operations_max=10)

    assert [keys.of(worker(position)) for position in range(7)] == ["p/0"] * 3 + ["p/1"] * 3 + ["p/2"]
    assert keys.all() == ["p/0", "p/1", "p/2"]


def test_a_group_moves_on_when_its_key_was_used_enough() -> None:
    keys = SharedKeys("p/", workers_per_key=3, operations_max=2)
    first, other = keys.of(worker(0)), keys.of(worker(3))

    for _ in range(2):
        assert keys.of(worker(1)) == first
        keys.count(ended(first, Outcome.OK))

    assert keys.of(worker(2)) == "p/2"
    assert keys.of(worker(0)) == "p/2"
    assert keys.of(worker(3)) == other


def test_what_did_not_happen_does_not_wear_a_key_out() -> None:
    keys = SharedKeys("p/", workers_per_key=3, operations_max=2)
    first = keys.of(worker(0))

    for _ in range(100):
        keys.count(ended(first, Outcome.FAILED))

    assert keys.of(worker(0)) == first


def test_a_key_with_many_unknown_ends_is_left() -> None:
    keys = SharedKeys("p/", workers_per_key=3, operations_max=100)
    first = keys.of(worker(0))

    for _ in range(UNKNOWN_MAX):
        assert keys.of(worker(0)) == first
        keys.count(ended(first, Outcome.UNKNOWN))

    assert keys.of(worker(0)) != first


async def test_new_keys_are_read_everywhere_and_old_ones_where_somebody_answers() -> None:
    keys = [str(position) for position in range(RECENT_KEYS + 3)]
    clients = [client("up-1"), client("down"), client("up-2")]
    read: list[tuple[str, str]] = []

    async def read_one(of: Client, key: str) -> Operation:
        read.append((of.node, key))
        return ended(key, Outcome.FAILED if of.node == "down" else Outcome.OK)

    await read_finally(clients, keys, read_one)

    assert read[:4] == [("up-1", "0"), ("down", "1"), ("up-2", "1"), ("up-2", "2")]
    assert read[4:7] == [("up-1", "3"), ("down", "3"), ("up-2", "3")]
    assert read[7:] == [(node, key) for key in keys[4:] for node in ("up-1", "up-2")], "who is silent is left alone"


@pytest.mark.parametrize("stale", [True, False])
def test_stale_reads_are_chosen_only_where_they_may_be(stale: bool) -> None:
    rng = random.Random(1)

    chosen = {choose_mode(rng, stale=stale) for _ in range(200)}

    assert chosen == {"default", "consistent"} | ({"stale"} if stale else set())


def test_values_are_numbers_and_anything_else_is_shown_as_it_is() -> None:
    assert number("17") == 17
    assert [number(text) for text in ("", "1x", "-1", "²")] == ["", "1x", "-1", "²"]
    assert numbers("1 2 x") == [1, 2, "x"]
    assert numbers("") == []
    assert numbers(text_of([3, 1, 2])) == [3, 1, 2]


async def never(http: HTTP) -> Answer:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(("is_write", "end"), [(False, CallFailed), (True, CallUnclear)])
async def test_who_does_not_wait_longer_does_not_know_what_became_of_a_write(
    is_write: bool, end: type[Exception], autojump_clock: MockClock
) -> None:
    began_s = trio.current_time()

    with pytest.raises(end, match=r"no answer within 2\.5 s"):
        await within(2.5, never, is_write=is_write)(HTTP("127.0.0.1:1"))

    assert trio.current_time() - began_s == pytest.approx(2.5)


async def test_an_answer_in_time_is_an_answer() -> None:
    async def soon(http: HTTP) -> Answer:
        return Answer(output=17)

    assert await within(2.5, soon)(HTTP("127.0.0.1:1")) == Answer(output=17)
