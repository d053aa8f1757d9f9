"""Coordinate.* and the leader's writer of positions; Operator.Autopilot*."""

import math
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from base.codec import decode
from base.errors import InvalidRequest, NoLeader, Refused, TooLarge
from server.coordinate_batches import BATCH_COUNT_MAX, COLLECTED_MAX, CoordinateCollector
from server.leader.coordinates import PERIOD_S, CoordinateDuty
from structs.autopilot import AutopilotConfig, AutopilotGetRequest, AutopilotSetRequest
from structs.catalog import NodeRequest, RegisterCommand, RegisterRequest
from structs.coordinate import (
    Coordinate,
    CoordinateBatch,
    CoordinateUpdateRequest,
    ListCoordinatesRequest,
    NodeCoordinate,
)
from structs.query import QueryOptions
from tests.fakes.server_parts import ServerParts, server_parts


def place(node: str, x: float = 0.0, *, segment: str = "") -> NodeCoordinate:
    return NodeCoordinate(node=node, segment=segment, coordinate=Coordinate(vec=[x] + [0.0] * 7))


async def update(parts: ServerParts, update: NodeCoordinate) -> None:
    await parts.ask("Coordinate.Update", CoordinateUpdateRequest(update=update))


async def test_positions_are_written_down_together_after_a_period(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        for node in "ab":
            await parts.ask("Catalog.Register", RegisterRequest(command=RegisterCommand(node=node, address="10.0.0.1")))
        parts.services.coordinates.add(place("b", 9.0))  # of an earlier term
        nursery.start_soon(CoordinateDuty(parts.raft, parts.services.coordinates).run)
        await trio.testing.wait_all_tasks_blocked()
        before = len(parts.raft.proposed)
        for found in (place("a", 1.0), place("unknown"), place("a", 2.0), place("a", 3.0, segment="s")):
            await update(parts, found)
        await trio.sleep(PERIOD_S / 2)
        assert len(parts.raft.proposed) == before
        await trio.sleep(PERIOD_S)
        (command,) = parts.raft.proposed[before:]
        assert decode(CoordinateBatch, command[1:]).updates == [
            place("a", 2.0),
            place("unknown"),
            place("a", 3.0, segment="s"),
        ]
        everywhere = await parts.ask("Coordinate.ListNodes", ListCoordinatesRequest())
        assert everywhere.coordinates == [place("a", 2.0), place("a", 3.0, segment="s")]
        assert everywhere.meta.index == parts.machine.index_applied
        assert (await parts.ask("Coordinate.Node", NodeRequest(node="A"))).coordinates == everywhere.coordinates
        assert (await parts.ask("Coordinate.Node", NodeRequest(node="b"))).coordinates == []
        await trio.sleep(PERIOD_S * 3)
        assert len(parts.raft.proposed) == before + 1, "nothing was collected, nothing may be logged"
        nursery.cancel_scope.cancel()


async def test_losing_the_leadership_does_not_stop_the_writer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        nursery.start_soon(CoordinateDuty(parts.raft, parts.services.coordinates).run)
        await trio.testing.wait_all_tasks_blocked()
        parts.raft.fail_next = NoLeader()
        await update(parts, place("a"))
        await trio.sleep(PERIOD_S + 1)
        await update(parts, place("a"))
        await trio.sleep(PERIOD_S + 1)
        assert len(parts.raft.proposed) == 1
        nursery.cancel_scope.cancel()


def test_what_does_not_fit_is_dropped_and_the_newest_of_a_node_wins() -> None:
    collector = CoordinateCollector()
    for number in range(COLLECTED_MAX + 7):
        collector.add(place(f"n{number}"))
    collector.add(place("n0", 5.0))
    batches, dropped_count = collector.take()
    assert [len(batch.updates) for batch in batches] == [BATCH_COUNT_MAX] * 5
    assert dropped_count == 7
    assert batches[0].updates[0] == place("n0", 5.0)
    assert collector.take() == ([], 0)


@pytest.mark.parametrize(
    ("coordinate", "text"),
    [
        (None, "invalid coordinate"),
        (Coordinate(vec=[math.nan] + [0.0] * 7), "invalid coordinate"),
        (Coordinate(vec=[math.inf]), "invalid coordinate"),
        (Coordinate(height=math.inf), "invalid coordinate"),
        (Coordinate(error=math.nan), "invalid coordinate"),
        (Coordinate(adjustment=-math.inf), "invalid coordinate"),
        (Coordinate(vec=[0.0] * 7), "incompatible coordinate"),
        (Coordinate(vec=[]), "incompatible coordinate"),
        (Coordinate(vec=[0.0] * 9), "incompatible coordinate"),
    ],
)
async def test_a_place_where_nobody_can_be_is_refused(tmp_path: Path, coordinate: Coordinate | None, text: str) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused) as caught:
            await update(parts, NodeCoordinate(node="n", coordinate=coordinate))
        assert str(caught.value) == text
        with pytest.raises(TooLarge):
            await update(parts, place("n" * 2_000))
        assert parts.services.coordinates.take() == ([], 0)


async def ask_config(parts: ServerParts, **options: Any) -> AutopilotConfig:
    reply = await parts.ask("Operator.AutopilotGetConfiguration", AutopilotGetRequest(options=QueryOptions(**options)))
    assert isinstance(reply, AutopilotConfig)
    return reply


async def set_config(parts: ServerParts, config: AutopilotConfig, *, cas: bool = False) -> bool:
    reply = await parts.ask("Operator.AutopilotSetConfiguration", AutopilotSetRequest(config=config, cas=cas))
    return bool(reply.ok)


async def test_autopilots_configuration_is_replaced_as_a_whole_and_compared_by_its_index(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused, match="autopilot config not initialized yet"):
            await ask_config(parts)
        assert not await set_config(parts, AutopilotConfig(), cas=True)
        assert await set_config(parts, AutopilotConfig(max_trailing_logs=9))
        first = await ask_config(parts)
        assert (first.max_trailing_logs, first.create_index, first.modify_index) == (9, 2, 2)
        assert not await set_config(parts, AutopilotConfig(modify_index=1), cas=True)
        assert await set_config(parts, AutopilotConfig(modify_index=2), cas=True)
        second = await ask_config(parts)
        assert (second.max_trailing_logs, second.create_index) == (250, 2)
        assert second.modify_index > 2
        with pytest.raises(InvalidRequest, match="does not block"):
            await ask_config(parts, index_min=5)


@pytest.mark.parametrize(
    "config",
    [
        AutopilotConfig(last_contact_threshold_ns=-1),
        AutopilotConfig(server_stabilization_time_ns=1 << 63),
        AutopilotConfig(max_trailing_logs=-1),
    ],
)
async def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, config: AutopilotConfig) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused):
            await set_config(parts, config)
        assert parts.raft.proposed == []
