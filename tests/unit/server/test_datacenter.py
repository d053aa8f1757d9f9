"""Catalog.ListDatacenters and Coordinate.ListDatacenters: what a server says of the WAN."""

from pathlib import Path

from structs.cluster import Empty
from structs.coordinate import Coordinate
from tests.fakes.gossip import FakeGossip, FakeNetwork
from tests.fakes.members import server
from tests.fakes.server_parts import server_parts


def at(seconds: float) -> Coordinate:
    return Coordinate(vec=[seconds] + [0.0] * 7, height=0.0)


async def test_without_a_wan_there_is_the_own_datacenter_and_no_position(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        assert (await parts.ask("Catalog.ListDatacenters", Empty())).datacenters == ["dc1"]
        maps = (await parts.ask("Coordinate.ListDatacenters", Empty())).maps
        assert [(each.datacenter, each.coordinates) for each in maps] == [("dc1", [])]


async def test_datacenters_come_by_their_distance_and_servers_with_their_positions(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        network = FakeNetwork()
        parts.services.wan = FakeGossip(server("s1.dc1"), network)
        for name, datacenter in (
            ("s1.far", "far"),
            ("s1.near", "near"),
            ("s2.near", "near"),
            ("s1.unknown", "unknown"),
        ):
            network.show(server(name, dc=datacenter))
        network.coordinates = {"s1.dc1": at(0.0), "s1.far": at(0.3), "s1.near": at(0.1), "s2.near": at(0.2)}
        parts.router.update(parts.services.wan.members())
        listed = await parts.ask("Catalog.ListDatacenters", Empty())
        assert listed.datacenters == ["dc1", "near", "far", "unknown"]
        maps = (await parts.ask("Coordinate.ListDatacenters", Empty())).maps
        assert {each.datacenter: [row.node for row in each.coordinates] for each in maps} == {
            "dc1": ["s1"],
            "far": ["s1"],
            "near": ["s1", "s2"],
            "unknown": [],
        }
        assert maps[0].coordinates[0].coordinate == at(0.0), "our own"
        assert {each.area_id for each in maps} == {"wan"}
