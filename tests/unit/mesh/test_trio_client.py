"""The client for trio: what it repeats, what its errors mean, and where it connects to."""

import socket
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio

from base.errors import InvalidRequest, MeshError, NoLeader, OutcomeUnknown, TooLarge, Unreachable
from mesh import trio_client, trio_transport
from mesh.address import TLSFiles
from mesh.query import Read
from mesh.trio_client import TrioClient
from mesh.watch import watch_key_in_trio
from tests.fakes.certificates_of_test import authority as certificate_authority
from tests.fakes.certificates_of_test import server_files
from tests.fakes.http_agent import Told, fake_agent, script_of

NO_LEADER = Told(status=500, body=b"No cluster leader")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_client, "PAUSE_S", 0.001)


async def test_what_certainly_did_not_happen_is_repeated_and_nothing_else_of_writes() -> None:
    with fake_agent(script_of(NO_LEADER, NO_LEADER, Told(body=b"true"))) as agent:
        async with TrioClient(agent.address, environment={}) as client:
            assert await client.kv.cas("a", b"1", 0)
        assert len(agent.asked) == 3
    with fake_agent(script_of(Told(hang_up=True), Told(body=b"true"))) as agent:
        async with TrioClient(agent.address, environment={}) as client:
            with pytest.raises(OutcomeUnknown):
                await client.kv.put("a", b"1")
        assert agent.asked[0].method == "PUT"
        assert [asked.method for asked in agent.asked].count("PUT") == 1


async def test_a_read_is_repeated_after_anything() -> None:
    with fake_agent(script_of(Told(hang_up=True), Told(cut=True, body=b"["), Told(body=b'["k"]'))) as agent:
        async with TrioClient(agent.address, environment={}) as client:
            assert await client.kv.keys("") == ["k"]
        assert len(agent.asked) == 3


async def test_where_nobody_listens_nothing_happened() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with TrioClient(f"127.0.0.1:{taken.getsockname()[1]}", environment={}) as client:
            with pytest.raises(Unreachable):
                await client.kv.put("a", b"")


async def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_transport, "ANSWER_BYTES_MAX", 10)
    with fake_agent(script_of(Told(body=b'["long enough"]'))) as agent:
        async with TrioClient(agent.address, environment={}) as client:
            with pytest.raises(TooLarge):
                await client.kv.keys("")


async def test_token_datacenter_and_path_are_sent() -> None:
    with fake_agent(script_of(Told(body=b"[]"))) as agent:
        async with TrioClient(agent.address, environment={"CONSUL_HTTP_TOKEN": "t"}, datacenter="dc2") as client:
            await client.kv.keys("a b/ü")
        (asked,) = agent.asked
        assert asked.path == "/v1/kv/a%20b/%C3%BC?dc=dc2&keys="
        assert asked.headers["x-consul-token"] == "t"
        assert asked.headers["accept-encoding"] == "identity"


async def test_a_unix_socket_is_an_address_too(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    served = trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n["a"]')

    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [served])
        async with TrioClient(f"unix://{path}", environment={}) as client:
            assert await client.kv.keys("") == ["a"]
        nursery.cancel_scope.cancel()


async def test_over_tls_the_agent_must_have_the_name_that_is_expected() -> None:
    files, (_, authority) = server_files(), certificate_authority("consul")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(files.certificate), str(files.key))

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some(65536)
            await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n["a"]')
        except trio.BrokenResourceError:
            return  # the client did not like our name

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1"))
        address = f"https://127.0.0.1:{listeners[0].transport_listener.socket.getsockname()[1]}"
        for name, found in (("server.dc1.consul", True), ("another.example", False)):
            tls = TLSFiles(ca_file=str(authority.certificate), server_name=name)
            async with TrioClient(address, environment={}, tls=tls, attempts_max=1) as client:
                if found:
                    assert await client.kv.keys("") == ["a"]
                else:
                    with pytest.raises(Unreachable):
                        await client.kv.keys("")
        nursery.cancel_scope.cancel()


async def test_tls_files_that_cannot_be_read_are_the_callers_mistake() -> None:
    async with TrioClient("https://127.0.0.1:1", environment={}, tls=TLSFiles(ca_file="/nonexistent")) as client:
        with pytest.raises(InvalidRequest):
            await client.kv.get("a")


async def test_a_closed_client_says_so_and_its_watches_end() -> None:
    with fake_agent(script_of(NO_LEADER)) as agent:
        client = TrioClient(agent.address, environment={})
        watched = watch_key_in_trio(client, "k", Read(wait_s=1))
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                assert [answer async for answer in watched] == []

            nursery.start_soon(drain)
            while not agent.asked:
                await trio.sleep(0.005)
            await client.close()
        with pytest.raises(Unreachable):
            await client.kv.get("a")


async def test_errors_of_an_agent_are_those_of_the_other_client() -> None:
    with fake_agent(script_of(Told(status=500, body=b"odd", headers={"X-Mesh-Outcome": "unknown"}))) as agent:
        async with TrioClient(agent.address, environment={}) as client:
            with pytest.raises(MeshError) as raised:
                await client.kv.put("a", b"")
    assert not raised.value.definite
    assert not isinstance(raised.value, NoLeader)
