"""Snapshot.Save and Snapshot.Restore: the whole state as an archive, streamed; Raft.FetchSnapshot between servers.

Source: servers specification, section 8; HTTP API, section 12.
"""

import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, cast

import trio

from acl.access import MANAGEMENT, SERVER
from base import codec
from base.chance import uuid_from_system
from base.errors import MeshError, Refused
from fsm import archive
from fsm.commands.registry import RESTORE_ABORT, Refusal, encode_command
from server.consensus import Pending
from server.endpoints.registry import ByteStream, Call, stream_method
from server.streams import pass_to_leader
from structs.archive import ArchiveMeta, RestoreAbort
from structs.query import Consistency, QueryMeta
from structs.snapshot import (
    ARCHIVE_CHUNK_BYTES,
    FetchSnapshotRequest,
    SnapshotRestoreReply,
    SnapshotRestoreRequest,
    SnapshotSaveReply,
    SnapshotSaveRequest,
)

RESTORE_COMMANDS_IN_FLIGHT = 8
"""Chunks under way at one time: the leader applies one while the next are written and sent. They are applied in order,
and the last command, the commit, refuses if one of them is missing."""
RESTORE_TIMEOUT_S = 60.0
"""One command of a restore: half a mebibyte that has to reach a majority's disks."""
ABORT_TIMEOUT_S = 5.0


@stream_method("Snapshot.Save", request=SnapshotSaveRequest, access=MANAGEMENT)
async def save(call: Call, request: SnapshotSaveRequest, stream: ByteStream) -> None:
    """Send one encoded SnapshotSaveReply, then the archive in pieces."""
    services = call.services
    raft = services.raft
    stale = request.options.consistency is Consistency.STALE
    if not stale:
        if not raft.is_leader():
            await pass_to_leader(call, "Snapshot.Save", request, stream)
            return
        await raft.confirm_leadership(timeout_s=services.config.rpc_hold_timeout_s)
    with _temporary_file(services.config.data_dir) as file:
        meta = await trio.to_thread.run_sync(_write, call, file)
        leads = raft.is_leader()
        reply = SnapshotSaveReply(
            meta=QueryMeta(
                index=meta.index or 1,
                known_leader=raft.leader() is not None,
                last_contact_ms=0 if leads else max(0, int(raft.last_contact_s() * 1000)),
                consistency=request.options.consistency,
            )
        )
        await stream.send_chunk(codec.encode(reply))
        file.seek(0)
        while piece := file.read(ARCHIVE_CHUNK_BYTES):
            await stream.send_chunk(piece)
    await stream.finish()


def _write(call: Call, file: BinaryIO) -> ArchiveMeta:
    services = call.services
    with services.machine.read() as view:
        meta = ArchiveMeta(
            snapshot_id=f"{view.term}-{view.index}",
            index=view.index,
            term=view.term,
            peers=services.raft.configuration(),
            configuration_index=services.raft.configuration_index,
        )
        return archive.write_archive(view, file, meta)


@stream_method("Snapshot.Restore", request=SnapshotRestoreRequest, access=MANAGEMENT)
async def restore(call: Call, request: SnapshotRestoreRequest, stream: ByteStream) -> None:
    """Take an archive in pieces, replace the state by it, and send one encoded SnapshotRestoreReply.

    Nothing is proposed before the whole archive has been read and verified; nothing is visible before its last
    command is applied.
    """
    services = call.services
    raft = services.raft
    if not raft.is_leader():
        await pass_to_leader(call, "Snapshot.Restore", request, stream)
        return
    with _temporary_file(services.config.data_dir) as file:
        while piece := await stream.receive_chunk():
            file.write(piece)
        file.seek(0)
        opened = await trio.to_thread.run_sync(archive.read_archive, file)
        await _apply(call, opened)
    await stream.send_chunk(codec.encode(SnapshotRestoreReply(index=services.machine.index_applied)))
    await stream.finish()


async def _apply(call: Call, opened: archive.Archive) -> None:
    raft = call.services.raft
    restore_id = uuid_from_system()
    commands = opened.commands(restore_id)
    try:
        pending: deque[Pending] = deque()
        while (command := await trio.to_thread.run_sync(_next, commands)) is not None:
            pending.append(raft.submit(command, timeout_s=RESTORE_TIMEOUT_S))
            if len(pending) >= RESTORE_COMMANDS_IN_FLIGHT:
                await _settled(pending.popleft())
        while pending:
            await _settled(pending.popleft())
    except MeshError:
        # Only tidying up: a later restore would clear the remains as well.
        with suppress(MeshError):
            abort = encode_command(RESTORE_ABORT, RestoreAbort(restore_id=restore_id))
            await raft.propose(abort, timeout_s=ABORT_TIMEOUT_S)
        raise


async def _settled(pending: Pending) -> None:
    result = await pending.wait()
    if isinstance(result, Refusal):
        raise Refused(result.text)


def _next(commands: Iterator[bytes]) -> bytes | None:
    return next(commands, None)


@stream_method("Raft.FetchSnapshot", request=FetchSnapshotRequest, access=SERVER)
async def fetch(call: Call, request: FetchSnapshotRequest, stream: ByteStream) -> None:
    """Send this server's newest complete snapshot to a peer that is too far behind for the log."""
    await call.services.raft.send_snapshot(request.index, request.term, stream)


def _temporary_file(folder: str) -> BinaryIO:
    """Return a file that is gone when it is closed, on the disk that has to hold such amounts anyway."""
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
