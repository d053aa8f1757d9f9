"""/v1/coordinate: HTTP <-> Coordinate.* calls. Source: HTTP API, section 9."""

from collections.abc import Awaitable, Callable

import msgspec

from acl.access import NOBODY, node_read, node_write
from agent.http.asking import ask, tell
from agent.http.parameters import Query, checked_name
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response, meta_headers, text_response
from base.errors import InvalidRequest, Refused
from structs.catalog import NodeRequest
from structs.cluster import Empty
from structs.coordinate import (
    Coordinate,
    CoordinatesReply,
    CoordinateUpdateRequest,
    DatacenterMapsReply,
    ListCoordinatesRequest,
    NodeCoordinate,
)
from structs.json_codec import Fields, decode_json
from structs.query import QueryOptions

DISABLED_TEXT = "Coordinate support disabled"


class CoordinateJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A position as clients see it."""

    vec: list[float] = msgspec.field(name="Vec")
    error: float = msgspec.field(name="Error")
    adjustment: float = msgspec.field(name="Adjustment")
    height: float = msgspec.field(name="Height")


class NodeCoordinateJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The position of a node."""

    node: str = msgspec.field(name="Node")
    segment: str = msgspec.field(name="Segment")
    coordinate: CoordinateJSON | None = msgspec.field(name="Coord")


class DatacenterMapJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The servers of one datacenter."""

    datacenter: str = msgspec.field(name="Datacenter")
    area_id: str = msgspec.field(name="AreaID")
    coordinates: list[NodeCoordinateJSON] = msgspec.field(name="Coordinates")


def coordinate_json(coordinate: Coordinate | None) -> CoordinateJSON | None:
    """Return a position in its wire shape."""
    if coordinate is None:
        return None
    return CoordinateJSON(
        vec=[_number(value) for value in coordinate.vec],
        error=_number(coordinate.error),
        adjustment=_number(coordinate.adjustment),
        height=_number(coordinate.height),
    )


def _number(value: float) -> float:
    """Return what is written as Go writes it: without a fraction where there is none."""
    return int(value) if value.is_integer() else value


def _row_json(row: NodeCoordinate) -> NodeCoordinateJSON:
    return NodeCoordinateJSON(node=row.node, segment=row.segment, coordinate=coordinate_json(row.coordinate))


Handler = Callable[[RequestContext], Response | Awaitable[Response]]


def _if_enabled(handler: Handler) -> Handler:
    """Return the handler with a refusal before it for agents without coordinates."""

    def checked(context: RequestContext) -> Response | Awaitable[Response]:
        if not context.agent.coordinates_enabled:
            return text_response(401, DISABLED_TEXT)
        return handler(context)

    checked.__doc__ = handler.__doc__
    return checked


def _in_segment(rows: list[NodeCoordinate], query: Query) -> list[NodeCoordinateJSON]:
    """Return the rows of the wanted segment, all where none is named."""
    wanted = query.get("segment") if query.has("segment") else None
    return [_row_json(row) for row in rows if wanted is None or row.segment == wanted]


@route("/v1/coordinate/datacenters", "GET", access=NOBODY, is_write=False)
@_if_enabled
def datacenters(context: RequestContext) -> Response | Awaitable[Response]:
    """Return where the servers of each datacenter are, as the pool of all servers knows them."""

    def finish(reply: DatacenterMapsReply) -> Response:
        return json_response(
            [
                DatacenterMapJSON(
                    datacenter=each.datacenter,
                    area_id=each.area_id,
                    coordinates=[_row_json(row) for row in each.coordinates],
                )
                for each in reply.maps
            ]
        )

    return tell(context, "Coordinate.ListDatacenters", Empty(), DatacenterMapsReply, finish)


@route("/v1/coordinate/nodes", "GET", access=node_read(), is_write=False)
@_if_enabled
def nodes(context: RequestContext) -> Response | Awaitable[Response]:
    """Return where the nodes of a datacenter are. `segment`: only these. Blocking; consistency modes."""
    query = context.query

    def build(options: QueryOptions) -> ListCoordinatesRequest:
        return ListCoordinatesRequest(options=options)

    def finish(reply: CoordinatesReply) -> Response:
        return json_response(_in_segment(reply.coordinates, query), headers=meta_headers(reply.meta))

    return ask(context, "Coordinate.ListNodes", build, CoordinatesReply, finish)


@route("/v1/coordinate/node/", "GET", access=node_read("node"), is_write=False)
@_if_enabled
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return where one node is, a row a segment. `segment`: only this. Blocking; consistency modes. 404 if unknown."""
    query = context.query
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    def finish(reply: CoordinatesReply) -> Response:
        rows = _in_segment(reply.coordinates, query)
        headers = meta_headers(reply.meta)
        return json_response(rows, headers=headers) if rows else Response(404, headers=headers)

    return ask(context, "Coordinate.Node", build, CoordinatesReply, finish)


@route("/v1/coordinate/update", "PUT", access=node_write("update.node"), is_write=True)
@_if_enabled
def update(context: RequestContext) -> Response | Awaitable[Response]:
    """Say where a node is: `{"Node", "Segment", "Coord": {"Vec", "Error", "Adjustment", "Height"}}`.

    It counts within some seconds: positions are gathered before they are written.
    """
    row = parse_update(context.body)
    if row.coordinate is None:
        raise Refused("invalid coordinate")
    request = CoordinateUpdateRequest(update=row, options=context.write_options())
    return tell(context, "Coordinate.Update", request, Empty, lambda _: Response(200))


def parse_update(body: bytes) -> NodeCoordinate:
    """Return the position in a body; raises InvalidRequest."""
    try:
        fields = Fields(decode_json(body), "update")
        raw = fields.get("Coord")
        coordinate = None
        if raw is not None:
            inner = Fields(raw, "Coord")
            coordinate = Coordinate(
                vec=inner.numbers("Vec"),
                error=inner.number("Error"),
                adjustment=inner.number("Adjustment"),
                height=inner.number("Height"),
            )
        return NodeCoordinate(node=fields.text("Node"), segment=fields.text("Segment"), coordinate=coordinate)
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error
