"""Streams that another server has to serve, passed on to it, both directions pumped with back-pressure."""

import trio

from base import codec
from base.codec import Record
from base.errors import MeshError, NoLeader
from server.endpoints.registry import ByteStream, Call
from server.forwarding import FORWARDED_MARK


async def pass_to_leader(call: Call, method: str, request: Record, stream: ByteStream) -> None:
    """Serve `stream` by the leader; raises NoLeader where none is known and what the leader answers."""
    services = call.services
    leader = services.raft.leader()
    if call.forwarded or leader is None or leader.server_id == services.config.node_id:
        raise NoLeader
    body = codec.encode(request)
    async with services.pool.stream(leader.address, FORWARDED_MARK + method, body) as there:
        await exchange(stream, there)


async def exchange(stream: ByteStream, there: ByteStream) -> None:
    """Copy both ways until the other side has ended its answer; raises what broke."""
    failures: list[MeshError] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pump, stream, there, None, failures)
        await _pump(there, stream, nursery.cancel_scope, failures)
    if failures:
        raise failures[0]


async def _pump(
    source: ByteStream, target: ByteStream, ends: trio.CancelScope | None, failures: list[MeshError]
) -> None:
    """Copy until the source ends; the leader's end of its answer (`ends`) ends the whole exchange."""
    try:
        while chunk := await source.receive_chunk():
            await target.send_chunk(chunk)
        await target.finish()
    except MeshError as error:
        failures.append(error)
    if ends is not None:
        ends.cancel()
