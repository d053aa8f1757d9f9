"""CVE-2021-37219: any agent's certificate could speak Raft and call what is meant for servers only."""

import pytest

from base.errors import PermissionDenied, Unreachable
from base.network import RealNetwork
from rpc.tls import TLSContexts, make_contexts
from tests.fakes.certificates_of_test import client_files, server_files, tls_config
from tests.fakes.rpc_pair import TIMEOUT_S, running_pair


def mutual(*, agent: bool) -> TLSContexts | None:
    files = client_files() if agent else server_files()
    return make_contexts(tls_config(files, verify_incoming=True, verify_server_hostname=True))


async def test_an_agent_may_not_open_a_raft_link() -> None:
    async with running_pair(server_tls=mutual(agent=False), client_tls=mutual(agent=True)) as pair:
        link = await pair.pool.open_link(pair.address, 17)
        try:
            answer = await link.receive_some(1)
        except Unreachable:
            answer = b""
        assert answer == b""
        assert not pair.served.raft
        link.close_now()


async def test_a_server_may() -> None:
    async with running_pair(server_tls=mutual(agent=False), client_tls=mutual(agent=False)) as pair:
        link = await pair.pool.open_link(pair.address, 17)
        await link.send_all(b"x")
        assert await link.receive_some(1) == b"x"
        assert len(pair.served.raft) == 1
        link.close_now()


@pytest.mark.parametrize("agent", [True, False])
async def test_methods_for_servers_only_are_closed_to_agents(agent: bool) -> None:
    names = {"echo", "download"}
    async with running_pair(server_tls=mutual(agent=False), client_tls=mutual(agent=agent), server_only=names) as pair:
        assert await pair.call("later", b"x") == b"x"
        if not agent:
            assert await pair.call("echo", b"x") == b"x"
            return
        with pytest.raises(PermissionDenied):
            await pair.call("echo", b"x")
        async with pair.pool.stream(pair.address, "download", b"1") as stream:
            with pytest.raises(PermissionDenied):
                await stream.receive_chunk()


@pytest.mark.parametrize("first_byte", [16, 17, 0, 1, 4, 255])
async def test_plaintext_is_closed_where_identity_is_required(first_byte: int) -> None:
    async with running_pair(server_tls=mutual(agent=False)) as pair:
        host, _, port = pair.address.rpartition(":")
        stream = await RealNetwork().dial(host, int(port), TIMEOUT_S)
        await stream.send_all(bytes([first_byte]))
        try:
            answer = await stream.receive_some(10)
        except Unreachable:
            answer = b""
        assert answer == b""
        stream.close_now()
