"""Probes one member's gossip port as another member would, from a process of its own, and says how long answers took.

    python -m bench.loads.probe HOST:PORT NAME SECONDS

Prints one JSON line: answers, how many came later than half a second or never, and quantiles in milliseconds.
"""

import json
import select
import socket
import sys
import time

from base.network import split_address
from gossip.messages import Ack, Ping, Type, decode, encode
from gossip.packets import open_packet, split

INTERVAL_S = 0.02
LATE_S = 0.5
"""What a prober of the LAN waits for a direct answer."""
LINGER_S = 5.0
POLL_S = 0.001


def probe(host: str, port: int, name: str, seconds: float) -> dict[str, float]:
    """Ping every INTERVAL_S and wait LINGER_S for the last answers."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    began_s = time.perf_counter()
    sent: dict[int, float] = {}
    took: list[float] = []
    count = 0
    next_s = began_s
    while True:
        now_s = time.perf_counter()
        if now_s >= began_s + seconds + LINGER_S or (now_s >= began_s + seconds and not sent):
            break
        if next_s <= now_s < began_s + seconds:
            count += 1
            sent[count] = now_s
            sock.sendto(encode(Ping(sequence=count, node=name)), (host, port))
            next_s += INTERVAL_S
        if not select.select([sock], [], [], POLL_S)[0]:
            continue
        for part in split(open_packet(sock.recv(65536), None)):
            answer = decode(part) if part[0] == Type.ACK else None
            if isinstance(answer, Ack) and answer.sequence in sent:
                took.append(time.perf_counter() - sent.pop(answer.sequence))
    took.sort()
    late_count = sum(each > LATE_S for each in took) + len(sent)
    return {
        "pings": count,
        "late": late_count,
        "lost": len(sent),
        "p50_ms": round(took[len(took) // 2] * 1e3, 2) if took else -1.0,
        "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 2) if took else -1.0,
        "max_ms": round(took[-1] * 1e3, 2) if took else -1.0,
    }


def main() -> None:
    """Command line."""
    host, port = split_address(sys.argv[1])
    print(json.dumps(probe(host, port, sys.argv[2], float(sys.argv[3]))), flush=True)


if __name__ == "__main__":
    main()
