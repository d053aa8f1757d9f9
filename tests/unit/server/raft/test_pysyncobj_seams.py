"""The library that is installed is the one that was read."""

import zlib

import pytest

from server.raft import pysyncobj_seams as seams


def test_the_pinned_version_and_all_names_are_there() -> None:
    seams._require_known_library()


def test_another_version_is_refused_with_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "VERSION", "0.3.18")
    with pytest.raises(ImportError, match=r"only 0\.3\.17 has been reviewed"):
        seams._require_known_library()


def test_a_missing_name_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "_ATTRIBUTES", ("_SyncObj__gone",))
    with pytest.raises(ImportError, match="lacks what this program relies on: _SyncObj__gone"):
        seams._require_known_library()


def test_nodes_hash_the_same_in_every_process() -> None:
    node = seams.ServerNode("6fa1c0de-0000-4000-8000-000000000001")
    assert hash(node) == zlib.crc32(node.id.encode())
    assert node == seams.ServerNode(node.id)
    assert node != seams.ServerNode("other")
