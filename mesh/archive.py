"""Archives of `/v1/snapshot`: gzip(tar(meta.json, state.bin, SHA256SUMS)), verified without understanding the state.

Source: servers specification, section 8. Nothing is unpacked to disk; any other member is an error.
"""

import gzip
import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

import msgspec

from base.errors import InvalidRequest

META_BYTES_MAX = 1 << 20
CHUNK_BYTES = 1 << 20
META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"


class ArchiveMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive says of itself. `size_bytes` is that of the state."""

    archive_id: str
    size_bytes: int
    index: int
    term: int
    version: int


def verify(archive: BinaryIO) -> ArchiveMeta:
    """Read the whole archive, check both sums, and return its meta data; raises InvalidRequest."""
    digests: dict[str, str] = {}
    meta = sums = b""
    size_bytes = 0
    try:
        # gzip's own reader checks the sum at the end, and reads archives made of several parts; tarfile's does neither.
        with gzip.GzipFile(fileobj=archive, mode="rb") as plain:
            for member, file in _members(plain):
                if member.name not in (META, STATE, SUMS) or member.name in digests:
                    raise InvalidRequest(f"unexpected member {member.name!r} in the archive")
                if member.name == STATE:
                    size_bytes = member.size
                    digests[STATE] = _digest(file)
                    continue
                data = file.read(META_BYTES_MAX + 1)
                if len(data) > META_BYTES_MAX:
                    raise InvalidRequest(f"{member.name} of the archive is too large")
                digests[member.name] = hashlib.sha256(data).hexdigest()
                if member.name == META:
                    meta = data
                else:
                    sums = data
            while plain.read(CHUNK_BYTES):
                continue  # up to the sum of the whole
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InvalidRequest(f"not an intact archive: {error}") from error
    _check_sums(sums, digests)
    return _meta(meta, size_bytes)


def _members(plain: gzip.GzipFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is None:
                raise InvalidRequest(f"unexpected member {member.name!r} in the archive")
            yield member, file


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _check_sums(sums: bytes, digests: dict[str, str]) -> None:
    named: dict[str, str] = {}
    for line in sums.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        named[name.strip()] = digest.strip().lower()
    for name in (META, STATE):
        if name not in digests:
            raise InvalidRequest(f"the archive has no {name}")
        if named.get(name) != digests[name]:
            raise InvalidRequest(f"the checksum of {name} does not match: the archive is damaged")


def _meta(data: bytes, size_bytes: int) -> ArchiveMeta:
    try:
        meta = json.loads(data)
        return ArchiveMeta(
            archive_id=str(meta.get("ID", "")),
            size_bytes=size_bytes,
            index=int(meta["Index"]),
            term=int(meta["Term"]),
            version=int(meta.get("Version", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"meta.json of the archive cannot be read: {error!r}") from error
