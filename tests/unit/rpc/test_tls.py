"""TLS between pool and listener: who is let in, who is who, rotation, and the stream class."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from base.errors import ConfigInvalid, OutcomeUnknown, Unreachable
from base.network import RealNetwork
from rpc.caller import Role
from rpc.errors import PeerRefused
from rpc.pool import RPCPool
from rpc.tls import TLSConfig, TLSContexts, TLSStream, identify_peer, make_contexts
from tests.fakes.certificates_of_test import client_files, server_files, tls_config
from tests.fakes.rpc_pair import TIMEOUT_S, running_pair


def contexts(config: TLSConfig) -> TLSContexts:
    made = make_contexts(config)
    assert made is not None
    return made


def mutual(*, agent: bool = False) -> TLSContexts:
    return contexts(
        tls_config(
            client_files() if agent else server_files(),
            verify_incoming=True,
            verify_outgoing=True,
            verify_server_hostname=True,
        )
    )


@pytest.mark.parametrize(("agent", "role"), [(False, Role.SERVER), (True, Role.AGENT)])
async def test_the_certificate_tells_the_role(agent: bool, role: Role) -> None:
    async with running_pair(server_tls=mutual(), client_tls=mutual(agent=agent)) as pair:
        assert await pair.call("echo", b"x") == b"x"
        (caller,) = pair.served.callers
        assert caller.role is role
        assert caller.tls
        assert caller.may_act_as_server == (role is Role.SERVER)


@pytest.mark.parametrize(
    ("agent", "hostname", "incoming", "proves"),
    [
        (False, True, True, True),
        (False, False, True, True),
        (True, False, True, False),
        (True, False, False, True),  # nobody has to prove anything: any certificate of the CA will do
    ],
)
async def test_who_answers_proves_to_be_a_server_where_that_is_asked_for(
    agent: bool, hostname: bool, incoming: bool, proves: bool
) -> None:
    files = client_files() if agent else server_files()
    answering = contexts(tls_config(files, verify_incoming=incoming, verify_outgoing=True))
    asking = contexts(
        tls_config(server_files(), verify_incoming=incoming, verify_outgoing=True, verify_server_hostname=hostname)
    )
    async with running_pair(server_tls=answering, client_tls=asking) as pair:
        assert pair.pool.proves_server(pair.address) == (not incoming), "before anybody was dialled"
        assert await pair.call("echo", b"x") == b"x"
        assert pair.pool.proves_server(pair.address) == proves


async def test_without_tls_everybody_counts_as_what_he_says() -> None:
    async with running_pair() as pair:
        assert pair.pool.proves_server(pair.address)


async def test_calls_streams_and_large_bodies_work_over_tls() -> None:
    async with running_pair(server_tls=mutual(), client_tls=mutual()) as pair:
        body = bytes(range(256)) * 16384

        async def one() -> None:
            assert await pair.call("echo", body) == body

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one)
        async with pair.pool.stream(pair.address, "download", b"10") as stream:
            size = 0
            while chunk := await stream.receive_chunk():
                size += len(chunk)
        assert size == 10 * 2**20


async def test_without_verify_incoming_tls_and_plaintext_are_served_and_nobody_has_a_role() -> None:
    server_tls = contexts(tls_config(server_files()))
    for client_tls in (None, contexts(tls_config(None, verify_outgoing=True))):
        async with running_pair(server_tls=server_tls, client_tls=client_tls) as pair:
            assert await pair.call("echo", b"x") == b"x"
            (caller,) = pair.served.callers
            assert caller.role is None
            assert caller.tls == (client_tls is not None)
            assert caller.may_act_as_server


async def test_a_server_of_another_authority_is_not_believed() -> None:
    server_tls = contexts(tls_config(server_files(ca="other"), ca="other"))
    async with running_pair(server_tls=server_tls, client_tls=mutual()) as pair:
        with pytest.raises(Unreachable, match="certificate verify failed") as caught:
            await pair.call("echo", b"x")
        assert caught.value.definite


async def test_a_client_of_another_authority_is_not_let_in() -> None:
    client_tls = contexts(
        TLSConfig(
            ca_file=tls_config(None).ca_file,
            cert_file=str(client_files(ca="other").certificate),
            key_file=str(client_files(ca="other").key),
            verify_outgoing=True,
        )
    )
    async with running_pair(server_tls=mutual(), client_tls=client_tls) as pair:
        with pytest.raises((Unreachable, OutcomeUnknown)):
            await pair.call("echo", b"x")
        assert not pair.served.callers


async def test_a_server_without_tls_makes_the_dial_fail_definitely() -> None:
    async with running_pair(client_tls=mutual()) as pair:
        with pytest.raises(Unreachable):
            await pair.call("echo", b"x")


async def test_a_server_of_another_datacenter_must_show_the_certificate_of_that_one() -> None:
    there = contexts(tls_config(server_files(datacenter="dc2"), verify_incoming=True, verify_outgoing=True))
    async with running_pair(server_tls=there) as pair, trio.open_nursery() as nursery:
        for datacenter, refused in (("dc2", ""), ("dc3", "Hostname mismatch"), ("", "Hostname mismatch")):
            pool = RPCPool(RealNetwork(), tls=mutual(), datacenter_of={pair.address: datacenter}.__getitem__)
            await nursery.start(pool.run)
            call = partial(pool.call, pair.address, "echo", b"x", timeout_s=TIMEOUT_S)
            if refused:
                with pytest.raises(Unreachable, match=refused):
                    await call()
            else:
                assert await call() == b"x"
                assert pool.proves_server(pair.address)
        nursery.cancel_scope.cancel()


async def test_a_server_of_another_datacenter_fails_the_hostname_check_only_where_it_is_on() -> None:
    server_tls = contexts(tls_config(server_files(datacenter="dc2")))
    async with running_pair(server_tls=server_tls, client_tls=mutual()) as pair:
        with pytest.raises(Unreachable, match="verify failed"):
            await pair.call("echo", b"x")
    lax = contexts(tls_config(None, verify_outgoing=True))
    async with running_pair(server_tls=server_tls, client_tls=lax) as pair:
        assert await pair.call("echo", b"x") == b"x"


async def test_certificates_are_read_again_on_reload_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(server_files().certificate, certificate)
    shutil.copy(server_files().key, key)
    ca_file = tls_config(None).ca_file
    server_tls = contexts(TLSConfig(ca_file=ca_file, cert_file=str(certificate), key_file=str(key)))
    async with running_pair(server_tls=server_tls, client_tls=mutual()) as pair:
        assert await pair.call("echo", b"x") == b"x"
        certificate.write_text("damaged")
        with pytest.raises(ConfigInvalid, match="cert_file"):
            server_tls.reload()
        pair.pool.close_peer(pair.address)
        assert await pair.call("echo", b"y") == b"y"
        shutil.copy(server_files(ca="other").certificate, certificate)
        shutil.copy(server_files(ca="other").key, key)
        server_tls.reload()
        assert await pair.call("echo", b"z") == b"z"  # open connections stay
        pair.pool.close_peer(pair.address)
        with pytest.raises(Unreachable, match="verify failed"):
            await pair.call("echo", b"x")


async def test_a_raft_link_goes_through_tls() -> None:
    async with running_pair(server_tls=mutual(), client_tls=mutual()) as pair:
        link = await pair.pool.open_link(pair.address, 17)
        assert isinstance(link, TLSStream)
        await link.send_all(b"append")
        assert await link.receive_some(100) == b"append"
        link.close_now()


# The stream class


async def stream_pair() -> tuple[TLSStream, TLSStream]:
    network = RealNetwork()
    listener = await network.listen("127.0.0.1", 0)
    near = await network.dial("127.0.0.1", listener.port, TIMEOUT_S)
    far = await listener.accept()
    listener.close()
    tls = mutual()
    made: list[TLSStream] = []

    async def accept() -> None:
        made.append((await tls.accept(far))[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        dialled, identity = await tls.connect(near)
    assert identity.role is Role.SERVER
    return dialled, made[0]


async def test_tls_1_3_is_spoken_and_bytes_arrive_in_any_pieces() -> None:
    near, far = await stream_pair()
    assert near.version == "TLSv1.3"
    payload = bytes(range(256)) * 8192
    received = bytearray()

    async def receive() -> None:
        sizes = [1, 3, 100_000, 16_384, 65_536]
        while len(received) < len(payload):
            received.extend(await far.receive_some(sizes[len(received) % len(sizes)]))

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await near.send_all(payload)
    assert received == payload
    await near.aclose()
    assert await far.receive_some(10) == b""
    far.close_now()


async def test_a_full_peer_takes_nothing_and_the_rest_follows_intact() -> None:
    near, far = await stream_pair()
    payload = bytes(range(256)) * 65536
    sent = 0
    while taken := near.send_nowait(memoryview(payload)[sent:]):
        sent += taken
    received = bytearray()

    async def receive() -> None:
        while len(received) < len(payload):
            received.extend(await far.receive_some(65536))

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await near.send_all(memoryview(payload)[sent:])
    assert received == payload
    near.close_now()
    far.close_now()


async def test_closing_wakes_a_tls_receiver() -> None:
    near, far = await stream_pair()

    async def receive() -> None:
        with pytest.raises(Unreachable, match="closed"):
            await near.receive_some(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        near.close_now()
        near.close_now()
    with pytest.raises(Unreachable):
        near.send_nowait(b"x")
    far.close_now()


async def test_a_peer_without_certificate_cannot_be_identified() -> None:
    near, far = await stream_pair()
    assert identify_peer(near, datacenter="dc1", domain="consul.").role is Role.SERVER
    assert identify_peer(near, datacenter="dc2", domain="consul").role is Role.AGENT
    near.close_now()
    far.close_now()
    network = RealNetwork()
    listener = await network.listen("127.0.0.1", 0)
    plain = await network.dial("127.0.0.1", listener.port, TIMEOUT_S)
    accepted = await listener.accept()
    lax = contexts(tls_config(server_files(), verify_outgoing=True))
    anonymous: list[TLSStream] = []

    async def accept() -> None:
        anonymous.append((await lax.accept(accepted))[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        dialled, _ = await lax.connect(plain)
    with pytest.raises(PeerRefused, match="no certificate"):
        identify_peer(anonymous[0], datacenter="dc1", domain="consul")
    dialled.close_now()
    anonymous[0].close_now()
    listener.close()


# What the options mean


def test_no_option_means_no_tls() -> None:
    assert make_contexts(TLSConfig()) is None
    assert make_contexts(TLSConfig(ca_file=tls_config(None).ca_file)) is None


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (TLSConfig(verify_incoming=True), "verify_incoming.*no CA"),
        (TLSConfig(verify_incoming_rpc=True), "verify_incoming.*no CA"),
        (TLSConfig(verify_incoming=True, ca_file="ca.pem"), "no certificate and key"),
        (TLSConfig(verify_outgoing=True), "verify_outgoing.*no CA"),
        (TLSConfig(verify_server_hostname=True), "verify_server_hostname.*no CA"),
        (TLSConfig(cert_file="a"), "key_file is not"),
        (TLSConfig(key_file="a"), "cert_file is not"),
        (TLSConfig(ca_file="/nowhere/ca.pem", verify_outgoing=True), "ca_file: no such file"),
        (TLSConfig(ca_path="/nowhere", verify_outgoing=True), "ca_path: no such directory"),
        (TLSConfig(cert_file="/nowhere/c.pem", key_file="/nowhere/k.pem"), "cert_file: no such file"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(config: TLSConfig, text: str) -> None:
    with pytest.raises(ConfigInvalid, match=text):
        make_contexts(config)


def test_a_key_of_another_certificate_and_a_ca_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cert_file"):
        make_contexts(TLSConfig(cert_file=str(server_files().certificate), key_file=str(client_files().key)))
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    with pytest.raises(ConfigInvalid, match="ca_file"):
        make_contexts(TLSConfig(ca_file=str(bad), verify_outgoing=True))


def test_a_folder_of_authorities_is_loaded(tmp_path: Path) -> None:
    shutil.copy(tls_config(None).ca_file, tmp_path / "any-name.crt")
    made = contexts(TLSConfig(ca_path=str(tmp_path), verify_outgoing=True))
    assert made.outgoing


def test_refusing_plaintext_but_speaking_it_is_warned_of() -> None:
    assert tls_config(server_files(), verify_incoming=True).warnings()
    assert not tls_config(server_files(), verify_incoming=True, verify_outgoing=True).warnings()
