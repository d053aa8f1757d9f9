"""/v1/snapshot: the whole state as one archive, streamed both ways. Source: HTTP API, section 12."""

from acl.access import MANAGEMENT
from agent.http.reader import BodyRule
from agent.http.registry import RequestContext, route
from agent.http.response import STREAMED, Response, meta_headers
from agent.http.settings import HTTPSettings
from base import codec
from base.errors import OutcomeUnknown, Refused
from structs.snapshot import (
    ARCHIVE_CHUNK_BYTES,
    SnapshotRestoreReply,
    SnapshotRestoreRequest,
    SnapshotSaveReply,
    SnapshotSaveRequest,
)

ARCHIVE_TYPE = b"Content-Type: application/x-gzip\r\n"


def archive_rule(_: HTTPSettings) -> BodyRule:
    """An archive has any size: it is never held as a whole."""
    return BodyRule(None, "")


@route("/v1/snapshot", "GET", access=MANAGEMENT, is_write=False, rule_of=archive_rule)
async def save(context: RequestContext) -> Response:
    """Return an archive of the state (gzip, tar). `stale`: from whichever server is asked.

    An archive that cannot be completed ends without its last chunk, and the connection is closed.
    """
    request = SnapshotSaveRequest(options=context.read_parameters().options)
    async with context.delegate.stream("Snapshot.Save", request) as stream:
        head = codec.decode(SnapshotSaveReply, await stream.receive_chunk())
        await context.exchange.begin_answer(Response(200, b"", ARCHIVE_TYPE, meta_headers(head.meta)))
        while piece := await stream.receive_chunk():
            await context.exchange.send_piece(piece)
    return STREAMED


@route("/v1/snapshot", "PUT", access=MANAGEMENT, is_write=True)
async def restore(context: RequestContext) -> Response:
    """Replace the whole state by an archive's. Answers once the restored state is in force; `stale` is refused."""
    if context.query.has("stale"):
        raise Refused("stale not allowed for restore")
    request = SnapshotRestoreRequest(options=context.write_options())
    async with context.delegate.stream("Snapshot.Restore", request) as stream:
        while piece := await context.exchange.receive_piece():
            for start in range(0, len(piece), ARCHIVE_CHUNK_BYTES):
                await stream.send_chunk(piece[start : start + ARCHIVE_CHUNK_BYTES])
        await stream.finish()
        reply = await stream.receive_chunk()
    if not reply:
        raise OutcomeUnknown("the restore ended without an answer")
    codec.decode(SnapshotRestoreReply, reply)
    return Response(200)
