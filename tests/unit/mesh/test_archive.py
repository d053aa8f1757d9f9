"""Archives are verified completely before anybody trusts them."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from base.errors import InvalidRequest
from mesh.archive import ArchiveMeta, verify

META = json.dumps({"Version": 1, "ID": "2-12-1", "Index": 12, "Term": 2, "Size": 5}).encode()
STATE = b"state"


def sums(meta: bytes = META, state: bytes = STATE) -> bytes:
    digests = (hashlib.sha256(meta).hexdigest(), hashlib.sha256(state).hexdigest())
    return f"{digests[0]}  meta.json\n{digests[1]}  state.bin\n".encode()


def archive(*members: tuple[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue())


GOOD = archive(("meta.json", META), ("state.bin", STATE), ("SHA256SUMS", sums()))


def test_an_intact_archive_tells_what_it_is() -> None:
    assert verify(io.BytesIO(GOOD)) == ArchiveMeta(archive_id="2-12-1", size_bytes=5, index=12, term=2, version=1)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not an intact archive"),
        (b"hello", "not an intact archive"),
        (GOOD[:-20], "not an intact archive"),
        (archive(("meta.json", META), ("SHA256SUMS", sums())), "no state.bin"),
        (archive(("meta.json", META), ("state.bin", STATE)), "does not match"),
        (archive(("meta.json", META), ("state.bin", b"other"), ("SHA256SUMS", sums())), "state.bin does not match"),
        (archive(("meta.json", b"{}"), ("state.bin", STATE), ("SHA256SUMS", sums(b"{}"))), "cannot be read"),
        (archive(("meta.json", META), ("../x", b"")), "unexpected member"),
        (archive(("meta.json", META), ("meta.json", META)), "unexpected member"),
    ],
)
def test_anything_else_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        verify(io.BytesIO(data))


def test_every_cut_and_flipped_byte_of_the_contents_is_noticed() -> None:
    for position in range(10, len(GOOD), 7):
        damaged = bytearray(GOOD)
        damaged[position] ^= 0x55
        with pytest.raises(InvalidRequest):
            verify(io.BytesIO(bytes(damaged)))
        with pytest.raises(InvalidRequest):
            verify(io.BytesIO(GOOD[:position]))
