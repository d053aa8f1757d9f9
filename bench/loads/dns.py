"""Asks one name server the same kind of question as fast as it answers, from a process of its own.

    python -m bench.loads.dns HOST:PORT NAME SECONDS WINDOW

Keeps WINDOW questions under way on one socket. Prints one JSON line: answers, wrong ones, lost ones, quantiles.
"""

import json
import select
import socket
import sys
import time

import dns.flags
import dns.message
import dns.rcode

from base.network import split_address

LOST_AFTER_S = 1.0
IDS = 1 << 16


def ask(host: str, port: int, name: str, seconds: float, window: int) -> dict[str, float]:
    """Drive the load; every answer's head is looked at, and one in a thousand is read whole."""
    question = dns.message.make_query(name, "A")
    wire = bytearray(question.to_wire())
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, port))
    sock.setblocking(False)
    waiting: dict[int, float] = {}
    took: list[float] = []
    wrong = lost = number = 0
    began_s = time.perf_counter()
    ends_s = began_s + seconds
    while True:
        now_s = time.perf_counter()
        while now_s < ends_s and len(waiting) < window:
            number = (number + 1) % IDS
            wire[0:2] = number.to_bytes(2, "big")
            waiting[number] = time.perf_counter()
            sock.send(wire)
        if now_s >= ends_s and not waiting:
            break
        if not select.select([sock], [], [], 0.1)[0]:
            late = [each for each, sent_s in waiting.items() if now_s - sent_s > LOST_AFTER_S]
            lost += len(late)
            for each in late:
                del waiting[each]
            continue
        while True:
            try:
                answer = sock.recv(4096)
            except BlockingIOError:
                break
            sent_s = waiting.pop(int.from_bytes(answer[:2], "big"), None)
            if sent_s is None:
                continue
            took.append(time.perf_counter() - sent_s)
            wrong += answer[3] & 0x0F != dns.rcode.NOERROR or answer[6:8] == b"\0\0"
            if len(took) % 1000 == 1:
                wrong += not dns.message.from_wire(answer).answer
    took.sort()
    return {
        "answers": len(took),
        "duration_s": ends_s - began_s,
        "wrong": wrong,
        "lost": lost,
        "p50_ms": took[len(took) // 2] * 1e3 if took else -1.0,
        "p99_ms": took[len(took) * 99 // 100] * 1e3 if took else -1.0,
    }


def main() -> None:
    """Command line."""
    host, port = split_address(sys.argv[1])
    print(json.dumps(ask(host, port, sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))), flush=True)


if __name__ == "__main__":
    main()
