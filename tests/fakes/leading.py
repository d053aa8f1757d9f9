"""A server that leads a cluster of one, and other servers that answer as a test says."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from msgspec.structs import replace

from base import codec
from structs.cluster import Peer, RaftStatsReply
from tests.fakes.members import server
from tests.fakes.server_parts import ServerParts, server_parts

SOON_S = 0.5


@asynccontextmanager
async def leading(folder: Path) -> AsyncGenerator[ServerParts, None]:
    """Server s1, which leads a cluster of one and does its duties."""
    async with server_parts(folder) as parts, trio.open_nursery() as nursery:
        await nursery.start(parts.duties.leadership.run)
        await trio.sleep(SOON_S)
        yield parts
        nursery.cancel_scope.cancel()


def answering(parts: ServerParts, number: int, **changes: object) -> Peer:
    """Server `number` is there: it answers as a healthy follower of s1 would."""
    peer = Peer(server_id=f"id-{number}", name=f"s{number}", address=f"10.0.0.{number}:8300")

    def handler(method: str, body: bytes, caller: object) -> bytes:
        core = parts.raft.statistics().core
        reply = RaftStatsReply(
            last_contact_s=0.05, term=1, last_index=core.last_index, commit_index=core.commit_index,
            applied_index=core.last_index, leader=False, last_term=core.last_term, server_id=peer.server_id,
            leader_id="id-1",
        )  # fmt: skip
        return codec.encode(replace(reply, **changes))

    parts.pool.handlers[peer.address] = handler
    return peer


async def add_voters(parts: ServerParts, *numbers: int) -> None:
    """These servers answer, are alive in gossip, and vote; the leader has had a moment to see it."""
    for number in numbers:
        await parts.raft.add_peer(answering(parts, number))
        parts.gossip.network.show(server(f"s{number}"))
    await trio.sleep(SOON_S)


def voters(parts: ServerParts) -> list[str]:
    return sorted(peer.server_id for peer in parts.raft.configuration())
