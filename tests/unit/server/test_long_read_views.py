"""Reads that a thread does: how many views they hold, and what becomes of them when the state is replaced."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from fsm.store.store import Store
from server import reads
from server.endpoints.registry import METHODS, Query
from structs.catalog import ListNodesReply, ListNodesRequest
from structs.query import Consistency, QueryOptions
from tests.fakes.server_parts import ServerParts, server_parts
from tests.unit.server.test_catalog import register

NODES_COUNT = 6
CALLS_COUNT = 40


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Every read of all nodes is long, and waits in its thread until this is set."""
    opened = threading.Event()
    row = METHODS["Catalog.ListNodes"]
    handler: Callable[[Query, Any], Any] = row.handler

    def slow(query: Query, request: Any) -> Any:
        assert opened.wait(60)
        return handler(query, request)

    monkeypatch.setitem(METHODS, "Catalog.ListNodes", dataclasses.replace(row, handler=slow))
    monkeypatch.setattr(reads, "ROWS_INLINE_MAX", 1)
    return opened


async def with_nodes(parts: ServerParts) -> None:
    for number in range(NODES_COUNT):
        await register(parts, f"n{number}")


async def names(parts: ServerParts, found: list[list[str]], mode: Consistency) -> None:
    reply = await parts.ask("Catalog.ListNodes", ListNodesRequest(options=QueryOptions(consistency=mode)))
    assert isinstance(reply, ListNodesReply)
    found.append([node.node for node in reply.nodes])


async def test_a_long_read_that_waits_for_its_turn_holds_no_view(tmp_path: Path, gate: threading.Event) -> None:
    async with server_parts(tmp_path) as parts:
        await with_nodes(parts)
        found: list[list[str]] = []
        async with trio.open_nursery() as nursery:
            for number in range(CALLS_COUNT):
                mode = list(Consistency)[number % len(Consistency)]
                nursery.start_soon(names, parts, found, mode)
            await trio.testing.wait_all_tasks_blocked(0.01)
            open_count = len(parts.machine.store.views_open)
            gate.set()
        assert open_count <= reads.THREADS_MAX
        assert found == [[f"n{number}" for number in range(NODES_COUNT)]] * CALLS_COUNT
        assert not parts.machine.store.views_open


async def test_a_long_read_goes_on_in_the_state_that_was_replaced_under_it(
    tmp_path: Path, gate: threading.Event
) -> None:
    async with server_parts(tmp_path) as parts:
        await with_nodes(parts)
        found: list[list[str]] = []
        old = parts.machine.store
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names, parts, found, Consistency.DEFAULT)
            await trio.testing.wait_all_tasks_blocked(0.01)
            parts.machine.replace_store(Store.create(tmp_path / "installed"))
            gate.set()
        assert found == [[f"n{number}" for number in range(NODES_COUNT)]]
        assert not old.views_open
        await names(parts, found, Consistency.DEFAULT)
        assert found[1] == []
