"""Damages the journal of a server that is down: a torn end that must be cut, a flipped bit that must be refused."""

import random
from pathlib import Path
from typing import NamedTuple

from base.errors import DataDamaged
from server.raft.journal_format import (
    SECTOR_BYTES,
    decode_batch_header,
    decode_payload,
    decode_segment_header,
    segment_number,
)

BITS = 8
BATCH_HEADER_BYTES = 40
"""What stands before a batch's payload. Source: docs/internals/journal.md."""


class Batch(NamedTuple):
    """Where one batch lies. Offsets in bytes."""

    begin: int
    end: int
    """Behind its padding."""
    checked_end: int
    """Behind what its checksums cover."""


class NothingToDamage(Exception):
    """The journal is too short, or damaged already."""


def segments(data_dir: Path) -> list[Path]:
    """The segments of a server's journal, oldest first."""
    folder = data_dir / "raft"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [folder / name for name in names if segment_number(name) is not None]


def batches(data: bytes) -> list[Batch]:
    """The intact batches from the segment's begin on, in order."""
    try:
        header = decode_segment_header(data[:SECTOR_BYTES], "the segment")
    except DataDamaged as error:
        raise NothingToDamage(str(error)) from error
    found: list[Batch] = []
    offset, sequence = SECTOR_BYTES, header.sequence_first
    while True:
        batch = decode_batch_header(data, offset, header.salt)
        if batch is None or batch.sequence != sequence or decode_payload(data, offset, batch, header.salt) is None:
            return found
        found.append(Batch(offset, batch.end, offset + BATCH_HEADER_BYTES + batch.payload_bytes))
        offset, sequence = batch.end, sequence + 1


def tear_tail(data_dir: Path, rng: random.Random) -> str:
    """Put the torn begin of a batch behind the last one, and perhaps end the file there; returns what was done.

    It takes the place of what else may lie behind the last batch: that was never synced. Raises NothingToDamage.
    """
    path = _newest(data_dir)
    data = path.read_bytes()
    intact = batches(data)
    end = intact[-1].end if intact else SECTOR_BYTES
    torn = rng.randbytes(rng.randint(1, SECTOR_BYTES - 2)) + b"\x01"
    shorten = rng.random() < 0.5
    with path.open("r+b") as file:
        file.seek(end)
        file.write(torn)
        if shorten:
            file.truncate(end + len(torn))
        else:
            file.write(bytes(max(0, len(data) - end - len(torn))))
    ending = "where the file ends" if shorten else "and zeros"
    return f"{len(torn)} torn bytes at offset {end} of {path.name}, {ending}"


def flip_bit(data_dir: Path, rng: random.Random) -> tuple[Path, int]:
    """Flip one bit of a batch that another one follows; returns the file and the bit's offset in bytes.

    Raises NothingToDamage where there are not two batches in the newest segment.
    """
    path = _newest(data_dir)
    intact = batches(path.read_bytes())
    if len(intact) < 2:
        raise NothingToDamage(f"{path.name} has {len(intact)} batches")
    batch = rng.choice(intact[:-1])
    offset = rng.randrange(batch.begin, batch.checked_end)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << rng.randrange(BITS)]))
    return path, offset


def _newest(data_dir: Path) -> Path:
    found = segments(data_dir)
    if not found:
        raise NothingToDamage(f"{data_dir} has no journal")
    return found[-1]
