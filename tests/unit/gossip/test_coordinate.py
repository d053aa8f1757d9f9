"""Vivaldi: distances come to tell round trips, and nothing that others send makes them senseless."""

import math
import random
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import InvalidRequest, TooLarge
from gossip.coordinate import (
    DIMENSIONS,
    ERROR_MAX,
    HEIGHT_MIN,
    Coordinate,
    CoordinateClient,
    distance_s,
    of_payload,
    payload_of,
)


def test_a_fresh_place_is_the_origin_and_unsure() -> None:
    fresh = CoordinateClient(random.Random(1)).coordinate
    assert fresh == Coordinate(vec=(0.0,) * 8, error=1.5, adjustment=0.0, height=1e-5)


def test_one_step_is_that_of_the_algorithm() -> None:
    """Calculated by hand: two places 0.1 s apart on the first axis, a round trip of 0.2 s."""
    client = CoordinateClient(random.Random(1))
    other = Coordinate(vec=(-0.1, *(0.0,) * 7), error=1.5, adjustment=0.0, height=HEIGHT_MIN)
    assert client.update("a", other, 0.2) is None
    distance = 0.1 + 2 * HEIGHT_MIN
    weight = 0.5
    error = 0.25 * weight * abs(distance - 0.2) / 0.2 + 1.5 * (1 - 0.25 * weight)
    force = 0.25 * weight * (0.2 - distance)
    height = 2 * HEIGHT_MIN * force / 0.1 + HEIGHT_MIN
    ours = client.coordinate
    assert ours.error == pytest.approx(error)
    assert ours.vec[0] == pytest.approx(force, rel=1e-4)
    assert ours.vec[1:] == pytest.approx((0.0,) * 7)
    assert ours.height == pytest.approx(height, rel=1e-3)
    assert ours.adjustment == pytest.approx((0.2 - (0.1 + force + height + HEIGHT_MIN)) / 40, rel=1e-3)


def test_the_median_of_three_keeps_one_late_answer_out() -> None:
    def place(rtts_s: list[float]) -> Coordinate:
        client = CoordinateClient(random.Random(1))
        for rtt_s in rtts_s:
            client.update("a", Coordinate(vec=(1.0, *(0.0,) * 7)), rtt_s)
        return client.coordinate

    assert place([0.1, 0.1, 9.0]) == place([0.1, 0.1, 0.1])
    assert place([0.1, 0.1, 9.0, 9.0]) != place([0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("seed", range(3))
def test_distances_come_to_tell_round_trips(seed: int) -> None:
    """Twelve members in three places, 40 ms and 90 ms apart, 1 ms within a place."""
    rng = random.Random(seed)
    far_s = {(0, 1): 0.04, (0, 2): 0.09, (1, 2): 0.09}
    clients = [CoordinateClient(rng) for _ in range(12)]

    def rtt_s(a: int, b: int) -> float:
        first, second = sorted((a % 3, b % 3))
        return 0.001 if first == second else far_s[first, second]

    for _ in range(400):
        for a, client in enumerate(clients):
            b = rng.randrange(11)
            b += b >= a
            client.update(str(b), clients[b].coordinate, rtt_s(a, b) * rng.uniform(0.95, 1.05))
    for a in range(12):
        for b in range(a):
            if a % 3 != b % 3:
                estimate_s = distance_s(clients[a].coordinate, clients[b].coordinate)
                assert estimate_s == pytest.approx(rtt_s(a, b), rel=0.3), (seed, a, b)
    assert all(client.resets_count == 0 for client in clients)


any_float = st.floats(allow_nan=True, allow_infinity=True)
places = st.builds(
    Coordinate,
    vec=st.lists(any_float, min_size=DIMENSIONS - 1, max_size=DIMENSIONS).map(tuple),
    error=any_float,
    adjustment=any_float,
    height=any_float,
)
large = st.floats(-1e4, 1e4)
sane = st.builds(
    Coordinate,
    vec=st.lists(large, min_size=DIMENSIONS, max_size=DIMENSIONS).map(tuple),
    error=st.floats(0, 1e4),
    adjustment=large,
    height=st.floats(0, 1e4),
)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(places, sane), any_float | st.floats(0, 10))))
def test_whatever_others_say_our_place_stays_a_place(updates: list[tuple[str, Coordinate, float]]) -> None:
    client = CoordinateClient(random.Random(1))
    for name, other, rtt_s in updates:
        before = client.coordinate
        if client.update(name, other, rtt_s) is not None:
            assert client.coordinate is before
        assert client.coordinate.finite()
        assert 0 <= client.coordinate.error <= ERROR_MAX
        assert client.coordinate.height >= HEIGHT_MIN


def test_a_place_that_got_lost_starts_again() -> None:
    client = CoordinateClient(random.Random(1))
    client.coordinate = Coordinate(vec=(1e200, *(0.0,) * 7))
    client.update("a", Coordinate(), 0.1)
    assert client.coordinate == Coordinate()
    assert client.resets_count == 1


def test_impossible_places_and_round_trips_are_refused() -> None:
    client = CoordinateClient(random.Random(1))
    assert client.update("a", Coordinate(vec=(0.0,) * 3), 0.1) == "3 dimensions instead of 8"
    assert client.update("a", Coordinate(height=-1.0), 0.1) == "a negative error or height"
    assert client.update("a", Coordinate(error=math.nan), 0.1) == "a part that is not finite"
    assert client.update("a", Coordinate(adjustment=2e4), 0.1) == "a part above 10000 s"
    for rtt_s in (-0.1, 10.1, math.nan, math.inf):
        assert client.update("a", Coordinate(), rtt_s) == f"a round trip of {rtt_s} s"
    assert client.of("a") is None


def test_the_tables_hold_nobody_who_was_forgotten() -> None:
    client = CoordinateClient(random.Random(1))
    client.update("a", Coordinate(), 0.1)
    assert client.of("a") == Coordinate()
    client.forget("a")
    client.forget("b")
    assert client.of("a") is None


def test_distance_uses_adjustments_only_while_it_stays_above_zero() -> None:
    a = Coordinate(vec=(1.0, *(0.0,) * 7), height=0.25, adjustment=-0.5)
    b = Coordinate(height=0.25, adjustment=0.25)
    assert distance_s(a, b) == 1.25
    assert distance_s(a, msgspec.structs.replace(b, adjustment=-9.0)) == 1.5


@given(sane)
def test_a_place_survives_the_journey(place: Coordinate) -> None:
    assert of_payload(payload_of(place)) == place


@given(st.binary(min_size=1))
def test_garbage_in_an_ack_is_refused(payload: bytes) -> None:
    with suppress(InvalidRequest, TooLarge):
        of_payload(payload)
