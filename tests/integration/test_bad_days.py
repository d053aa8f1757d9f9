"""Bad days of real processes: each ends in a clear error, and nothing that was acknowledged is lost."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import trio

from jepsen.cluster import Cluster, Node
from jepsen.digests import wait_equal_digests
from jepsen.http_client import HTTPConnection, NotAnswered, NotSent
from server.raft.journal_format import (
    BATCH_MAGIC,
    SECTOR_BYTES,
    decode_batch_header,
    decode_segment_header,
    encode_batch,
)
from tests.integration.load import Outcome, classify

CONVERGE_S = 20.0
FIRST_SEGMENT = f"log-{1:020d}.seg"
SHORT_HOLD = ("-hcl", 'performance { rpc_hold_timeout = "1s" }')


def lone_server(folder: Path, name: str = "server-1", *options: str) -> Node:
    return Node(program="mesh-server", name=name, folder=folder / name, options=["-bootstrap-expect", "1", *options])


async def wait_writable(node: Node, key: str = "probe", timeout_s: float = 20.0) -> None:
    """Wait until a write through this node is acknowledged."""
    with trio.fail_after(timeout_s):
        while True:
            try:
                if (await node.request("PUT", f"/v1/kv/{key}", b"x")).status == 200:
                    return
            except (NotSent, NotAnswered):
                pass  # it is still starting
            await trio.sleep(0.02)


async def write_some(node: Node, count: int, prefix: str = "kept", value_bytes: int = 100) -> None:
    async with HTTPConnection(node.http_address) as connection:
        for number in range(count):
            reply = await connection.request("PUT", f"/v1/kv/{prefix}/{number}", b"v" * value_bytes)
            assert reply.status == 200, (reply.status, reply.body)


async def keys_under(node: Node, prefix: str, mode: str = "consistent") -> list[str]:
    reply = await node.request("GET", f"/v1/kv/{prefix}/?keys&{mode}")
    return list(reply.json()) if reply.status == 200 else []


async def refusal_of(node: Node) -> str:
    """Start a node that must not come up; return what it said. It has to end by itself, with a code above 0."""
    node.start()
    code = await node.wait_exit()
    assert code > 0, f"ended with {code}\n{node.log_tail()}"
    assert "Traceback" not in node.log_text(), node.log_tail()
    return node.log_text()


async def test_a_second_server_on_the_same_data_directory_is_refused(tmp_path: Path) -> None:
    first, second = lone_server(tmp_path), lone_server(tmp_path, "server-2")
    second.data_dir = first.data_dir
    try:
        first.start()
        await wait_writable(first)
        said = await refusal_of(second)
        assert str(first.data_dir) in said
        assert "another" in said
        await wait_writable(first)
    finally:
        first.close()
        second.close()


async def test_a_second_server_with_the_same_node_id_is_refused(tmp_path: Path) -> None:
    """It may be one whose old name is about to fail, so it goes on trying; but it takes nobody's place."""
    async with Cluster(tmp_path, servers=3, agents=0) as cluster:
        first = cluster.servers[0]
        twin = Node(program="mesh-server", name="twin", folder=tmp_path / "twin", options=first.options)
        twin.data_dir.mkdir(parents=True)
        node_id = (first.data_dir / "node-id").read_text(encoding="utf-8").strip()
        (twin.data_dir / "node-id").write_text(node_id, encoding="utf-8")
        try:
            twin.start()
            await twin.wait_log(f"has conflicting node ID '{node_id}' with this agent's ID")
            await cluster.leader()
            rows = (await first.request("GET", "/v1/operator/raft/configuration")).json()["Servers"]
            assert {row["Address"] for row in rows} == {server.rpc_address for server in cluster.servers}
            assert "twin" not in [row["Name"] for row in (await first.request("GET", "/v1/agent/members")).json()]
            await wait_writable(await cluster.leader())
            reply = await twin.request("PUT", "/v1/kv/by-the-twin", b"x")
            assert classify(reply) is Outcome.FAILED
        finally:
            twin.close()
        await wait_writable(await cluster.wait_ready())


async def test_servers_that_expect_different_numbers_never_bootstrap(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, servers=3, agents=0, options=["-log-level", "info", *SHORT_HOLD])
    cluster.servers[2].options[-1] = "2"
    try:
        cluster.start()
        await cluster.servers[0].wait_log("expect")
        for server in cluster.servers:
            await server.wait_answering()
            reply = await server.request("PUT", "/v1/kv/probe", b"x")
            assert reply.status == 500
            assert classify(reply) is Outcome.FAILED
            assert (await server.request("GET", "/v1/status/peers")).json() == []
    finally:
        cluster.close()


@pytest.mark.parametrize("port", ["http", "rpc"])
async def test_a_port_in_use_is_named_when_the_start_fails(tmp_path: Path, port: str) -> None:
    server = lone_server(tmp_path)
    address = server.http_address if port == "http" else server.rpc_address
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, _, number = address.partition(":")
        taken.bind((host, int(number)))
        taken.listen()
        try:
            said = await refusal_of(server)
        finally:
            server.close()
    assert address in said
    assert "in use" in said


@pytest.mark.parametrize("place", ["journal.before_sync", "journal.before_write"])
async def test_a_failing_disk_stops_the_server_and_the_others_go_on(tmp_path: Path, place: str) -> None:
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        await write_some(cluster.agents[0], 20)
        leader = await cluster.wait_ready()
        victim = next(server for server in cluster.servers if server is not leader)
        await victim.stop()
        victim.start(environment={"MESH_FAILPOINTS": f"{place}=raise@20"})
        await cluster.wait_ready()
        await write_some(cluster.agents[0], 100, prefix="during")
        assert await victim.wait_exit() > 0
        assert place in victim.log_text()
        await wait_writable(cluster.agents[0])
        victim.start()
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)
        assert len(await keys_under(victim, "kept", "stale")) == 20
        assert len(await keys_under(victim, "during", "stale")) == 100


async def test_a_failing_disk_of_the_leader_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        leader = await cluster.wait_ready()
        await leader.stop()
        leader = await cluster.leader()
        await cluster.wait_ready()
        others = [server for server in cluster.servers if server is not leader]
        for server in others:
            if not server.running:
                server.start()
        await cluster.wait_ready()
        acknowledged = []
        async with HTTPConnection(cluster.agents[0].http_address) as connection:
            for number in range(60):
                if number == 30:
                    leader.kill()
                    leader.start(environment={"MESH_FAILPOINTS": "journal.before_sync=raise@10"})
                try:
                    reply = await connection.request("PUT", f"/v1/kv/kept/{number}", b"v")
                except (NotSent, NotAnswered):
                    continue
                if classify(reply) is Outcome.OK:
                    acknowledged.append(f"kept/{number}")
        if leader.running:
            leader.kill()
        leader.start()
        await cluster.wait_ready()
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)
        for server in cluster.servers:
            assert set(acknowledged) <= set(await keys_under(server, "kept", "stale"))
        assert len(acknowledged) > 30


def last_segment(server: Node) -> Path:
    return sorted((server.data_dir / "raft").glob("log-*.seg"))[-1]


def next_batch(content: bytes) -> bytes:
    """Three sectors that could follow the segment's last batch, as its server would have written them."""
    salt = decode_segment_header(content[:SECTOR_BYTES], "the segment").salt
    last = decode_batch_header(content, content.rindex(BATCH_MAGIC), salt)
    assert last is not None
    assert last.end == len(content)
    return encode_batch(
        bytes([1]) * 2 * SECTOR_BYTES,
        sequence=last.sequence + 1,
        commit_index=last.commit_index,
        records_count=1,
        salt=salt,
    )


@pytest.mark.parametrize("kept_bytes", [7, SECTOR_BYTES, 3 * SECTOR_BYTES - 7])
async def test_a_torn_last_record_is_cut_off_and_the_server_catches_up(tmp_path: Path, kept_bytes: int) -> None:
    """The crash came in the middle of the next write: its first part stands behind the last whole batch."""
    async with Cluster(tmp_path, servers=3, agents=0) as cluster:
        leader = await cluster.wait_ready()
        await write_some(leader, 50)
        victim = next(server for server in cluster.servers if server is not leader)
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)
        victim.kill()
        segment = last_segment(victim)
        content = segment.read_bytes().rstrip(b"\0")
        segment.write_bytes(content + next_batch(content)[:kept_bytes])
        victim.start()
        await cluster.wait_ready()
        await write_some(leader, 10, prefix="after")
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)
        assert "torn" in victim.log_text()
        assert len(await keys_under(victim, "kept", "stale")) == 50


async def test_a_flipped_byte_in_the_middle_refuses_to_start_naming_file_and_place(tmp_path: Path) -> None:
    server = lone_server(tmp_path)
    try:
        server.start()
        await wait_writable(server)
        await write_some(server, 50)
        server.kill()
        segment = last_segment(server)
        content = bytearray(segment.read_bytes())
        # In the value of a key: padding between batches may change, nothing reads it.
        position = bytes(content).index(b"v" * 100, len(bytes(content).rstrip(b"\0")) // 2)
        content[position] ^= 0x10
        segment.write_bytes(content)
        said = await refusal_of(server)
        assert segment.name in said
        assert "offset" in said or "byte" in said
        content[position] ^= 0x10
        segment.write_bytes(content)
        server.start()
        await wait_writable(server)
        assert len(await keys_under(server, "kept")) == 50
    finally:
        server.close()


async def test_a_missing_snapshot_refuses_to_start_instead_of_beginning_empty(tmp_path: Path) -> None:
    server = lone_server(
        tmp_path,
        "server-1",
        "-hcl",
        'raft_snapshot_threshold = 64 raft_trailing_logs = 16 raft_snapshot_interval = "1s"',
    )
    try:
        server.start()
        await wait_writable(server)
        raft = server.data_dir / "raft"
        with trio.fail_after(120.0):
            while (raft / FIRST_SEGMENT).exists():  # until the log does not reach back to its beginning any more
                await write_some(server, 40, value_bytes=500_000)
        await server.stop()
        server.start()
        await wait_writable(server)
        assert len(await keys_under(server, "kept")) == 40
        server.kill()
        shutil.rmtree(raft / "snapshots")
        said = await refusal_of(server)
        assert "snapshot" in said
    finally:
        server.close()


GARBAGE = {
    "noise": bytes(range(256)) * 64,
    "zeros": b"\0" * 4096,
    "rpc with a huge length": b"\x10" + b"\xff\xff\xff\xff" + b"x" * 64,
    "rpc with half a frame": b"\x10" + b"\x00\x00\x00\x10" + b"\x94\x01",
    "rpc with noise": b"\x10" + b"\x00\x00\x00\x08" + b"\xc1" * 8,
    "raft link with a huge length": b"\x11" + b"\xff\xff\xff\xff" + b"x" * 64,
    "raft link with noise": b"\x11" + b"\x00\x00\x00\x08" + b"\xc1" * 8,
    "tls without a handshake": b"\x03" + b"x" * 64,
    "an http request": b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "an endless head": b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 70_000,
    "a huge length": b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
    "a chunk of a terabyte": b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nx",
    "two lengths": b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
}


async def test_garbage_on_any_port_leaves_the_healthy_client_working(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        pids = [node.pid for node in cluster.nodes]
        addresses = [node.http_address for node in cluster.nodes] + [node.rpc_address for node in cluster.servers]
        for data in GARBAGE.values():
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    nursery.start_soon(_send_garbage, address, data)
            await write_some(cluster.agents[0], 1)
        assert [node.pid for node in cluster.nodes if node.running] == pids
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)
        for node in cluster.nodes:
            assert "Traceback" not in node.log_text(), node.log_tail()


async def _send_garbage(address: str, data: bytes) -> None:
    """Send, and wait a moment for an answer; whatever happens to this connection is allowed."""
    host, _, port = address.partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    with trio.move_on_after(0.2):
        try:
            await stream.send_all(data)
            await stream.receive_some(4096)
        except trio.BrokenResourceError:
            pass  # closed by the server, as it may
    stream.socket.close()


async def test_writes_without_a_majority_are_refused_within_the_hold_time(tmp_path: Path) -> None:
    options = ["-log-level", "info", *SHORT_HOLD]
    async with Cluster(tmp_path, servers=3, agents=1, options=options) as cluster:
        await write_some(cluster.agents[0], 5)
        leader = await cluster.wait_ready()
        survivor, second = (server for server in cluster.servers if server is not leader)
        leader.kill()
        second.kill()
        for node in (survivor, cluster.agents[0]):
            with trio.fail_after(30.0):
                while True:
                    reply = await node.request("PUT", "/v1/kv/lost", b"x")
                    if reply.status == 500 and b"No cluster leader" in reply.body:
                        break
                    await trio.sleep(0.05)
            assert classify(reply) is Outcome.FAILED
            with trio.fail_after(10.0):
                while True:  # a server knows a leader until it was silent for as long as an election waits
                    stale = await node.request("GET", "/v1/kv/kept/1?stale")
                    assert stale.status == 200
                    if stale.headers["x-consul-knownleader"] == "false":
                        break
                    await trio.sleep(0.05)
            default = await node.request("GET", "/v1/kv/kept/1")
            assert default.status == 500
        leader.start()
        second.start()
        await cluster.wait_ready()
        assert (await cluster.agents[0].request("GET", "/v1/kv/lost")).status == 404


async def test_calls_to_a_leader_that_stands_still_end_when_the_others_have_a_new_one(tmp_path: Path) -> None:
    """A stopped process keeps its connections; without a doubt, calls wait for its sign of life for ten seconds."""
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        await write_some(cluster.agents[0], 5)
        leader = await cluster.wait_ready()
        asking = [node for node in cluster.nodes if node is not leader]

        async def write(node: Node) -> None:
            assert classify(await node.request("PUT", "/v1/kv/kept/1", b"x")) is not Outcome.FAILED

        async def read(node: Node) -> None:
            assert (await node.request("GET", "/v1/kv/kept/1")).status == 200, "it is sent on to the new leader"

        for node in asking:
            assert (await node.request("GET", "/v1/kv/kept/1")).status == 200  # each has its connection
        leader.pause()
        with trio.fail_after(9.0):
            async with trio.open_nursery() as nursery:
                for node in asking:
                    nursery.start_soon(write, node)
                    nursery.start_soon(read, node)
        leader.resume()


async def test_an_agent_without_servers_says_so(tmp_path: Path) -> None:
    nowhere = lone_server(tmp_path, "nowhere")
    agent = Node(
        program="mesh-agent",
        name="agent-1",
        folder=tmp_path / "agent-1",
        options=["-retry-join", nowhere.rpc_address, *SHORT_HOLD],
    )
    try:
        agent.start()
        await agent.wait_answering()
        reply = await agent.request("PUT", "/v1/kv/a", b"x")
        assert reply.status == 500
        assert b"No known Consul servers" in reply.body
        assert classify(reply) is Outcome.FAILED
    finally:
        agent.close()
        nowhere.close()


async def test_a_bad_configuration_is_refused_with_file_and_key(tmp_path: Path) -> None:
    config = tmp_path / "bad.json"
    config.write_text(json.dumps({"ports": {"htttp": 1}}), encoding="utf-8")
    server = lone_server(tmp_path, "server-1", "-config-file", str(config))
    try:
        said = await refusal_of(server)
    finally:
        server.close()
    assert "bad.json" in said
    assert "htttp" in said


async def test_a_server_that_lost_its_disk_joins_again_as_a_new_one(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        await write_some(cluster.agents[0], 50)
        leader = await cluster.wait_ready()
        victim = next(server for server in cluster.servers if server is not leader)
        old_id = (victim.data_dir / "node-id").read_text(encoding="utf-8").strip()
        victim.kill()
        victim.wipe()
        victim.start()
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)
        assert len(await keys_under(victim, "kept", "stale")) == 50
        assert (victim.data_dir / "node-id").read_text(encoding="utf-8").strip() != old_id
