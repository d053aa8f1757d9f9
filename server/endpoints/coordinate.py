"""Coordinate.*: positions of nodes. Source: HTTP API, section 9; state store specification, section 3."""

from acl.access import node_read, node_write
from base.errors import Refused
from fsm.store import coordinate, indexes
from fsm.store.names import under
from fsm.store.tables import COORDINATES
from server.endpoints.registry import Call, Kind, Query, method
from structs.catalog import NodeRequest
from structs.cluster import Empty
from structs.coordinate import (
    DIMENSIONS,
    CoordinatesReply,
    CoordinateUpdateRequest,
    ListCoordinatesRequest,
    NodeCoordinate,
    is_finite,
)
from structs.registration import check_name

SEGMENTS_MAX = 64
"""Network segments in which one node has a position. Nothing of ours has more than one; whoever may write a node could
else fill the state with its positions."""


@method(
    "Coordinate.Update",
    request=CoordinateUpdateRequest,
    reply=Empty,
    access=node_write("update.node"),
    kind=Kind.WRITE,
)
async def update(call: Call, request: CoordinateUpdateRequest) -> Empty:
    """Where a node is now; written down with others a few seconds later."""
    wanted = request.update
    check_update(wanted)
    with call.services.machine.read() as view:
        segments = coordinate.segments_of_node(view, wanted.node)
    if len(segments) >= SEGMENTS_MAX and wanted.segment not in segments:
        raise Refused(f"node {wanted.node!r} has positions in {SEGMENTS_MAX} segments already")
    call.services.coordinates.add(wanted)
    return Empty()


def check_update(update: NodeCoordinate) -> None:
    """Raise Refused if this can't be where a node is; whether the node exists is found out later."""
    found = update.coordinate
    if found is None or not is_finite(found):
        raise Refused("invalid coordinate")
    if len(found.vec) != DIMENSIONS:
        raise Refused("incompatible coordinate")
    check_name("Node name", update.node)
    check_name("Segment", update.segment)


@method(
    "Coordinate.ListNodes",
    request=ListCoordinatesRequest,
    reply=CoordinatesReply,
    access=node_read(),
    kind=Kind.READ,
)
def list_nodes(query: Query, request: ListCoordinatesRequest) -> CoordinatesReply:
    """The positions of all nodes, by name and segment."""
    if query.watch_set is not None:
        query.watch_set.table(COORDINATES.name)
    meta = query.meta(indexes.of_tables(query.view, COORDINATES.name))
    return CoordinatesReply(coordinates=coordinate.every(query.view), meta=meta)


@method("Coordinate.Node", request=NodeRequest, reply=CoordinatesReply, access=node_read("node"), kind=Kind.READ)
def node(query: Query, request: NodeRequest) -> CoordinatesReply:
    """The positions of one node, by segment; none where it is unknown."""
    if query.watch_set is not None:
        query.watch_set.prefix(COORDINATES.name, under(request.node))
    meta = query.meta(indexes.of_tables(query.view, COORDINATES.name))
    return CoordinatesReply(coordinates=coordinate.of_node(query.view, request.node), meta=meta)
