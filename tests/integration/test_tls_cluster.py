"""Servers and an agent that trust certificates alone, set up as operators do it: `mesh tls` and one block of HCL."""

import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from jepsen.cluster import Cluster, ProcessFailed

PATIENCE_S = 20.0
MESH = Path(sys.executable).parent / "mesh"


def certificates(folder: Path, *datacenters: str) -> Path:
    """A CA, and certificates of a server and a client of each datacenter, made by the commands of the documentation."""
    folder.mkdir()
    made = [
        ["cert", "create", role, f"-dc={name}"] for name in datacenters or ["dc1"] for role in ("-server", "-client")
    ]
    for words in (["ca", "create"], *made):
        subprocess.run([MESH, "tls", *words], cwd=folder, check=True, capture_output=True)
    return folder


def block(folder: Path, role: str, *, datacenter: str = "dc1") -> list[str]:
    """The options that make a node show the certificate of `role` and believe nobody without one."""
    return [
        "-hcl",
        f"""
        ca_file = "{folder / "consul-agent-ca.pem"}"
        cert_file = "{folder / f"{datacenter}-{role}-consul-0.pem"}"
        key_file = "{folder / f"{datacenter}-{role}-consul-0-key.pem"}"
        verify_incoming = true
        verify_outgoing = true
        verify_server_hostname = true
        """,
    ]


def tls_cluster(folder: Path, *, roles: tuple[str, str, str] = ("server", "server", "server")) -> Cluster:
    """Three servers that show certificates of these roles, and an agent."""
    made = certificates(folder / "tls")
    cluster = Cluster(folder, servers=3, agents=1)
    for server, role in zip(cluster.servers, roles, strict=True):
        server.options += block(made, role)
    cluster.agents[0].options += block(made, "client")
    return cluster


async def first_answer(address: str, data: bytes) -> bytes:
    """What a server says to `data` before it closes the connection."""
    host, _, port = address.rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        with trio.fail_after(PATIENCE_S):
            try:
                await stream.send_all(data)
                return bytes(await stream.receive_some(64))
            except trio.BrokenResourceError:
                return b""


async def test_writes_and_elections_work_over_mutual_tls_and_plaintext_does_not(tmp_path: Path) -> None:
    async with tls_cluster(tmp_path) as cluster:
        agent = cluster.agents[0]
        assert (await agent.request("PUT", "/v1/kv/a", b"1")).body == b"true"
        leader = await cluster.leader()
        for first_byte in (0, 4, 5, 16, 17):
            assert await first_answer(leader.rpc_address, bytes([first_byte]) + b"\0" * 64) == b""
        leader.kill()
        with trio.fail_after(PATIENCE_S):
            while (await agent.request("PUT", "/v1/kv/b", b"2")).body != b"true":
                await trio.sleep(0.05)
        assert (await agent.request("GET", "/v1/kv/a?raw&consistent")).body == b"1"


async def test_an_agents_certificate_opens_no_raft_link(tmp_path: Path) -> None:
    async with tls_cluster(tmp_path) as cluster:
        folder = tmp_path / "tls"
        context = ssl.create_default_context(cafile=str(folder / "consul-agent-ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(folder / "dc1-client-consul-0.pem", folder / "dc1-client-consul-0-key.pem")
        host, _, port = cluster.servers[0].rpc_address.rpartition(":")
        plain = await trio.open_tcp_stream(host, int(port))
        await plain.send_all(b"\x03")
        stream = trio.SSLStream(plain, context, https_compatible=True)
        with trio.fail_after(PATIENCE_S):
            await stream.send_all(b"\x11" + b"\0" * 16)
            with suppress(trio.BrokenResourceError):  # cut off without a word: as good as an empty answer
                assert await stream.receive_some(64) == b""
            await trio.aclose_forcefully(stream)
        assert (await cluster.agents[0].request("PUT", "/v1/kv/a", b"1")).body == b"true"


async def test_a_server_with_an_agents_certificate_takes_no_part(tmp_path: Path) -> None:
    cluster = tls_cluster(tmp_path, roles=("server", "server", "client"))
    try:
        cluster.start()
        for server in cluster.servers:
            await server.wait_answering()
        with pytest.raises(ProcessFailed, match="no leader"):
            await cluster.wait_ready(timeout_s=4.0)
    finally:
        cluster.close()
