"""Saving and restoring through the agent of the same process."""

from pathlib import Path

import pytest

from base import codec
from base.errors import InvalidRequest, MeshError, NoLeader, Refused
from structs.kv import KVApplyRequest, KVCommand, KVGetRequest, KVVerb
from structs.query import Consistency, QueryOptions
from structs.snapshot import SnapshotRestoreReply, SnapshotRestoreRequest, SnapshotSaveReply, SnapshotSaveRequest
from tests.fakes.server_parts import ServerParts, server_parts


async def put(parts: ServerParts, key: str, value: bytes) -> None:
    await parts.ask("KVS.Apply", KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key=key, value=value)))


async def save(parts: ServerParts, request: SnapshotSaveRequest) -> tuple[SnapshotSaveReply, bytes]:
    async with parts.delegate.stream("Snapshot.Save", request) as stream:
        head = codec.decode(SnapshotSaveReply, await stream.receive_chunk())
        pieces = []
        while piece := await stream.receive_chunk():
            pieces.append(piece)
    return head, b"".join(pieces)


async def restore(parts: ServerParts, archive: bytes) -> SnapshotRestoreReply:
    async with parts.delegate.stream("Snapshot.Restore", SnapshotRestoreRequest()) as stream:
        await stream.send_chunk(archive)
        await stream.finish()
        return codec.decode(SnapshotRestoreReply, await stream.receive_chunk())


async def test_what_was_saved_is_there_again_after_a_restore(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        head, archive = await save(parts, SnapshotSaveRequest())
        assert head.meta.index == parts.machine.index_applied
        await put(parts, "a", b"2")
        await put(parts, "b", b"3")
        reply = await restore(parts, archive)
        assert reply.index > head.meta.index
        assert (await parts.ask("KVS.Get", KVGetRequest(key="a"))).entry.value == b"1"
        assert (await parts.ask("KVS.Get", KVGetRequest(key="b"))).entry is None


async def test_a_default_save_proves_leadership_and_a_stale_one_needs_none(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        await save(parts, SnapshotSaveRequest())
        assert parts.raft.confirmed_count == 1
        parts.raft.change_leader(None)
        with pytest.raises(NoLeader):
            await save(parts, SnapshotSaveRequest())
        head, _ = await save(parts, SnapshotSaveRequest(options=QueryOptions(consistency=Consistency.STALE)))
        assert not head.meta.known_leader


async def test_a_damaged_archive_proposes_nothing(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        _, archive = await save(parts, SnapshotSaveRequest())
        proposed_count = len(parts.raft.proposed)
        with pytest.raises(InvalidRequest):
            await restore(parts, archive[: len(archive) // 2])
        assert len(parts.raft.proposed) == proposed_count
        assert (await parts.ask("KVS.Get", KVGetRequest(key="a"))).entry.value == b"1"


async def test_a_restore_that_breaks_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        _, archive = await save(parts, SnapshotSaveRequest())
        await put(parts, "a", b"2")
        parts.raft.fail_next = Refused("no")
        with pytest.raises(MeshError):
            await restore(parts, archive)
        assert (await parts.ask("KVS.Get", KVGetRequest(key="a"))).entry.value == b"2"


async def test_leaving_a_stream_early_ends_it(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        for number in range(50):
            await put(parts, f"k{number}", bytes(1000))
        async with parts.delegate.stream("Snapshot.Save", SnapshotSaveRequest()) as stream:
            await stream.receive_chunk()
        await put(parts, "after", b"1")


async def test_unknown_streams_are_refused(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused, match="can't find method"):
            async with parts.delegate.stream("Snapshot.Explode", SnapshotSaveRequest()):
                pass
