"""Takes, sends and fetches snapshots, and swaps a fetched one in; the folders themselves are `snapshots.py`.

Theory of operation. Taking: LMDB's own compacting copy of a read transaction, made in a worker thread while
writes go on; the copy itself says which index it holds. When it is durable the log is cut behind it. Sending:
a peer that was offered a snapshot asks for it, and pulls the file through a stream with back-pressure, so that
a transfer never holds up heartbeats (hazard H19). The peer will ask for the log behind that snapshot, so none is
taken meanwhile, up to a bound: else a steady load would outrun every transfer. A snapshot that turns out damaged while
it is sent is replaced by another at once, or whoever needs it would ask for it again for ever. Fetching: chunks go to a
draft folder; checked, synced and renamed they become a snapshot of ours, a working copy is made of it, and only then
the core is asked to install it, between two rounds. A crash at any point leaves the old state with its log, or the new
snapshot (H3).

One copy or swap of the working state at a time (`_state_lock`): a store may not be closed while it is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

from base import codec
from base.disk import Disk
from base.errors import DataDamaged, DiskFailed, InvalidRequest, MeshError, NotFound, Unreachable, require
from base.failpoints import failpoint
from base.log import get_logger
from fsm.machine import Machine
from fsm.snapshot import open_copy, write_copy
from fsm.store.store import Store, remove
from rpc.pool import RPCPool
from server.raft.core import Core, FetchSnapshot
from server.raft.snapshots import SnapshotMeta, SnapshotReader, SnapshotStore
from structs.cluster import Peer
from structs.snapshot import FetchSnapshotRequest

FETCH_CHUNK_BYTES = 256 * 1024
META_BYTES_MAX = 256 * 1024
ENTRY_OVERHEAD_BYTES = 180
"""What one log entry takes in memory besides its command: a tuple, two integers and the bytes object's head."""
AFTER_SEND_S = 30.0
"""How long a peer that has got a snapshot may take to check, sync and install it before it asks for entries."""

_log = get_logger("raft.snapshots")


class SnapshotPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a snapshot is taken, and how much log stays behind it. Counts are log entries."""

    threshold_count: int = 16_384
    interval_s: float = 30.0
    """Between two snapshots for the sake of the count: a snapshot copies the whole state, however little changed."""
    log_bytes_max: int = 32 * 1024 * 1024
    """Memory for the log; above it a snapshot is taken although the interval has not passed."""
    transfer_log_bytes_max: int = 128 * 1024 * 1024
    """The same while a peer is being sent a snapshot, or has just got one: it will ask for the log behind that."""
    spacing_s_min: float = 1.0
    """Between any two snapshots: the disk belongs to the writes first."""
    trailing_count: int = 10_000
    trailing_bytes_max: int = 8 * 1024 * 1024
    """What stays in the log behind a snapshot, so that a server which was briefly away needs none."""

    def trailing(self, *, log_count: int, log_bytes: int) -> int:
        """How many entries to keep behind a snapshot: bounded in number and in bytes."""
        bytes_each = ENTRY_OVERHEAD_BYTES + log_bytes // max(1, log_count)
        return min(self.trailing_count, self.trailing_bytes_max // bytes_each)


class Node(Protocol):
    """What is needed of the Raft node."""

    def address_of(self, server_id: str) -> str | None:
        """Where a connected server answers RPC."""

    def configuration_at(self, index: int) -> tuple[list[Peer], int]:
        """The members when the log ended at `index`."""

    def trailing_count(self) -> int:
        """Entries to keep behind a snapshot."""

    async def between_rounds(self, action: Callable[[Core, float], object]) -> object:
        """Run an action on the core between two rounds."""


class Snapshotting:
    """One server's snapshots at work."""

    def __init__(
        self,
        *,
        snapshots: SnapshotStore,
        newest: SnapshotMeta | None,
        state_folder: Path,
        machine: Machine,
        pool: RPCPool,
        clock: Callable[[], float],
    ) -> None:
        """`newest` is what the store found intact; `state_folder` is where the working copies live."""
        self._snapshots = snapshots
        self._newest = newest
        self._newest_damaged = False
        self._state_folder = state_folder
        self._machine = machine
        self._pool = pool
        self._clock = clock
        self._taking = False
        self._taken_at_s = clock()
        self._state_lock = trio.Lock()
        self._prepared: tuple[SnapshotMeta, Store] | None = None
        self._copies_count = 0
        """Each copy has a folder that none had before: a view may still read in the one of a store long replaced."""
        self._sending_count = 0
        self._sent_at_s = float("-inf")
        self.taken_total = 0
        self.installed_total = 0
        self.sent_total = 0

    def wanted(
        self, policy: SnapshotPolicy, *, applied_index: int, log_count: int, log_bytes: int, now_s: float
    ) -> bool:
        """Whether a snapshot should be taken now: enough has come since the last, or the log fills the memory."""
        if self._taking or now_s < self._taken_at_s + policy.spacing_s_min:
            return False
        if self._newest_damaged:
            return True
        behind = applied_index - (self._newest.index if self._newest is not None else 0)
        transfer = self._sending_count > 0 or now_s < self._sent_at_s + AFTER_SEND_S
        bytes_max = policy.transfer_log_bytes_max if transfer else policy.log_bytes_max
        if log_bytes + log_count * ENTRY_OVERHEAD_BYTES > bytes_max:
            return behind > policy.trailing_count // 16
        return not transfer and behind >= policy.threshold_count and now_s >= self._taken_at_s + policy.interval_s

    # --- taking

    async def take(self, node: Node) -> SnapshotMeta | None:
        """Take one, unless one is being taken or nothing was applied since the last. Raises DiskFailed."""
        if self._taking:
            return None
        self._taking = True
        try:
            async with self._state_lock:
                meta = await self._take(node)
        finally:
            self._taking = False
        if meta is None:
            return None
        self._newest = meta
        self._newest_damaged = False
        self._taken_at_s = self._clock()
        self.taken_total += 1
        await node.between_rounds(lambda core, now_s: core.snapshot_taken(meta, node.trailing_count()))
        _log.info("snapshot taken", index=meta.index, term=meta.term, bytes=meta.size_bytes)
        return meta

    async def _take(self, node: Node) -> SnapshotMeta | None:
        newest = self._newest
        nothing_new = self._machine.raft_index_visible <= (newest.index if newest is not None else 0)
        if nothing_new and not self._newest_damaged:
            return None
        draft = await trio.to_thread.run_sync(self._snapshots.begin)
        facts = await trio.to_thread.run_sync(write_copy, self._machine.store, Path(draft.state_path))
        configuration, configuration_index = node.configuration_at(facts.raft_index)
        failpoint("snapshot.copied")
        return await trio.to_thread.run_sync(
            lambda: self._snapshots.finish(
                draft,
                index=facts.raft_index,
                term=facts.term,
                configuration=configuration,
                configuration_index=configuration_index,
                digest=facts.digest,
            )
        )

    # --- sending

    async def send(self, index: int, term: int, stream: Any) -> None:
        """Stream the newest snapshot, if it is at least (index, term): its meta first, then its bytes.

        Raises NotFound; DataDamaged or DiskFailed where it cannot be read as it was written.
        """
        meta = self._newest
        if meta is None or (meta.index, meta.term) < (index, term):
            raise NotFound(f"no snapshot at {index}-{term} or later")
        reader: SnapshotReader | None = None
        self._sending_count += 1
        try:
            reader = await trio.to_thread.run_sync(self._snapshots.open_state, meta)
            await stream.send_chunk(codec.encode(meta))
            while chunk := await trio.to_thread.run_sync(reader.read_chunk):
                for start in range(0, len(chunk), FETCH_CHUNK_BYTES):
                    await stream.send_chunk(chunk[start : start + FETCH_CHUNK_BYTES])
            await stream.finish()
            self.sent_total += 1
            self._sent_at_s = self._clock()
        except (DataDamaged, DiskFailed, NotFound) as error:
            if isinstance(error, NotFound) and self._newest != meta:
                raise  # it was pruned: a newer one has come since
            _log.error("snapshot damaged", index=meta.index, term=meta.term, error=str(error))
            self._snapshots.found_damaged(meta)
            self._newest_damaged = self._newest_damaged or self._newest == meta
            raise
        finally:
            self._sending_count -= 1
            if reader is not None:
                reader.close()

    # --- fetching

    async def fetch(self, wanted: FetchSnapshot, node: Node) -> None:
        """Fetch what a leader offered and install it; whatever goes wrong on the way, the next offer asks again."""
        try:
            meta = await self._receive(wanted, node)
            async with self._state_lock:
                await self._install(meta, node)
        except DiskFailed:
            raise
        except MeshError as error:
            _log.info("snapshot not fetched", index=wanted.index, reason=str(error))
            await node.between_rounds(lambda core, now_s: core.fetch_failed())

    async def _receive(self, wanted: FetchSnapshot, node: Node) -> SnapshotMeta:
        address = node.address_of(wanted.from_id)
        if address is None:
            raise NotFound(f"server {wanted.from_id} offered a snapshot and is gone")
        request = codec.encode(FetchSnapshotRequest(index=wanted.index, term=wanted.term))
        async with self._pool.stream(address, "Raft.FetchSnapshot", request) as stream:
            head = await _receive_chunk(stream)
            if len(head) > META_BYTES_MAX:
                raise InvalidRequest("a snapshot's head is too long")
            meta = codec.decode(SnapshotMeta, head)
            if (meta.index, meta.term) < (wanted.index, wanted.term):
                raise InvalidRequest(f"snapshot {meta.name} is older than the one offered")
            incoming = await trio.to_thread.run_sync(self._snapshots.begin_incoming, meta)
            try:
                while chunk := await _receive_chunk(stream):
                    await trio.to_thread.run_sync(incoming.append, chunk)
            except BaseException:
                with trio.CancelScope(shield=True):  # it syncs a folder, which may take as long as the disk likes
                    await trio.to_thread.run_sync(incoming.discard)
                raise
            return await trio.to_thread.run_sync(incoming.finish)

    async def _install(self, meta: SnapshotMeta, node: Node) -> None:
        directory = self._state_folder / str(self._copies_count + 1)
        retired = self._machine.store.path.parent
        path = Path(self._snapshots.state_path(meta))
        store = await trio.to_thread.run_sync(lambda: open_copy(path, directory))
        self._copies_count += 1  # not before: a copy that failed leaves its folder to the next
        failpoint("snapshot.prepared")
        self._prepared = (meta, store)
        installed = await node.between_rounds(lambda core, now_s: core.install(meta, now_s))
        if self._prepared is not None:  # the core knew better (H22)
            self._prepared = None
            store.close()
            retired = directory
        if installed:
            self._newest = meta
            self._newest_damaged = False
            self.installed_total += 1
            _log.info("snapshot installed", index=meta.index, term=meta.term, bytes=meta.size_bytes)
        await trio.to_thread.run_sync(remove, retired)

    def adopt(self, meta: SnapshotMeta) -> None:
        """Make the prepared working copy the state. Called by the core inside `install`."""
        prepared, self._prepared = self._prepared, None
        require(prepared is not None and prepared[0] == meta, "a snapshot was installed that nobody prepared", meta)
        assert prepared is not None
        self._machine.replace_store(prepared[1])


async def _receive_chunk(stream: Any) -> bytes:
    """The next chunk of a peer. That the peer's disk has failed is no reason to stop here."""
    try:
        chunk: bytes = await stream.receive_chunk()
        return chunk
    except DiskFailed as error:
        raise Unreachable(f"the sender could not read it: {error}") from error


def prepare_state(disk: Disk, snapshots: SnapshotStore, newest: SnapshotMeta | None, state_folder: Path) -> Store:
    """Return the working state at start: a copy of the newest snapshot, or nothing. Raises DataDamaged, DiskFailed."""
    disk.make_folder(state_folder)
    for name in filter(str.isdecimal, disk.list(state_folder)):
        disk.remove_tree(state_folder / name)  # only ours: the folder may be a link, or a file system of its own
    target = state_folder / "0"
    if newest is None:
        return Store.create(target)
    return open_copy(Path(snapshots.state_path(newest)), target)
