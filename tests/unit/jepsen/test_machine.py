"""What a machine can do is tried, told, and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from jepsen import machine


def test_every_ability_is_there_or_said_to_be_missing_in_a_sentence() -> None:
    found = machine.detect()
    assert found.abilities | found.missing.keys() == machine.ABILITIES.keys()
    assert not found.abilities & found.missing.keys()
    assert all(why.endswith(".") and " " in why for why in found.missing.values())
    assert "links" in found.abilities
    assert found.facts["processors"] == str(os.cpu_count())


def test_trying_leaves_no_interface_mount_or_namespace_of_ours_changed() -> None:
    def state() -> tuple[str, set[str], str]:
        interfaces = {line.split(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]}
        return os.readlink("/proc/self/ns/net"), interfaces, Path("/proc/self/mounts").read_text()

    before = state()
    machine.detect()
    assert state() == before


def test_without_any_tool_in_reach_it_says_which_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.detect()
    assert {"compiler", "strace", "namespaces", "packet-filter"} <= found.missing.keys()
    assert "cc" in found.missing["compiler"]
    assert "nsenter" in found.missing["namespaces"]
