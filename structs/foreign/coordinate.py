"""Coordinate.*: positions in the network. Source: RPC wire format, sections 5 and 9."""

from structs.cluster import Empty
from structs.coordinate import (
    Coordinate,
    CoordinatesReply,
    CoordinateUpdateRequest,
    DatacenterMap,
    DatacenterMapsReply,
    ListCoordinatesRequest,
    NodeCoordinate,
)
from structs.foreign.catalog import NODE_REQUEST, NODE_SOURCE_PARTS
from structs.foreign.fields import NUMBER, TEXT, Field, Flat, Shape, Table, filled, list_of, optional
from structs.foreign.options import NOTHING, QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod

COORDINATE = Table(
    Coordinate,
    Field("Vec", "vec", filled(list_of(NUMBER), list)),
    Field("Error", "error", NUMBER),
    Field("Adjustment", "adjustment", NUMBER),
    Field("Height", "height", NUMBER),
)
NODE_COORDINATE = Table(
    NodeCoordinate,
    Field("Node", "node", TEXT),
    Field("Segment", "segment", TEXT),
    Field("Coord", "coordinate", optional(COORDINATE.shape)),
)
COORDINATES = filled(list_of(NODE_COORDINATE.shape), list)
UPDATE = Table(CoordinateUpdateRequest, Flat("options", WRITE_OPTIONS), Flat("update", NODE_COORDINATE))
LIST = Table(ListCoordinatesRequest, *NODE_SOURCE_PARTS, Flat("options", QUERY_OPTIONS))
REPLY = Table(CoordinatesReply, Field("Coordinates", "coordinates", COORDINATES), Flat("meta", QUERY_META))
DATACENTER_MAP = Table(
    DatacenterMap,
    Field("Datacenter", "datacenter", TEXT),
    Field("AreaID", "area_id", TEXT),
    Field("Coordinates", "coordinates", COORDINATES),
)
_MAPS = filled(list_of(DATACENTER_MAP.shape), list)
MAPS = Shape(
    lambda value: DatacenterMapsReply(maps=_MAPS.decode(value)),
    lambda reply: [DATACENTER_MAP.encode(each) for each in reply.maps],
)

ROWS = (
    ForeignMethod(name="Coordinate.Update", method="Coordinate.Update", request=UPDATE, reply=NOTHING.shape,
                  reply_record=Empty),
    ForeignMethod(name="Coordinate.ListNodes", method="Coordinate.ListNodes", request=LIST, reply=REPLY.shape,
                  reply_record=CoordinatesReply),
    ForeignMethod(name="Coordinate.Node", method="Coordinate.Node", request=NODE_REQUEST, reply=REPLY.shape,
                  reply_record=CoordinatesReply),
    ForeignMethod(name="Coordinate.ListDatacenters", method="Coordinate.ListDatacenters", request=NOTHING, reply=MAPS,
                  reply_record=DatacenterMapsReply, has_datacenter=False),
)  # fmt: skip
