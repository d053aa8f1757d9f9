"""Monitors and streams of metrics, many at once: each takes memory, so the bound must hold for a burst as well."""

from pathlib import Path

import pytest
import trio

from agent.http.metrics import STREAMS_MAX
from agent.http.monitor import MONITORS_MAX
from jepsen.cluster import Cluster

MORE = 8
PATIENCE_S = 30.0


@pytest.mark.parametrize(
    ("path", "most"), [("/v1/agent/monitor", MONITORS_MAX), ("/v1/agent/metrics/stream", STREAMS_MAX)]
)
async def test_a_burst_of_streams_is_bounded_and_the_rest_is_told_so(tmp_path: Path, path: str, most: int) -> None:
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        host, _, port = cluster.servers[0].http_address.rpartition(":")
        streams = [await trio.open_tcp_stream(host, int(port)) for _ in range(most + MORE)]
        codes = []
        with trio.fail_after(PATIENCE_S):
            for stream in streams:
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            for stream in streams:
                head = b""
                while len(head) < len(b"HTTP/1.1 200"):
                    head += await stream.receive_some()
                codes.append(head.split()[1])
        for stream in streams:
            await stream.aclose()
        assert (codes.count(b"200"), codes.count(b"429")) == (most, MORE)
