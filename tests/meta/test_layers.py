"""Imports point down, and each outside library has the one place that may know it."""

import ast

import pytest

from tests.meta.sources import AROUND, ROOMS, Module, imports_of, is_within, modules_of

MAY_IMPORT: dict[str, set[str]] = {
    "base": set(),
    "structs": {"base"},
    "rpc": {"base"},
    "gossip": {"base"},
    "acl": {"base", "structs"},
    "connect": {"base", "structs"},
    "fsm": {"base", "structs"},
    "agent": {"base", "structs", "acl", "connect", "gossip", "rpc"},
    "server": {"base", "structs", "acl", "connect", "gossip", "rpc", "fsm"},
    "mesh": {"base", "structs", "connect.spiffe"},
    "jepsen": {"mesh", "structs", "base", "rpc"},  # rpc: replicas' digests are asked over it
}
"""Room -> what else of ours its files may name."""

MEETING_POINTS: dict[str, set[str]] = {
    "server.main": {"agent"},  # the one place where a server gets its embedded agent
    "jepsen.subject": {"server", "agent", "fsm"},  # runs a server with its disk or its promises broken on purpose
    "mesh.cli.tls": {"rpc.certificates"},  # the command that makes certificates; nothing else of rpc
    "mesh.cli.validate": {"agent.config"},  # must give the very answer that a start would give
}

LIBRARY_HOMES: dict[str, tuple[str, ...]] = {
    "msgpack": ("base.codec",),
    "msgspec.msgpack": ("base.codec",),
    "pysyncobj": ("server.raft",),
    "lmdb": ("fsm",),
    "httptools": ("agent.http",),
    "dns": ("agent.dns.message",),
    "h2": ("agent.checks.http2",),
    "lark": ("base.hcl_grammar", "base.expression_grammar"),
    "re2": ("base.patterns",),
    "rich": ("mesh", "jepsen"),
    "prometheus_client": ("agent.exposition",),
    "psutil": ("agent.host", "agent.metrics"),
    "pickle": (),
    "marshal": (),
    "shelve": (),
}
"""Library -> the only rooms or files that may import it; an upgrade is then read in one place."""


@pytest.mark.parametrize("module", modules_of(*ROOMS), ids=lambda module: module.place)
def test_imports_point_down(module: Module) -> None:
    meeting = {room for place, rooms in MEETING_POINTS.items() if is_within(module.name, place) for room in rooms}
    allowed = {module.room} | MAY_IMPORT[module.room] | meeting
    for target, line in imports_of(module):
        if target.partition(".")[0] in (*ROOMS, *AROUND):
            assert any(is_within(target, prefix) for prefix in allowed), f"{module.place}:{line} imports {target}"


@pytest.mark.parametrize("module", modules_of(*ROOMS), ids=lambda module: module.place)
def test_outside_libraries_stay_where_they_are_known(module: Module) -> None:
    for target, line in imports_of(module):
        for library, homes in LIBRARY_HOMES.items():
            if is_within(target, library):
                at_home = any(is_within(module.name, home) for home in homes)
                assert at_home, f"{module.place}:{line} imports {target}; only {homes or 'nobody'} may"


def test_private_names_of_the_consensus_library_are_touched_in_one_file() -> None:
    """They begin with `_SyncObj__`: name-mangled attributes, which an upgrade may move without notice."""
    for module in modules_of(*ROOMS):
        if module.name == "server.raft.pysyncobj_seams":
            continue
        for node in ast.walk(module.tree):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
            if isinstance(name, str) and name.startswith("_SyncObj__"):
                line = getattr(node, "lineno", 0)
                pytest.fail(f"{module.place}:{line} reaches into the consensus library: {name}")


def test_every_room_is_installed() -> None:
    """A room that packaging forgets works in the checkout and nowhere else."""
    import tomllib

    from tests.meta.sources import ROOT

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    for room in ROOMS:
        assert f"{room}*" in included
