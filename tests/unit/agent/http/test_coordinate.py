"""/v1/coordinate: what the server is asked, and agents that have nothing to do with positions."""

import pytest

from structs.catalog import NodeRequest
from structs.coordinate import Coordinate, CoordinateUpdateRequest, NodeCoordinate
from structs.query import Consistency, QueryOptions, WriteOptions
from tests.fakes.http_server import http_site

TARGETS = [
    ("GET", "/v1/coordinate/datacenters"),
    ("GET", "/v1/coordinate/nodes"),
    ("GET", "/v1/coordinate/node/n1"),
    ("PUT", "/v1/coordinate/update"),
]


@pytest.mark.parametrize(("method", "target"), TARGETS)
async def test_an_agent_without_coordinates_says_so(method: str, target: str) -> None:
    async with http_site() as site:
        site.agent.coordinates_enabled = False
        status, _, body = await site.ask(method, target, b"{}" if method == "PUT" else b"")
        assert (status, body) == (401, b"Coordinate support disabled")
        assert site.delegate.calls == []


async def test_an_update_carries_every_field() -> None:
    async with http_site() as site:
        body = (
            b'{"Node":"n1","Segment":"alpha","Coord":{"Vec":[1,0,0,0,0,0,0,-0.5],"Error":1.25,"Adjustment":-1e-3,'
            b'"Height":0.01}}'
        )
        assert (await site.ask("PUT", "/v1/coordinate/update?token=t", body))[0] == 200
        coordinate = Coordinate(vec=[1, 0, 0, 0, 0, 0, 0, -0.5], error=1.25, adjustment=-1e-3, height=0.01)
        assert site.delegate.calls == [
            (
                "Coordinate.Update",
                CoordinateUpdateRequest(
                    update=NodeCoordinate(node="n1", segment="alpha", coordinate=coordinate),
                    options=WriteOptions(token="t"),
                ),
            )
        ]


async def test_reads_carry_their_mode() -> None:
    async with http_site() as site:
        await site.ask("GET", "/v1/coordinate/node/n1?stale&segment=x")
        options = QueryOptions(consistency=Consistency.STALE)
        assert site.delegate.calls == [("Coordinate.Node", NodeRequest(node="n1", options=options))]
