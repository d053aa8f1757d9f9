"""Thousands of blocking queries on one view, woken by one write."""

import re
import selectors
import socket
import time
from dataclasses import dataclass

import trio

from jepsen.http_client import fetch

PARKED_AFTER_S = 3.0
"""After the last query was sent, before the write: time for every query to reach its server and wait there."""
WAKE_TIMEOUT_S = 60.0
DIAL_BATCH = 100
"""Connections opened before pausing, so that the listener's backlog does not overflow."""


@dataclass(frozen=True)
class Woken:
    """Seconds from the moment the write was sent to the first and to the last complete answer."""

    first_s: float
    last_s: float


async def time_last_woken(address: str, key: str, count: int) -> Woken:
    """Park `count` queries on `key` at `address`, write it once, and time the answers."""
    await fetch(address, "PUT", f"/v1/kv/{key}", b"before")
    return await time_view(address, f"/v1/kv/{key}", f"/v1/kv/{key}", b"after", count)


async def time_view(address: str, view: str, changed_by: str, body: bytes, count: int) -> Woken:
    """Park `count` queries on the path `view` at `address`, PUT `body` to `changed_by` once, and time the answers."""
    index = (await fetch(address, "GET", view)).index
    host, _, port = address.rpartition(":")
    joint = "&" if "?" in view else "?"
    query = f"GET {view}{joint}index={index}&wait=5m HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    try:
        for number in range(count):
            connection = socket.create_connection((host, int(port)))
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.send(query)
            if number % DIAL_BATCH == 0:
                await trio.sleep(0.01)
        await trio.sleep(PARKED_AFTER_S)
        early = selector.select(timeout=0)
        assert not early, f"{len(early)} of {count} queries were answered before the write"
        async with trio.open_nursery() as nursery:
            began_s = time.perf_counter()
            nursery.start_soon(fetch, address, "PUT", changed_by, body)
            first_s, last_s = await trio.to_thread.run_sync(_await_answers, selector, count)
        return Woken(first_s=first_s - began_s, last_s=last_s - began_s)
    finally:
        for item in list(selector.get_map().values()):
            assert isinstance(item.fileobj, socket.socket)
            item.fileobj.close()
        selector.close()


def _await_answers(selector: selectors.BaseSelector, count: int) -> tuple[float, float]:
    """Read until every query is answered whole; return the clock at the first and at the last of them."""
    first_s = last_s = 0.0
    ends_s = time.perf_counter() + WAKE_TIMEOUT_S
    waiting = count
    while waiting and time.perf_counter() < ends_s:
        for item, _events in selector.select(timeout=0.5):
            assert isinstance(item.fileobj, socket.socket)
            data = item.fileobj.recv(65536)
            assert data, "the agent closed a watching connection"
            item.data.extend(data)
            if not _is_whole(item.data):
                continue
            last_s = time.perf_counter()
            first_s = first_s or last_s
            waiting -= 1
            selector.unregister(item.fileobj)
            item.fileobj.close()
    assert waiting == 0, f"{waiting} of {count} queries were never answered"
    return first_s, last_s


def _is_whole(received: bytearray) -> bool:
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    found = re.search(rb"\r\ncontent-length: *(\d+)", received[: end + 2], re.IGNORECASE)
    return len(received) >= end + 4 + int(found.group(1) if found else 0)
