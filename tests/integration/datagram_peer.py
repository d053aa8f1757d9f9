"""A program for network_story.py: a node that knows only datagrams.

    python -m tests.integration.datagram_peer echo HOST:PORT               send everything back, until killed
    python -m tests.integration.datagram_peer probe HOST:PORT HOST:PORT    from the first to the second, COUNT times

A probe says as one line of JSON how many came back, and after how many seconds the first one did at the soonest.
"""

import json
import socket
import sys
import time

COUNT = 40
PATIENCE_S = 1.0
"""How long answers are awaited after the last one."""


def bound(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(place(address))
    return sock


def place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def echo(sock: socket.socket) -> None:
    print("ready", flush=True)
    while True:
        data, source = sock.recvfrom(1000)
        sock.sendto(data, source)


def probe(sock: socket.socket, target: tuple[str, int]) -> None:
    sent_s = {}
    for number in range(COUNT):
        sent_s[number] = time.perf_counter()
        sock.sendto(bytes([number]), target)
    took_s: list[float] = []
    sock.settimeout(PATIENCE_S)
    try:
        while len(took_s) < COUNT:
            data, _ = sock.recvfrom(1000)
            took_s.append(time.perf_counter() - sent_s[data[0]])
    except TimeoutError:
        pass
    print(json.dumps({"answers": len(took_s), "soonest_s": min(took_s, default=None)}))


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(bound(sys.argv[2]))
    else:
        probe(bound(sys.argv[2]), place(sys.argv[3]))
