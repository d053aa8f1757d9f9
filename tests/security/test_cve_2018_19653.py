"""CVE-2018-19653: verify_server_hostname did not imply verify_outgoing, so RPC went out in plaintext."""

import trio

from base.network import RealNetwork
from rpc.pool import RPCPool
from rpc.tls import TLSConfig, make_contexts
from tests.fakes.certificates_of_test import server_files, tls_config

TIMEOUT_S = 10.0


def test_checking_the_hostname_implies_tls() -> None:
    assert TLSConfig(ca_file="x", verify_server_hostname=True).resolved().verify_outgoing


async def test_the_first_bytes_on_the_wire_are_tls() -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)
    pool = RPCPool(RealNetwork(), tls=make_contexts(tls_config(server_files(), verify_server_hostname=True)))
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)

            async def call() -> None:
                await pool.call(listener.address, "KVS.Get", b"secret", timeout_s=TIMEOUT_S)

            nursery.start_soon(call)
            stream = await listener.accept()
            sniffed = b""
            while len(sniffed) < 4:
                sniffed += await stream.receive_some(1000)
            nursery.cancel_scope.cancel()
    assert sniffed[0] == 3  # our byte for "TLS follows"
    assert sniffed[1] == 22  # a TLS handshake record
    assert b"secret" not in sniffed
    stream.close_now()
    listener.close()
