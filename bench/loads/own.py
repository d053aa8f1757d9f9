"""A load generator of our own, for machines without wrk: many keep-alive connections on one epoll loop.

Run as `python -m bench.loads.own ADDRESS CONNECTIONS SECONDS METHOD QUERY KEYS_COUNT VALUE_BYTES`, or with a FILE of
requests (see requests.lua) instead of the last four. It uses more CPU than wrk does, so rates are lower on a small
machine; CPU-µs per operation do not count it.
"""

import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Seat:
    """One connection: the request under way and what came back of its answer."""

    connection: socket.socket
    sent_at_s: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def requests_of(method: str, query: str, keys_count: int, value_bytes: int, host: str) -> list[bytes]:
    """Every request of the load, ready to send; they are taken in turn."""
    suffix = f"?{query}" if query else ""
    body = b"v" * value_bytes if method == "PUT" else b""
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    return [
        f"{method} /v1/kv/bench/{number}{suffix} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode() + body
        for number in range(keys_count)
    ]


class RequestFile:
    """The requests of a file in turn, without end, "{pass}" in bodies filled in. Like an endless list."""

    def __init__(self, path: str, host: str) -> None:
        with open(path, encoding="utf-8") as file:
            self._rows = [line.rstrip("\n").split("\t", 2) for line in file]
        self._host = host

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, turn: int) -> bytes:
        method, path, body = self._rows[turn % len(self._rows)]
        data = body.replace("{pass}", str(turn // len(self._rows))).encode()
        length = f"Content-Length: {len(data)}\r\n" if data else ""
        return f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{length}\r\n".encode() + data


def answered(received: bytearray) -> bool | None:
    """Whether a whole answer is there and it is 2xx; None while it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = CONTENT_LENGTH.search(received, 0, end + 2)
    size = int(found.group(1)) if found else 0
    if len(received) < end + 4 + size:
        return None
    return received[9:10] == b"2"


def run(address: str, connections: int, seconds: float, requests: "list[bytes] | RequestFile") -> dict[str, float]:
    """Drive the load and return its result as `LoadResult` has it."""
    host, _, port = address.rpartition(":")
    selector = selectors.DefaultSelector()
    turn = failed = 0
    latencies_s: list[float] = []

    def send_next(seat: Seat) -> None:
        nonlocal turn
        turn += 1
        seat.received.clear()
        seat.sent_at_s = time.perf_counter()
        seat.connection.sendall(requests[turn % len(requests)])

    began_s = time.perf_counter()
    for _ in range(connections):
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seat = Seat(connection)
        selector.register(connection, selectors.EVENT_READ, seat)
        send_next(seat)
    ends_s = began_s + seconds
    while time.perf_counter() < ends_s and selector.get_map():
        for key, _events in selector.select(timeout=0.1):
            seat = key.data
            data = seat.connection.recv(65536)
            if not data:
                failed += 1
                selector.unregister(seat.connection)
                seat.connection.close()
                continue
            seat.received += data
            good = answered(seat.received)
            if good is None:
                continue
            latencies_s.append(time.perf_counter() - seat.sent_at_s)
            failed += not good
            send_next(seat)
    duration_s = time.perf_counter() - began_s
    latencies_s.sort()

    def quantile_ms(share: float) -> float:
        return latencies_s[min(len(latencies_s) - 1, int(len(latencies_s) * share))] * 1e3 if latencies_s else 0.0

    return {
        "requests": len(latencies_s),
        "duration_s": duration_s,
        "failed": failed,
        "p50_ms": quantile_ms(0.5),
        "p99_ms": quantile_ms(0.99),
        "max_ms": quantile_ms(1.0),
    }


def main() -> None:
    address, connections, seconds, *what = sys.argv[1:]
    if len(what) == 1:
        requests: list[bytes] | RequestFile = RequestFile(what[0], address)
    else:
        method, query, keys_count, value_bytes = what
        requests = requests_of(method, query, int(keys_count), int(value_bytes), address)
    print("RESULT", json.dumps(run(address, int(connections), float(seconds), requests)))


if __name__ == "__main__":
    main()
