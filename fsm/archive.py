"""The archive that users save and restore: gzip(tar(meta.json, state.bin, SHA256SUMS)).

Source: servers specification, section 8, for everything but the inside of `state.bin`, which is ours:

| bytes        | what                                                                                        |
| ------------ | ------------------------------------------------------------------------------------------- |
| 8            | b"mesh.st1"                                                                                 |
| 4 + 4 + n    | frame: length n, CRC-32 of the payload (both big-endian), payload = encoded RowChunk        |
| 4 + 4        | end: a frame of length 0                                                                    |

The gzip stream consists of several members (RFC 1952, 2.2), one for each piece that was compressed. Both directions
block and belong into a worker thread; memory is bounded by a few chunks. Nothing read here is trusted before
`read_archive` has seen all of it: sizes are bounded before memory is taken, and sums are checked before a chunk is
given out.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterator
from hashlib import sha256
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

from base.codec import decode, encode, pack
from base.errors import InvalidRequest
from fsm import archive_tar as tar
from fsm.commands.registry import RESTORE_BEGIN, RESTORE_CHUNK, RESTORE_COMMIT, encode_command
from fsm.commands.restore import CHAIN_START, chain_next
from fsm.digest import DIGEST_BYTES
from fsm.store import keys
from fsm.store.store import ReadView
from fsm.store.tables import INDEXES, TABLES, Table
from structs.archive import ArchiveMeta, RestoreBegin, RestoreChunk, RestoreCommit, RowChunk
from structs.cluster import Peer

MIB = 1 << 20
MAGIC = b"mesh.st1"
FRAME = Struct(">II")
CHUNK_BYTES = 512 * 1024
"""A chunk is closed once it holds this much; one more row may go over. It becomes one entry of the log."""
FRAME_BYTES_MAX = 2 * MIB
"""Largest chunk accepted: it must fit into one command."""
STATE_BYTES_MAX_DEFAULT = 16 << 30
"""Largest `state.bin` accepted, unpacked: a small archive must not fill a disk."""
META_BYTES_MAX = MIB
SUMS_BYTES_MAX = 4096

META_NAME = "meta.json"
STATE_NAME = "state.bin"
SUMS_NAME = "SHA256SUMS"
SIZE_LIMITS = {META_NAME: META_BYTES_MAX, SUMS_NAME: SUMS_BYTES_MAX}
META_VERSION = 1
SIZE_DIGITS = 20
"""Room kept in meta.json for the size of state.bin, which is known last and written first."""

PROBE_BYTES = 6 * 1024
"""Taken from the beginning, the middle and the end of a piece to see whether it shrinks."""
PROBE_RATIO_MAX = 0.85
"""Data that doesn't shrink below this is stored as it is: deflating it would take most of the time for nothing."""


# Writing


def write_archive(view: ReadView, file: BinaryIO, meta: ArchiveMeta) -> ArchiveMeta:
    """Write what `view` sees to `file`, which is empty and seekable; return `meta` with the size of the state."""
    head_bytes = len(_head(meta, 0))
    file.seek(head_bytes)
    state_sum = sha256()
    state_bytes = 0
    for piece in _state_pieces(view):
        state_sum.update(piece)
        state_bytes += len(piece)
        file.write(_deflate(piece))
    sums = f"{sha256(_meta_json(meta, state_bytes)).hexdigest()}  {META_NAME}\n{state_sum.hexdigest()}  {STATE_NAME}\n"
    tail = tar.padding(state_bytes) + tar.member(SUMS_NAME, sums.encode()) + tar.END
    file.write(_gzip_member(tail, 1))
    file.seek(0)
    head = _head(meta, state_bytes)
    assert len(head) == head_bytes, "the head of an archive changed its size"
    file.write(head)
    file.seek(0, 2)
    return ArchiveMeta(
        snapshot_id=meta.snapshot_id,
        index=meta.index,
        term=meta.term,
        peers=meta.peers,
        configuration_index=meta.configuration_index,
        state_bytes=state_bytes,
    )


def _head(meta: ArchiveMeta, state_bytes: int) -> bytes:
    text = _meta_json(meta, state_bytes)
    # Stored, not deflated, so that its size doesn't depend on what is filled in later.
    return _gzip_member(tar.member(META_NAME, text) + tar.header(STATE_NAME, state_bytes), 0)


def _meta_json(meta: ArchiveMeta, state_bytes: int) -> bytes:
    peers = base64.b64encode(pack([peer.address for peer in meta.peers])).decode()
    servers = [{"Suffrage": 0, "ID": peer.server_id, "Address": peer.address} for peer in meta.peers]
    fields = {
        "Version": META_VERSION,
        "ID": meta.snapshot_id,
        "Index": meta.index,
        "Term": meta.term,
        "Peers": peers,
        "Configuration": {"Servers": servers},
        "ConfigurationIndex": meta.configuration_index,
        "Size": state_bytes,
    }
    # The size is the last field and padded with spaces behind it: equally long whatever it is.
    return (json.dumps(fields)[:-1].ljust(_meta_bytes(fields)) + "}\n").encode()


def _meta_bytes(fields: dict[str, Any]) -> int:
    return len(json.dumps({**fields, "Size": 0})) + SIZE_DIGITS


def _state_pieces(view: ReadView) -> Iterator[bytes]:
    yield MAGIC
    for table in TABLES:
        for names, bodies in _slices(_rows(view, table)):
            payload = encode(RowChunk(table=table.number, keys=names, bodies=bodies))
            yield FRAME.pack(len(payload), zlib.crc32(payload)) + payload
    yield FRAME.pack(0, 0)


def _rows(view: ReadView, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, row) of a table; counters get a place for the hash that other rows have."""
    rows = keys.scan(view.txn, view.handles.pair(table), b"")
    return ((name, body + bytes(DIGEST_BYTES)) for name, body in rows) if table is INDEXES else rows


def _slices(rows: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    names: list[bytes] = []
    bodies: list[bytes] = []
    size = 0
    for name, row in rows:
        names.append(name)
        bodies.append(row[:-DIGEST_BYTES])
        size += len(name) + len(row)
        if size >= CHUNK_BYTES:
            yield names, bodies
            names, bodies, size = [], [], 0
    if names:
        yield names, bodies


def _deflate(piece: bytes) -> bytes:
    middle = len(piece) // 2
    probe = piece[:PROBE_BYTES] + piece[middle : middle + PROBE_BYTES] + piece[-PROBE_BYTES:]
    worthwhile = len(zlib.compress(probe, 1)) < PROBE_RATIO_MAX * len(probe)
    return _gzip_member(piece, 1 if worthwhile else 0)


def _gzip_member(data: bytes, level: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, tar.GZIP_WINDOW_BITS)
    return deflater.compress(data) + deflater.flush()


# Reading


class Archive(NamedTuple):
    """A verified archive. It reads from the file again, which must not have changed."""

    meta: ArchiveMeta
    chunks_count: int
    rows_count: int
    chain: bytes
    """See structs/archive.py, RestoreCommit."""
    file: BinaryIO
    state_bytes_max: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the encoded RowChunks in order."""
        for reader, name, size in tar.members(self.file, self.state_bytes_max, SIZE_LIMITS):
            if name == STATE_NAME:
                yield from _frames(reader, size)
                return

    def commands(self, restore_id: str) -> Iterator[bytes]:
        """Yield the commands to be logged, one after the other's success, to make this archive the state.

        If one is refused, or nobody wants to go on, log a RestoreAbort; the next restore would clear up as well.
        """
        yield encode_command(RESTORE_BEGIN, RestoreBegin(restore_id=restore_id, index=self.meta.index))
        for position, payload in enumerate(self.chunks()):
            command = RestoreChunk(restore_id=restore_id, position=position, payload=payload)
            yield encode_command(RESTORE_CHUNK, command)
        commit = RestoreCommit(
            restore_id=restore_id, chunks_count=self.chunks_count, rows_count=self.rows_count, chain=self.chain
        )
        yield encode_command(RESTORE_COMMIT, commit)


def read_archive(file: BinaryIO, *, state_bytes_max: int = STATE_BYTES_MAX_DEFAULT) -> Archive:
    """Read all of `file` (seekable), check it, and return what it is; raises InvalidRequest with the reason."""
    sums: dict[str, str] = {}
    small: dict[str, bytes] = {}
    chunks_count = rows_count = state_bytes = 0
    chain = CHAIN_START
    for reader, name, size in tar.members(file, state_bytes_max, SIZE_LIMITS):
        if name not in (META_NAME, STATE_NAME, SUMS_NAME):
            raise InvalidRequest(f"the archive has an unexpected member {name!r}")
        if name in sums:
            raise InvalidRequest(f"the archive has two members named {name!r}")
        reader.start_sum()
        if name == STATE_NAME:
            state_bytes = size
            for payload in _frames(reader, size):
                rows = decode(RowChunk, payload)
                chunks_count += 1
                rows_count += len(rows.keys)
                chain = chain_next(chain, payload)
        else:
            small[name] = reader.read(size)
        sums[name] = reader.end_sum()
    for name in (META_NAME, STATE_NAME, SUMS_NAME):
        if name not in sums:
            raise InvalidRequest(f"the archive has no member {name!r}")
    _check_sums(small[SUMS_NAME], sums)
    meta = _read_meta(small[META_NAME], state_bytes)
    return Archive(meta, chunks_count, rows_count, chain, file, state_bytes_max)


def _frames(reader: tar.Inflater, size: int) -> Iterator[bytes]:
    """Yield the payloads of a `state.bin` of `size` bytes."""
    if size < len(MAGIC) or reader.read(len(MAGIC)) != MAGIC:
        raise InvalidRequest("the archive's state.bin was not written by this product")
    left = size - len(MAGIC)
    while True:
        if left < FRAME.size:
            raise InvalidRequest("the archive's state.bin is cut off")
        length, crc = FRAME.unpack(reader.read(FRAME.size))
        left -= FRAME.size
        if not length:
            if left or crc:
                raise InvalidRequest("the archive's state.bin goes on behind its end")
            return
        if length > FRAME_BYTES_MAX:
            raise InvalidRequest(f"the archive has a chunk of {length} bytes; {FRAME_BYTES_MAX} are allowed")
        if length > left:
            raise InvalidRequest("the archive's state.bin is cut off")
        payload = reader.read(length)
        left -= length
        if zlib.crc32(payload) != crc:
            raise InvalidRequest("a chunk of the archive's state.bin is damaged")
        yield payload


def _check_sums(text: bytes, sums: dict[str, str]) -> None:
    announced: dict[str, str] = {}
    for line in text.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in announced or name not in (META_NAME, STATE_NAME):
            raise InvalidRequest(f"the archive's SHA256SUMS has an unexpected line for {name!r}")
        announced[name] = digest
    for name in (META_NAME, STATE_NAME):
        if name not in announced:
            raise InvalidRequest(f"the archive's SHA256SUMS has no line for {name!r}")
        if announced[name] != sums[name]:
            raise InvalidRequest(f"the archive is damaged: the SHA-256 of {name} isn't the one in SHA256SUMS")


def _read_meta(text: bytes, state_bytes: int) -> ArchiveMeta:
    try:
        fields = json.loads(text)
        servers = fields["Configuration"]["Servers"]
        meta = ArchiveMeta(
            snapshot_id=str(fields["ID"]),
            index=fields["Index"],
            term=fields["Term"],
            peers=[Peer(server_id=str(row["ID"]), name="", address=str(row["Address"])) for row in servers],
            configuration_index=fields["ConfigurationIndex"],
            state_bytes=fields["Size"],
        )
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise InvalidRequest(f"the archive's meta.json cannot be read: {error!r}") from error
    if fields["Version"] != META_VERSION:
        raise InvalidRequest(f"the archive has version {fields['Version']!r}; this product reads {META_VERSION}")
    numbers = (meta.index, meta.term, meta.configuration_index, meta.state_bytes)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise InvalidRequest("the archive's meta.json has an index or a size that is no number")
    if meta.state_bytes != state_bytes:
        raise InvalidRequest(f"the archive's meta.json tells of {meta.state_bytes} bytes, state.bin has {state_bytes}")
    return meta
