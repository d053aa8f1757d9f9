"""Positions that nobody has: they must neither fill the state nor spoil the answers about those that are real.

Weakness class: state that grows by a field of the request that nobody checks.
"""

from pathlib import Path

import pytest

from agent.http.coordinate import coordinate_json, parse_update
from base.errors import MeshError, Refused
from fsm.commands.registry import COORDINATES, encode_command
from server.endpoints.coordinate import SEGMENTS_MAX, check_update
from structs.catalog import RegisterCommand, RegisterRequest
from structs.coordinate import Coordinate, CoordinateBatch, CoordinateUpdateRequest, NodeCoordinate
from structs.json_codec import encode_json
from tests.fakes.server_parts import server_parts


def place(segment: str) -> NodeCoordinate:
    return NodeCoordinate(node="a", segment=segment, coordinate=Coordinate())


async def test_a_node_has_positions_in_a_bounded_number_of_segments(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await parts.ask("Catalog.Register", RegisterRequest(command=RegisterCommand(node="a", address="10.0.0.1")))
        batch = CoordinateBatch(updates=[place(f"s{number}") for number in range(SEGMENTS_MAX)])
        await parts.raft.propose(encode_command(COORDINATES, batch), timeout_s=1.0)
        await parts.ask("Coordinate.Update", CoordinateUpdateRequest(update=place("s5")))
        with pytest.raises(Refused, match="segments already"):
            await parts.ask("Coordinate.Update", CoordinateUpdateRequest(update=place("one more")))


@pytest.mark.parametrize("number", ["1e300", "-1e300", "1e18", "12345678901234567890123", "1e999", "NaN", "Infinity"])
def test_every_position_that_is_taken_can_be_shown(number: str) -> None:
    body = '{"Node":"a","Coord":{"Vec":[X,0,0,0,0,0,0,0],"Error":1.5,"Height":X}}'.replace("X", number)
    try:
        update = parse_update(body.encode())
        check_update(update)
    except MeshError:
        return
    assert encode_json(coordinate_json(update.coordinate))
