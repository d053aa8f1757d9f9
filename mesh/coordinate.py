"""Where nodes are in the network."""

from collections.abc import Sequence
from typing import Any

from mesh.call import Call, Noun, World, method, nothing, plain_call, read_call, write_call
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.rows import ListOf, Shape, checked, text_map
from structs.coordinate import Coordinate, DatacenterMap, NodeCoordinate

POSITION = Shape(Coordinate, Vec="vec", Error="error", Adjustment="adjustment", Height="height")
NODE_POSITION = Shape(NodeCoordinate, Node="node", Segment="segment", Coord=("coordinate", POSITION))
MAP = Shape(
    DatacenterMap, Datacenter="datacenter", AreaID="area_id", Coordinates=("coordinates", ListOf(NODE_POSITION))
)


class Coordinates(Noun[World]):
    """`client.coordinate`."""

    @method
    def datacenters(self) -> Call[list[DatacenterMap]]:
        """Return where the servers of each datacenter are, in the pool of all servers."""
        return plain_call("/v1/coordinate/datacenters", _maps)

    @method
    def nodes(self, read: Read = DEFAULT_READ) -> Call[Answer[Sequence[NodeCoordinate]]]:
        """Return where the nodes of a datacenter are."""
        return read_call("/v1/coordinate/nodes", NODE_POSITION.rows, read)

    @method
    def node(self, name: str, read: Read = DEFAULT_READ) -> Call[Answer[Sequence[NodeCoordinate]]]:
        """Return where one node is, a row a segment; nothing where that is not known."""
        return read_call(f"/v1/coordinate/node/{name}", NODE_POSITION.rows, read, missing=True)

    @method
    def update(self, row: NodeCoordinate) -> Call[None]:
        """Say where a node is; it counts some seconds later."""
        position = row.coordinate or Coordinate()
        coord = {
            "Vec": position.vec,
            "Error": position.error,
            "Adjustment": position.adjustment,
            "Height": position.height,
        }
        value = {"Node": row.node, "Segment": row.segment, "Coord": coord}
        return write_call("/v1/coordinate/update", nothing, value=value)


def _maps(value: Any) -> list[DatacenterMap]:
    return [MAP.read({"AreaID": "", **text_map(row)}) for row in checked(value, list)]
