"""How far two nodes are from one another, and which of many come first. Source: gossip specification, section 9."""

import math

import pytest

from structs.coordinate import Coordinate, SegmentCoordinates, distance_s, is_possible, nearest_first, nodes_distance_s


def at(x: float, y: float = 0.0, *, height: float = 0.0, adjustment: float = 0.0) -> Coordinate:
    return Coordinate(vec=[x, y] + [0.0] * 6, height=height, adjustment=adjustment)


@pytest.mark.parametrize(
    ("one", "other", "expected_s"),
    [
        (at(0.0), at(0.003, 0.004), 0.005),
        (at(0.0, height=0.01), at(0.003, 0.004, height=0.02), 0.035),
        (at(0.0, adjustment=0.1), at(0.003, 0.004, adjustment=-0.05), 0.055),
        (at(0.0, adjustment=-0.1), at(0.003, 0.004), 0.005),  # it would be below nothing: the adjustment is left out
        (at(0.0), None, math.inf),
        (None, None, math.inf),
        (at(0.0), Coordinate(vec=[0.0]), math.inf),
        (at(-1.7e308), at(1.7e308), math.inf),
    ],
)
def test_the_distance_is_the_straight_line_with_heights_and_adjustments(
    one: Coordinate | None, other: Coordinate | None, expected_s: float
) -> None:
    assert distance_s(one, other) == pytest.approx(expected_s)
    assert distance_s(other, one) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("one", "other", "expected_s"),
    [
        ({"": at(0.0)}, {"": at(1.0)}, 1.0),
        ({"": at(0.0), "s": at(5.0)}, {"s": at(6.0)}, 1.0),  # a server and a client in a segment
        ({"s": at(6.0)}, {"": at(0.0), "s": at(5.0)}, 1.0),
        ({"": at(0.0), "s": at(5.0)}, {"": at(2.0), "s": at(5.0)}, 2.0),  # two servers
        ({"s": at(0.0)}, {"t": at(1.0)}, math.inf),  # clients in two segments
        ({"": at(0.0)}, {}, math.inf),
    ],
)
def test_nodes_are_compared_in_a_segment_that_they_share(
    one: SegmentCoordinates, other: SegmentCoordinates, expected_s: float
) -> None:
    assert nodes_distance_s(one, other) == pytest.approx(expected_s)


def test_the_nearest_come_first_equals_keep_their_order_and_the_unknown_come_last() -> None:
    places: dict[str, SegmentCoordinates] = {"a": {"": at(3.0)}, "b": {"": at(1.0)}, "c": {"": at(1.0)}}
    asked: list[str] = []

    def of_node(name: str) -> SegmentCoordinates:
        asked.append(name)
        return places.get(name, {})

    items = ["x1", "a1", "c1", "b1", "c2", "y1"]
    found = nearest_first(items, lambda item: item[0], {"": at(0.0)}, of_node)
    assert found == ["c1", "b1", "c2", "a1", "x1", "y1"]
    assert sorted(asked) == ["a", "b", "c", "x", "y"], "a node's place is looked up once"


@pytest.mark.parametrize(
    ("coordinate", "expected"),
    [
        (Coordinate(), True),
        (None, False),
        (Coordinate(vec=[0.0] * 7), False),
        (Coordinate(vec=[math.nan] * 8), False),
        (Coordinate(height=math.inf), False),
    ],
)
def test_only_finite_places_of_our_dimensions_are_possible(coordinate: Coordinate | None, expected: bool) -> None:
    assert is_possible(coordinate) is expected
