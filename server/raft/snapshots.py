"""Snapshot folders: written beside the others, synced, renamed, pruned; verified before they are used.

    DATA/raft/snapshots/<index>-<term>/state.mdb    what the state machine wrote, or a leader sent
    DATA/raft/snapshots/<index>-<term>/meta.json    position, configuration, size, checksum, digest

A folder under its final name is complete: everything in it was durable before the rename. Unfinished ones end in
".tmp" and are removed at start. The order towards the log is the caller's: first `finish`, then the log is cut.
Methods may run in worker threads; `finish` of a snapshot taken here and of one received exclude each other.
"""

import hashlib
import json
import threading
from pathlib import PurePath
from typing import Any

from base.codec import Record
from base.disk import TEMPORARY_SUFFIX, Disk, DiskFile
from base.errors import DataDamaged, DiskFailed, InvalidRequest, NotFound, require
from base.failpoints import failpoint
from structs.cluster import Peer

META_VERSION = 1
STATE_NAME = "state.mdb"
META_NAME = "meta.json"
SNAPSHOTS_KEPT_COUNT = 2
"""One to use, and one to fall back to if that turns out damaged. The log reaches back to the newer one only by its
trailing entries, so a third would rarely be of use."""
CHUNK_BYTES = 1 << 20
"""Read at once while hashing: large enough that sha256 runs at its full 1.7 GB/s, small enough for any server."""


class SnapshotMeta(Record, frozen=True, kw_only=True):
    """What is known of a snapshot besides its bytes.

    `digest` is the state machine's at `index`; `sha256` is of the file's bytes, in hex: two servers at the same index
    have the same digest but not the same file.
    """

    index: int
    term: int
    configuration: list[Peer]
    configuration_index: int
    size_bytes: int
    sha256: str
    digest: str
    version: int = META_VERSION

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"{self.index}-{self.term}"


class SnapshotReader:
    """The bytes of one snapshot, for sending; stays readable when the folder is pruned meanwhile."""

    def __init__(self, meta: SnapshotMeta, file: DiskFile) -> None:
        self.meta = meta
        self._file = file
        self._offset = 0
        self._hash = hashlib.sha256()

    def read_chunk(self) -> bytes:
        """The next bytes, at most CHUNK_BYTES; b"" at the end.

        Raises DataDamaged at the end where they are not what was written, DiskFailed.
        """
        chunk = self._file.read(self._offset, CHUNK_BYTES)
        self._offset += len(chunk)
        self._hash.update(chunk)
        if not chunk and self._hash.hexdigest() != self.meta.sha256:
            raise DataDamaged(f"{self._file.path}: the snapshot is not what was written any more")
        return chunk

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class Draft:
    """A snapshot being taken here: somebody writes the state to `state_path`, then `SnapshotStore.finish` follows."""

    def __init__(self, folder: PurePath) -> None:
        self.folder = folder
        self.state_path = folder / STATE_NAME


class Incoming:
    """A snapshot being received: chunks in order, never more than was announced."""

    def __init__(self, store: "SnapshotStore", folder: PurePath, meta: SnapshotMeta, file: DiskFile) -> None:
        self.meta = meta
        self.received_bytes = 0
        self._store = store
        self._folder = folder
        self._file = file
        self._hash = hashlib.sha256()

    def append(self, chunk: bytes) -> None:
        """Take the next bytes; raises InvalidRequest if they are more than announced, DiskFailed."""
        if self.received_bytes + len(chunk) > self.meta.size_bytes:
            raise InvalidRequest(f"snapshot {self.meta.name} is longer than the {self.meta.size_bytes} bytes announced")
        self._file.write(self.received_bytes, chunk)
        self._hash.update(chunk)
        self.received_bytes += len(chunk)

    def finish(self) -> SnapshotMeta:
        """Verify, make durable and rename; raises InvalidRequest where it isn't what was announced, DiskFailed."""
        if self.received_bytes != self.meta.size_bytes or self._hash.hexdigest() != self.meta.sha256:
            self.discard()
            raise InvalidRequest(f"snapshot {self.meta.name} did not arrive as announced")
        failpoint("snapshot.before_state_sync")
        self._file.sync()
        failpoint("snapshot.after_state_sync")
        self._file.close()
        return self._store.publish(self._folder, self.meta)

    def discard(self) -> None:
        """Give up: remove what was received."""
        self._file.close()
        self._store.remove_unfinished(self._folder)


class SnapshotStore:
    """The folder of all snapshots of one server."""

    def __init__(self, disk: Disk, folder: PurePath) -> None:
        """Open `folder`, making it if needed, and remove what was left unfinished; raises DiskFailed."""
        self.repairs: list[str] = []
        """What was found damaged or unfinished, one line each; the caller logs them."""
        self._disk = disk
        self._folder = folder
        self._damaged: set[str] = set()
        self._lock = threading.Lock()
        disk.make_folder(folder)
        for name in disk.list(folder):
            if name.endswith(TEMPORARY_SUFFIX):
                self.repairs.append(f"removed the unfinished snapshot {folder / name}")
                self.remove_unfinished(folder / name)
        # The process before may have ended between a rename and its sync. The log will be cut to what we find here.
        disk.sync_folder(folder)

    def names(self) -> list[str]:
        """Folder names of finished snapshots, newest first."""
        names = [name for name in self._disk.list(self._folder) if _position(name) is not None]
        return sorted(names, key=lambda name: _position(name) or (0, 0), reverse=True)

    def newest_intact(self, log_first_index: int) -> SnapshotMeta | None:
        """The newest snapshot whose bytes are what was written and which the log, beginning there, continues.

        None where the log begins at index 1 and so needs none. Raises DataDamaged where there is none to
        use and the log's beginning is gone, DiskFailed.
        """
        for name in self.names():
            meta, damage = self._verify(name)
            if meta is not None and meta.index >= log_first_index:
                return meta
            reason = damage or f"it ends before the log begins at {log_first_index}"
            self.repairs.append(f"the snapshot {self._folder / name} cannot be used: {reason}")
            if damage:
                self._damaged.add(name)
        if log_first_index > 1:
            raise DataDamaged(
                f"{self._folder}: the log begins at {log_first_index}, and no snapshot of what came before is intact"
                f"{''.join('; ' + line for line in self.repairs)}. Nothing was changed. Stop this server, move its "
                "raft folder away, and let it join again under a new node id, or restore from a backup"
            )
        return None

    def state_path(self, meta: SnapshotMeta) -> PurePath:
        """Where the state of a finished snapshot is."""
        return self._folder / meta.name / STATE_NAME

    def open_state(self, meta: SnapshotMeta) -> SnapshotReader:
        """Open a finished snapshot for sending; raises NotFound where it was pruned meanwhile, DiskFailed."""
        if not self._disk.exists(self.state_path(meta)):
            raise NotFound(f"snapshot {meta.name} is here no more")
        return SnapshotReader(meta, self._disk.open_file(self.state_path(meta)))

    def found_damaged(self, meta: SnapshotMeta) -> None:
        """A finished snapshot turned out to be damaged: it goes as soon as another has become durable.

        Never waits: the lock may be held for as long as a disk takes, and this is called on the loop.
        """
        self._damaged.add(meta.name)

    def begin(self) -> Draft:
        """Make an empty draft; one at a time. Raises DiskFailed."""
        return Draft(self._empty_folder("local" + TEMPORARY_SUFFIX))

    def finish(
        self,
        draft: Draft,
        *,
        index: int,
        term: int,
        configuration: list[Peer],
        configuration_index: int,
        digest: str,
    ) -> SnapshotMeta:
        """Make the draft durable under its final name, prune older ones, and return what was recorded.

        Raises DiskFailed; the draft then counts for nothing.
        """
        require(configuration_index <= index, "a snapshot with a configuration of later", configuration_index, index)
        file = self._disk.open_file(draft.state_path)
        failpoint("snapshot.before_state_sync")
        file.sync()
        failpoint("snapshot.after_state_sync")
        sha256 = _hash_of(file)
        size_bytes = file.size()
        file.close()
        meta = SnapshotMeta(
            index=index,
            term=term,
            configuration=configuration,
            configuration_index=configuration_index,
            size_bytes=size_bytes,
            sha256=sha256,
            digest=digest,
        )
        return self.publish(draft.folder, meta)

    def discard(self, draft: Draft) -> None:
        """Give a draft up."""
        self.remove_unfinished(draft.folder)

    def begin_incoming(self, meta: SnapshotMeta) -> Incoming:
        """Prepare to receive what a leader announced; one at a time, which replaces one that was not finished."""
        if meta.version != META_VERSION:
            raise InvalidRequest(f"snapshot format {meta.version} is not known to this release")
        if _position(meta.name) is None or meta.size_bytes < 0:
            raise InvalidRequest(f"snapshot {meta.name} of {meta.size_bytes} bytes cannot be")
        folder = self._empty_folder("incoming" + TEMPORARY_SUFFIX)
        return Incoming(self, folder, meta, self._disk.open_file(folder / STATE_NAME, create=True))

    def publish(self, folder: PurePath, meta: SnapshotMeta) -> SnapshotMeta:
        """Give a finished, synced draft its meta file and its name, durably. For Incoming and `finish` only."""
        with self._lock:
            self._damaged.discard(meta.name)  # looked at anew, or replaced
            target = self._folder / meta.name
            if self._disk.exists(target):
                there, _ = self._verify(meta.name)
                if there is not None:
                    self.remove_unfinished(folder)
                    return there
                self._remove(meta.name)
            file = self._disk.open_file(folder / META_NAME, create=True)
            file.write(0, encode_meta(meta))
            file.sync()
            file.close()
            failpoint("snapshot.after_meta")
            self._disk.sync_folder(folder)
            failpoint("snapshot.before_rename")
            self._disk.replace(folder, target)
            self._disk.sync_folder(self._folder)
            failpoint("snapshot.after_rename")
            self._prune(meta.name)
            return meta

    def remove_unfinished(self, folder: PurePath) -> None:
        """Remove a folder that never got its final name, or has lost it."""
        self._disk.remove_tree(folder)
        self._disk.sync_folder(self._folder)

    def _empty_folder(self, name: str) -> PurePath:
        folder = self._folder / name
        if self._disk.exists(folder):
            self.remove_unfinished(folder)
        self._disk.make_folder(folder)
        return folder

    def _verify(self, name: str) -> tuple[SnapshotMeta | None, str]:
        """The meta of an intact snapshot, or None and what is wrong with it; an unreadable one is damaged, too."""
        try:
            return self._read_verified(name), ""
        except (InvalidRequest, DiskFailed) as error:
            return None, str(error)

    def _read_verified(self, name: str) -> SnapshotMeta:
        folder = self._folder / name
        for part in (META_NAME, STATE_NAME):
            if not self._disk.exists(folder / part):
                raise InvalidRequest(f"{part} is missing")
        try:
            meta = decode_meta(self._disk.read(folder / META_NAME))
        except InvalidRequest as error:
            raise InvalidRequest(f"{META_NAME} is damaged: {error}") from error
        if meta.name != name:
            raise InvalidRequest(f"{META_NAME} belongs to {meta.name}")
        file = self._disk.open_file(folder / STATE_NAME)
        try:
            if file.size() != meta.size_bytes:
                raise InvalidRequest(f"{STATE_NAME} has {file.size()} bytes instead of {meta.size_bytes}")
            if _hash_of(file) != meta.sha256:
                raise InvalidRequest(f"{STATE_NAME} is damaged")
        finally:
            file.close()
        return meta

    def _prune(self, published: str) -> None:
        """Keep the newest, and remove what was found damaged: never what was just published, for that may be meant of
        the one whose name it has taken."""
        names = self.names()
        for name in [each for each in names if each in self._damaged and each != published]:
            self._remove(name)
            names.remove(name)
        for name in names[SNAPSHOTS_KEPT_COUNT:]:
            self._remove(name)
            failpoint("snapshot.after_prune")

    def _remove(self, name: str) -> None:
        """Take the final name away first: a crash in the middle leaves an unfinished folder, not a damaged one."""
        leaving = self._folder / ("leaving" + TEMPORARY_SUFFIX)
        if self._disk.exists(leaving):
            self.remove_unfinished(leaving)
        self._disk.replace(self._folder / name, leaving)
        self._disk.sync_folder(self._folder)
        self.remove_unfinished(leaving)
        self._damaged.discard(name)


def encode_meta(meta: SnapshotMeta) -> bytes:
    """The content of meta.json: JSON for people, with a checksum over itself for us."""
    body = {
        "version": meta.version,
        "index": meta.index,
        "term": meta.term,
        "configuration": [
            {"id": peer.server_id, "name": peer.name, "address": peer.address} for peer in meta.configuration
        ],
        "configuration_index": meta.configuration_index,
        "size_bytes": meta.size_bytes,
        "sha256": meta.sha256,
        "digest": meta.digest,
    }
    return (json.dumps({**body, "check": _check_of(body)}, indent=2) + "\n").encode()


def decode_meta(data: bytes) -> SnapshotMeta:
    """Read meta.json; raises InvalidRequest for anything that `encode_meta` did not write."""
    try:
        body: Any = json.loads(data)
        check = body.pop("check")
        if check != _check_of(body):
            raise InvalidRequest("its checksum does not match")
        if body["version"] != META_VERSION:
            raise InvalidRequest(f"format {body['version']} is not known to this release")
        return SnapshotMeta(
            index=int(body["index"]),
            term=int(body["term"]),
            configuration=[
                Peer(server_id=str(row["id"]), name=str(row["name"]), address=str(row["address"]))
                for row in body["configuration"]
            ],
            configuration_index=int(body["configuration_index"]),
            size_bytes=int(body["size_bytes"]),
            sha256=str(body["sha256"]),
            digest=str(body["digest"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(f"unreadable: {error}") from error


def _check_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _hash_of(file: DiskFile) -> str:
    result = hashlib.sha256()
    offset = 0
    while chunk := file.read(offset, CHUNK_BYTES):
        result.update(chunk)
        offset += len(chunk)
    return result.hexdigest()


def _position(name: str) -> tuple[int, int] | None:
    """(index, term) of a finished snapshot's folder name, or None for any other name."""
    index, dash, term = name.partition("-")
    return (int(index), int(term)) if dash and index.isdecimal() and term.isdecimal() else None
