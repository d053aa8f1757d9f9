"""Reads of many rows, with and without a wait: made in a thread, once for all who ask, and only where needed."""

import threading
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from server import reads
from server.endpoints.registry import METHODS
from structs.catalog import ChecksInStateRequest, ListNodesRequest, ListServicesRequest, NodeDumpRequest, ServiceRequest
from structs.query import Consistency, QueryOptions
from tests.fakes.server_parts import ServerParts, server_parts
from tests.unit.server.test_catalog import check, register
from tests.unit.server.test_health import WEB

LONG: list[tuple[str, Any]] = [
    ("Catalog.ListNodes", ListNodesRequest()),
    ("Catalog.ListServices", ListServicesRequest(node_meta={"rack": "1"})),
    ("Catalog.ListServices", ListServicesRequest(filter="ServicePort != 1")),
    ("Catalog.ServiceNodes", ServiceRequest(service="web")),
    ("Health.ServiceNodes", ServiceRequest(service="web")),
    ("Health.ServiceChecks", ServiceRequest(service="web")),
    ("Health.ChecksInState", ChecksInStateRequest(state="any")),
    ("Internal.NodeDump", NodeDumpRequest()),
    ("Internal.ServiceSummary", NodeDumpRequest()),
]
IDS = [f"{method}-{number}" for number, (method, _) in enumerate(LONG)]


class Made:
    """Where and how often a method's handler ran; holds it up in its thread if told so."""

    def __init__(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._handler = METHODS[method].handler
        self.threads: list[int] = []
        self.held: threading.Event | None = None
        monkeypatch.setitem(METHODS, method, with_fields(METHODS[method], handler=self._run))

    def _run(self, query: Any, request: Any) -> Any:
        self.threads.append(threading.get_ident())
        reply = self._handler(query, request)
        if self.held is not None:
            assert self.held.wait(60)
        return reply

    async def until(self, count: int) -> None:
        """Wait until it was called so often."""
        while len(self.threads) < count:
            await trio.sleep(0.001)


@pytest.fixture(autouse=True)
def everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise thousands of rows would be needed."""
    monkeypatch.setattr(reads, "ROWS_INLINE_MAX", 0)


def waiting(request: Any, index: int, mode: Consistency = Consistency.DEFAULT) -> Any:
    return replace(request, options=QueryOptions(index_min=index, wait_s=60.0, consistency=mode))


async def fill(parts: ServerParts) -> None:
    await register(parts, "n", service=WEB, checks=[check("c", service_id="web1")], node_meta={"rack": "1"})


async def change(parts: ServerParts, number: int = 1) -> None:
    await register(parts, "n", address=f"10.0.0.{number}", service=replace(WEB, port=1000 + number),
                   checks=[replace(check("c", service_id="web1"), output=str(number))],
                   node_meta={"rack": "1", "change": str(number)})  # fmt: skip


@pytest.mark.parametrize(("method", "request_"), LONG, ids=IDS)
async def test_it_is_made_in_a_thread_and_then_kept(
    method: str, request_: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_parts(tmp_path) as parts:
        await fill(parts)
        made = Made(method, monkeypatch)
        first = await parts.ask(method, request_)
        assert await parts.ask(method, request_) == first
        assert len(made.threads) == 1
        assert made.threads[0] != threading.get_ident()


@pytest.mark.parametrize("mode", list(Consistency))
@pytest.mark.parametrize(("method", "request_"), LONG, ids=IDS)
async def test_watchers_are_woken_by_a_change_with_one_answer_made_in_a_thread(
    method: str, request_: Any, mode: Consistency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_parts(tmp_path) as parts:
        await fill(parts)
        index = (await parts.ask(method, request_)).meta.index
        made = Made(method, monkeypatch)
        replies: list[Any] = []

        async def watch() -> None:
            replies.append(await parts.ask(method, waiting(request_, index, mode)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            assert not made.threads, "what is known not to have changed is not made"
            await change(parts)
        assert len({id(reply) for reply in replies}) == 1
        assert replies[0].meta.index > index
        assert len(made.threads) == 1
        assert made.threads[0] != threading.get_ident()
        assert len(parts.machine.watches) == 0


async def test_a_change_while_the_answer_is_made_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server_parts(tmp_path) as parts:
        await register(parts, "other")
        await fill(parts)
        request = ServiceRequest(service="web")
        made = Made("Health.ServiceNodes", monkeypatch)
        made.held = threading.Event()
        replies: list[Any] = []

        async def ask(index: int) -> None:
            replies.append(await parts.ask("Health.ServiceNodes", waiting(request, index)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 1)
            await made.until(1)
            await change(parts)
            made.held.set()
        assert replies[0].instances[0].service.port == 80
        with trio.fail_after(50):  # less than it would wait for a change
            await ask(replies[0].meta.index)
        assert replies[1].instances[0].service.port == 1001


async def test_who_asked_about_an_index_that_is_not_reached_goes_on_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_parts(tmp_path) as parts:
        await fill(parts)
        made = Made("Internal.NodeDump", monkeypatch)
        replies: list[Any] = []

        async def watch() -> None:
            replies.append(await parts.ask("Internal.NodeDump", waiting(NodeDumpRequest(), 4)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            number = 0
            while not replies:
                number += 1
                await change(parts, number)
                await trio.testing.wait_all_tasks_blocked()
                assert len(parts.machine.watches) <= 1
        assert replies[0].meta.index > 4
        assert len(made.threads) <= 1


async def test_cancelling_who_waits_for_a_long_read_frees_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_parts(tmp_path) as parts:
        await fill(parts)
        made = Made("Internal.NodeDump", monkeypatch)
        made.held = threading.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(reads.THREADS_MAX + 3):
                nursery.start_soon(parts.ask, "Internal.NodeDump", NodeDumpRequest())
            await made.until(reads.THREADS_MAX)
            nursery.cancel_scope.cancel()
            made.held.set()
        assert len(made.threads) == reads.THREADS_MAX
        made.held = None
        assert (await parts.ask("Internal.NodeDump", NodeDumpRequest())).nodes
