"""Archives: what is written is read back, is a plain tar.gz for others, and nothing crooked is taken."""

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from base.errors import InvalidRequest
from fsm import archive, archive_tar
from structs.archive import ArchiveMeta
from structs.cluster import Peer
from tests.fakes.replica import Replica

PEERS = [Peer(server_id="id-1", name="n1", address="10.0.0.1:8300")]


def save(replica: Replica) -> bytes:
    file = io.BytesIO()
    with replica.machine.read() as view:
        meta = ArchiveMeta(snapshot_id="2-7-1", index=view.index, term=view.term, peers=PEERS, configuration_index=3)
        archive.write_archive(view, file, meta)
    return file.getvalue()


@pytest.fixture
def saved(replica: Replica) -> bytes:
    for number in range(300):
        replica.set(f"k/{number}", b"value %d" % number)
    replica.set("long" * 400, b"v")
    replica.delete("k/1")
    return save(replica)


def read(data: bytes) -> archive.Archive:
    return archive.read_archive(io.BytesIO(data))


def restored(data: bytes, directory: Path) -> Replica:
    other = Replica(directory)
    for command in read(data).commands("r"):
        other.run(command)
    return other


def test_an_archive_is_read_back_as_it_was_written(saved: bytes, replica: Replica, tmp_path: Path) -> None:
    found = read(saved)
    assert found.meta.index == replica.machine.index_applied
    assert (found.meta.term, found.meta.snapshot_id, found.meta.configuration_index) == (1, "2-7-1", 3)
    assert [peer.address for peer in found.meta.peers] == ["10.0.0.1:8300"]
    assert found.rows_count == 300 + 1 + 2
    assert list(found.chunks()) == list(found.chunks())
    other = restored(saved, tmp_path / "other")
    assert other.dump() == replica.dump()
    other.check()
    other.close()


def test_an_empty_state_can_be_saved_and_restored(replica: Replica, tmp_path: Path) -> None:
    other = restored(save(replica), tmp_path / "other")
    assert other.keys("")[0] == []
    other.close()


def test_the_same_state_gives_the_same_archive(saved: bytes, replica: Replica) -> None:
    assert save(replica) == saved


def test_other_programs_see_a_plain_tar_with_meta_and_sums(saved: bytes, replica: Replica) -> None:
    with tarfile.open(fileobj=io.BytesIO(saved), mode="r:gz") as tar:
        assert tar.getnames() == ["meta.json", "state.bin", "SHA256SUMS"]
        assert {member.mode for member in tar.getmembers()} == {0o600}
        content = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    meta = json.loads(content["meta.json"])
    assert list(meta) == ["Version", "ID", "Index", "Term", "Peers", "Configuration", "ConfigurationIndex", "Size"]
    assert meta["Configuration"] == {"Servers": [{"Suffrage": 0, "ID": "id-1", "Address": "10.0.0.1:8300"}]}
    assert (meta["Size"], meta["Index"]) == (len(content["state.bin"]), replica.machine.index_applied)
    for line in content["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(content[name]).hexdigest() == digest


def test_values_that_do_not_shrink_are_stored_and_others_deflated(replica: Replica) -> None:
    replica.set("zeros", bytes(400_000))
    assert len(save(replica)) < 20_000
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(12_000))
    replica.set("noise", noise)
    assert len(noise) < len(save(replica)) < len(noise) + 20_000, "zeros behind noise were not deflated"


def test_a_large_value_fits_into_a_command(replica: Replica, tmp_path: Path) -> None:
    replica.set("large" * 1_600, bytes(512 * 1024))
    replica.set("small")
    data = save(replica)
    assert max(len(command) for command in read(data).commands("r")) < 2 << 20
    other = restored(data, tmp_path / "other")
    assert other.dump() == replica.dump()
    other.close()


def members_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def packed(members: list[tuple[str, bytes]]) -> bytes:
    inside = b"".join(archive_tar.member(name, data) for name, data in members)
    return gzip.compress(inside + archive_tar.END, 1)


def with_sums(meta: bytes, state: bytes) -> list[tuple[str, bytes]]:
    names = (("meta.json", meta), ("state.bin", state))
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in names)
    return [*names, ("SHA256SUMS", sums.encode())]


def test_an_archive_packed_by_somebody_else_is_accepted(saved: bytes) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in reversed(members_of(saved).items()):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(data), 1_700_000_000, "root"
            tar.addfile(info, io.BytesIO(data))
    assert list(read(file.getvalue()).chunks()) == list(read(saved).chunks())


Members = dict[str, bytes]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: [*m.items(), ("extra", b"")], "unexpected member 'extra'"),
        (lambda m: [*m.items(), ("state.bin", m["state.bin"])], "two members named 'state.bin'"),
        (lambda m: [("meta.json", m["meta.json"])], "no member 'state.bin'"),
        (lambda m: [(n, d) for n, d in m.items() if n != "SHA256SUMS"], "no member 'SHA256SUMS'"),
        (lambda m: [(n, d.replace(b"1", b"2", 1) if n == "meta.json" else d) for n, d in m.items()], "SHA-256 of meta"),
        (lambda m: [(n, d + b"0  etc\n" if n == "SHA256SUMS" else d) for n, d in m.items()], "unexpected line"),
        (lambda m: [(n, d * 2 if n == "SHA256SUMS" else d) for n, d in m.items()], "unexpected line"),
        (lambda m: [(n, b"" if n == "SHA256SUMS" else d) for n, d in m.items()], "no line for 'meta.json'"),
        (lambda m: [(n, b"x" * 5_000 if n == "SHA256SUMS" else d) for n, d in m.items()], "4096 are allowed"),
        (lambda m: with_sums(b"{}", m["state.bin"]), "meta.json cannot be read"),
        (lambda m: with_sums(b"[" * 100_000, m["state.bin"]), "meta.json cannot be read"),
        (lambda m: with_sums(b"null", m["state.bin"]), "meta.json cannot be read"),
        (lambda m: with_sums(m["meta.json"].replace(b'"Version": 1', b'"Version": 9'), m["state.bin"]), "version 9"),
        (lambda m: with_sums(m["meta.json"].replace(b'"Index": 3', b'"Index": -3'), m["state.bin"]), "no number"),
        (lambda m: with_sums(m["meta.json"].replace(b'"Term": 1', b'"Term": true'), m["state.bin"]), "no number"),
        (lambda m: with_sums(m["meta.json"].replace(b'"Size": ', b'"Size": 9'), m["state.bin"]), "tells of 9"),
        (lambda m: with_sums(m["meta.json"], b"Consul's own"), "not written by this product"),
        (lambda m: with_sums(m["meta.json"], b""), "not written by this product"),
        (lambda m: with_sums(m["meta.json"], m["state.bin"][:-8]), "cut off"),
        (lambda m: with_sums(m["meta.json"], m["state.bin"][:-20]), "cut off"),
        (lambda m: with_sums(m["meta.json"], m["state.bin"] + b"x"), "behind its end"),
        (lambda m: with_sums(m["meta.json"], m["state.bin"][:100] + b"!" + m["state.bin"][101:]), "damaged"),
        (lambda m: with_sums(m["meta.json"], archive.MAGIC + b"\xff" * 200), "2097152 are allowed"),
        (lambda m: with_sums(m["meta.json"], archive.MAGIC + frame(b"no row chunk") + bytes(8)), "malformed RowChunk"),
    ],
)
def test_crooked_archives_are_refused_with_the_reason(
    saved: bytes, change: Callable[[Members], list[tuple[str, bytes]]], reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(packed(change(members_of(saved))))
    assert reason in str(caught.value)


def frame(payload: bytes) -> bytes:
    return archive.FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def test_a_truncated_archive_is_refused_wherever_it_was_cut(saved: bytes) -> None:
    for length in [*range(0, len(saved), 97), len(saved) - 1]:
        with pytest.raises(InvalidRequest):
            read(saved[:length])


def test_something_behind_the_archive_is_refused(saved: bytes) -> None:
    for tail in (b"x", b"\0" * 600 + b"x", gzip.compress(b"more")):
        with pytest.raises(InvalidRequest):
            read(saved + tail)


def test_a_file_that_is_no_gzip_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not a gzip file"):
        read(b"hello" * 1_000)
    with pytest.raises(InvalidRequest, match="cut off"):
        read(b"")


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    header = archive_tar.header("state.bin", 1 << 30)
    with pytest.raises(InvalidRequest, match="1000 are allowed"):
        archive.read_archive(io.BytesIO(gzip.compress(header)), state_bytes_max=1_000)
    zeros = gzip.compress(archive_tar.member("meta.json", b"{}") + archive_tar.END + bytes(8 << 20), 9)
    assert len(zeros) < 20_000
    with pytest.raises(InvalidRequest, match=r"too large|behind its end"):
        archive.read_archive(io.BytesIO(zeros), state_bytes_max=1_000)


@pytest.mark.parametrize("kind", [b"1", b"2", b"5", b"g", b"x", b"L", b"S"])
def test_links_folders_and_extensions_are_refused(kind: bytes) -> None:
    block = bytearray(archive_tar.header("state.bin", 0))
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(InvalidRequest, match="not a plain file"):
        read(gzip.compress(bytes(block) + archive_tar.END))


@pytest.mark.parametrize("size", [b"-0000000001\0", b"\x80" + b"\xff" * 11, b"99999999999\0", b"\xb2\xb2         \0"])
def test_a_size_that_is_no_octal_number_is_refused(size: bytes) -> None:
    block = bytearray(archive_tar.header("state.bin", 0))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(InvalidRequest, match="damaged"):
        read(gzip.compress(bytes(block) + archive_tar.END))


def test_an_endless_row_of_members_is_refused() -> None:
    many = archive_tar.member("meta.json", b"{}") * 2
    with pytest.raises(InvalidRequest, match="two members"):
        read(gzip.compress(many + archive_tar.END))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1 << 20), byte=st.integers(0, 255))
def test_one_changed_byte_is_noticed_or_harmless(saved: bytes, position: int, byte: int) -> None:
    position %= len(saved)
    changed = saved[:position] + bytes([byte]) + saved[position + 1 :]
    try:
        found = read(changed)
    except InvalidRequest:
        return
    assert list(found.chunks()) == list(read(saved).chunks())
