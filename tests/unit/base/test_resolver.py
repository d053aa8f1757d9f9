"""Lookups of names that hang keep nobody from the threads that all share."""

import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from base.resolver import LOOKUPS_MAX, look_up_in_own_threads

LOOKUPS = LOOKUPS_MAX + 40
"""More than there are threads of either sort."""


@asynccontextmanager
async def hung_names(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[None, None]:
    """The system's resolver does not answer for names while the block lasts."""
    gate = threading.Event()
    real: Callable[..., Any] = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **more: Any) -> Any:
        flags = arguments[5] if len(arguments) > 5 else more.get("flags", 0)
        if flags & socket.AI_NUMERICHOST:
            return real(*arguments, **more)
        gate.wait()
        return real("127.0.0.1", 1)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        yield
    finally:
        gate.set()


async def test_lookups_that_hang_leave_the_shared_threads_free(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up_in_own_threads()
    try:
        async with hung_names(monkeypatch), trio.open_nursery() as nursery:
            for number in range(LOOKUPS):
                nursery.start_soon(trio.socket.getaddrinfo, f"name-{number}.example", 80)
            await trio.testing.wait_all_tasks_blocked(0.1)
            with trio.fail_after(20.0):
                assert await trio.to_thread.run_sync(lambda: "written") == "written"
            nursery.cancel_scope.cancel()
    finally:
        trio.socket.set_custom_hostname_resolver(None)


async def test_names_are_still_found() -> None:
    look_up_in_own_threads()
    try:
        found = await trio.socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert {row[4][0] for row in found} <= {"127.0.0.1", "::1"}
        assert (await trio.socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST))[0] == "127.0.0.1"
        with pytest.raises(socket.gaierror):
            await trio.socket.getaddrinfo("no-such-name.invalid.", 1)
    finally:
        trio.socket.set_custom_hostname_resolver(None)
