"""Positions in the network (Vivaldi): records, requests and the logged command.

Source: gossip specification, section 9; HTTP API, section 9; RPC wire format, section 5.
"""

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
