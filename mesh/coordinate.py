"""Where nodes are in the network."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mesh.query import DEFAULT_READ, Answer, Read
from structs.coordinate import Coordinate, DatacenterMap, NodeCoordinate

if TYPE_CHECKING:
    from mesh.client import Client


class Coordinates:
    """`client.coordinate`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def datacenters(self) -> list[DatacenterMap]:
        """Return where the servers of each datacenter are, in the pool of all servers."""
        rows = self._client.read("/v1/coordinate/datacenters").value.json() or []
        return [
            DatacenterMap(
                datacenter=row["Datacenter"],
                area_id=row.get("AreaID") or "",
                coordinates=[_row(each) for each in row.get("Coordinates") or []],
            )
            for row in rows
        ]

    def nodes(self, read: Read = DEFAULT_READ) -> Answer[Sequence[NodeCoordinate]]:
        """Return where the nodes of a datacenter are."""
        answer = self._client.read("/v1/coordinate/nodes", read)
        return answer.with_value([_row(row) for row in answer.value.json() or []])

    def node(self, name: str, read: Read = DEFAULT_READ) -> Answer[Sequence[NodeCoordinate]]:
        """Return where one node is, a row a segment; nothing where that is not known."""
        answer = self._client.read(f"/v1/coordinate/node/{name}", read, accept=404)
        rows = answer.value.json() or [] if answer.value.status == 200 else []
        return answer.with_value([_row(row) for row in rows])

    def update(self, row: NodeCoordinate) -> None:
        """Say where a node is; it counts some seconds later."""
        position = row.coordinate or Coordinate()
        body = {
            "Node": row.node,
            "Segment": row.segment,
            "Coord": {
                "Vec": position.vec,
                "Error": position.error,
                "Adjustment": position.adjustment,
                "Height": position.height,
            },
        }
        self._client.write("PUT", "/v1/coordinate/update", body=json.dumps(body).encode())


def _row(row: Mapping[str, Any]) -> NodeCoordinate:
    position = row.get("Coord")
    return NodeCoordinate(
        node=row["Node"],
        segment=row.get("Segment") or "",
        coordinate=None
        if position is None
        else Coordinate(
            vec=[float(value) for value in position.get("Vec") or []],
            error=position.get("Error") or 0.0,
            adjustment=position.get("Adjustment") or 0.0,
            height=position.get("Height") or 0.0,
        ),
    )
