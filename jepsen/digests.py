"""The digest of every server's state machine, asked over RPC: equal at an equal index, or the replicas differ."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from base.codec import decode, encode
from base.errors import MeshError
from base.network import RealNetwork
from jepsen.cluster import Node
from rpc.pool import RPCPool
from structs.cluster import DigestReply, DigestRequest

POLL_INTERVAL_S = 0.05
CALL_TIMEOUT_S = 5.0


@asynccontextmanager
async def rpc_pool() -> AsyncIterator[RPCPool]:
    """A pool as an agent has one."""
    pool = RPCPool(RealNetwork())
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        yield pool
        nursery.cancel_scope.cancel()


async def digests(servers: Sequence[Node]) -> dict[str, tuple[int, str]]:
    """Name -> (index applied, digest) of each server that answers now; who does not answer is left out."""
    found: dict[str, tuple[int, str]] = {}
    async with rpc_pool() as pool:
        for server in servers:
            with suppress(MeshError):
                body = await pool.call(
                    server.rpc_address, "Status.Digest", encode(DigestRequest()), timeout_s=CALL_TIMEOUT_S
                )
                reply = decode(DigestReply, body)
                found[server.name] = (reply.index, reply.digest)
    return found


async def wait_equal_digests(servers: Sequence[Node], *, timeout_s: float) -> tuple[int, str]:
    """Wait until all have applied the same index, and return it with the digest, which must be the same too.

    Raises AssertionError, naming every server's index and digest, if the digests differ or the indexes do not meet.
    """
    found: dict[str, tuple[int, str]] = {}
    with trio.move_on_after(timeout_s):
        while True:
            found = await digests(servers)
            if len({index for index, _digest in found.values()}) == 1 and len(found) == len(servers):
                assert len(set(found.values())) == 1, f"replicas differ at the same index: {found}"
                return next(iter(found.values()))
            await trio.sleep(POLL_INTERVAL_S)
    raise AssertionError(f"servers did not reach the same index within {timeout_s:g} s: {found}")
