"""Positions in the network (Vivaldi): records, requests and the logged command.

Source: gossip specification, section 9; HTTP API, section 9; RPC wire format, section 5.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from base.codec import Record
from structs.query import QueryMeta, QueryOptions, WriteOptions

DIMENSIONS = 8


class Coordinate(Record, frozen=True, kw_only=True):
    """Where a node is: seconds along each axis, its error, and what its own link adds."""

    vec: list[float] = msgspec.field(default_factory=lambda: [0.0] * DIMENSIONS)
    error: float = 1.5
    adjustment: float = 0.0
    height: float = 1e-5


def is_finite(coordinate: Coordinate) -> bool:
    """Return whether it is a position at all: no number in it is infinite or none."""
    numbers = (*coordinate.vec, coordinate.error, coordinate.adjustment, coordinate.height)
    return all(map(math.isfinite, numbers))


def is_possible(coordinate: Coordinate | None) -> bool:
    """Return whether a node can be there: finite, and in our number of dimensions."""
    return coordinate is not None and len(coordinate.vec) == DIMENSIONS and is_finite(coordinate)


def distance_s(one: Coordinate | None, other: Coordinate | None) -> float:
    """Return the estimated round trip between two positions in seconds; infinity if one isn't known or doesn't fit."""
    if one is None or other is None or len(one.vec) != len(other.vec):
        return math.inf
    plain_s = math.dist(one.vec, other.vec) + one.height + other.height
    adjusted_s = plain_s + one.adjustment + other.adjustment
    return adjusted_s if adjusted_s > 0.0 else plain_s


SegmentCoordinates = Mapping[str, Coordinate | None]
"""Network segment -> position, of one node. A client is in one segment, a server in all of them."""


def nodes_distance_s(one: SegmentCoordinates, other: SegmentCoordinates) -> float:
    """Return the estimated round trip between two nodes, in a segment that they share; infinity if there is none."""
    segment = ""
    for found in (one, other):
        if len(found) == 1:
            (segment,) = found
    return distance_s(one.get(segment), other.get(segment))


T = TypeVar("T")


def nearest_first(
    items: Iterable[T],
    name_of: Callable[[T], str],
    origin: SegmentCoordinates,
    of_node: Callable[[str], SegmentCoordinates],
) -> list[T]:
    """Return `items` by the distance of the node `name_of` each from `origin`; equally far ones keep their order."""
    known: dict[str, float] = {}

    def away_s(item: T) -> float:
        name = name_of(item)
        found_s = known.get(name)
        if found_s is None:
            found_s = known[name] = nodes_distance_s(origin, of_node(name))
        return found_s

    return sorted(items, key=away_s)


class NodeCoordinate(Record, frozen=True, kw_only=True):
    """One node's position in one network segment."""

    node: str
    segment: str = ""
    coordinate: Coordinate | None


class CoordinateUpdateRequest(Record, frozen=True, kw_only=True):
    """RPC Coordinate.Update: taken up by the leader, logged with others a few seconds later."""

    update: NodeCoordinate
    options: WriteOptions = WriteOptions()


class CoordinateBatch(Record, frozen=True, kw_only=True):
    """Logged: positions of several nodes; unknown nodes and impossible positions are skipped."""

    updates: list[NodeCoordinate]


class ListCoordinatesRequest(Record, frozen=True, kw_only=True):
    """RPC Coordinate.ListNodes."""

    options: QueryOptions = QueryOptions()


class CoordinatesReply(Record, frozen=True, kw_only=True):
    """Of Coordinate.ListNodes and Coordinate.Node."""

    coordinates: list[NodeCoordinate]
    meta: QueryMeta = QueryMeta()


class DatacenterMap(Record, frozen=True, kw_only=True):
    """The servers of one datacenter, as WAN gossip knows them; names without the datacenter."""

    datacenter: str
    area_id: str = "wan"
    coordinates: list[NodeCoordinate] = []


class DatacenterMapsReply(Record, frozen=True, kw_only=True):
    """RPC Coordinate.ListDatacenters."""

    maps: list[DatacenterMap]
