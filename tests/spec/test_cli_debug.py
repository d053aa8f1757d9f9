"""What `mesh monitor` and `mesh debug` print, write and never write."""

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from mesh.cli.debug import without_secrets
from tests.fakes.http_agent import Asked, Told, script_of
from tests.spec.test_cli import Terminal

LOG = b"2026-11-23T10:00:00.123Z [INFO] raft: became leader\n2026-11-23T10:00:01.123Z [WARN] x: \x1b[2J\n"
SELF = {
    "Config": {"Version": "1.21.0"},
    "DebugConfig": {"acl.tokens.default": "sesame", "encrypt": "sesame", "node_name": "n1", "dns_config": {"a": [1]}},
}
MEMBER = {"Name": "n1", "Addr": "10.0.0.1", "Port": 8301, "Tags": {"dc": "dc1"}, "Status": 1}


def agent(asked: Asked) -> Told:
    """Answer as an agent would that has no /debug/tasks."""
    answers = {
        "/v1/agent/self": SELF,
        "/v1/agent/host": {"Memory": {"total": 1}},
        "/v1/agent/members": [MEMBER],
        "/v1/agent/metrics": {"Gauges": []},
    }
    path = asked.path.partition("?")[0]
    if path == "/v1/agent/monitor":
        return Told(body=LOG)
    return Told(body=json.dumps(answers[path]).encode()) if path in answers else Told(status=404, body=b"no")


def test_monitor_prints_lines_and_says_when_the_agent_ends_them() -> None:
    terminal = Terminal(agent).type("monitor", "-log-level=debug")
    assert terminal.out == LOG.replace(b"\x1b", b"\\x1b")
    assert terminal.code == 1
    assert terminal.err.startswith("Remote side ended the monitor!")
    assert [asked.path for asked in terminal.asked] == ["/v1/agent/monitor?loglevel=debug"]


def test_monitor_tells_what_the_agent_refuses() -> None:
    refused = script_of(Told(status=400, body=b"Unknown log level: x"))
    terminal = Terminal(refused).type("monitor", "-log-level=x", "-log-json")
    assert (terminal.code, terminal.out) == (1, b"")
    assert terminal.err == "Error starting monitor: Unexpected response code: 400 (Unknown log level: x)\n"
    assert terminal.asked[0].path == "/v1/agent/monitor?loglevel=x&logjson=1"


def test_debug_writes_one_private_archive_without_secrets(tmp_path: Path) -> None:
    name = tmp_path / "d"
    terminal = Terminal(agent).type("debug", "-duration=1s", "-interval=1s", f"-output={name}")
    assert (terminal.code, terminal.err) == (0, "")
    assert terminal.out.decode().splitlines()[-1] == f"Saved debug archive: {name}.tar.gz"
    path = f"{name}.tar.gz"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    files: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            files[member.name] = file.read()
    assert sorted(files) == [
        "d/agent.json", "d/consul.log", "d/host.json", "d/index.json", "d/members.json", "d/metrics.jsonl",
    ]  # fmt: skip
    assert files["d/consul.log"] == LOG
    assert b"sesame" not in b"".join(files.values())
    assert json.loads(files["d/agent.json"])["DebugConfig"]["node_name"] == "n1"
    assert list(json.loads(files["d/index.json"])["Errors"]) == ["tasks"]
    assert len(files["d/metrics.jsonl"].splitlines()) >= 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-duration=2",), "duration: "),
        (("-duration=2h",), "duration must be from 1s to 3600s"),
        (("-interval=1ms",), "interval must be from 1s to 3600s"),
        (("-capture=pprof",), "capture: 'pprof' is none of agent, host, members, metrics, logs, tasks"),
    ],
)
def test_debug_refuses_what_makes_no_sense_before_it_asks_anybody(words: tuple[str, ...], complaint: str) -> None:
    terminal = Terminal(agent).type("debug", *words)
    assert (terminal.code, terminal.out, terminal.asked) == (1, b"", [])
    assert complaint in terminal.err


def test_debug_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "d.tar.gz").write_bytes(b"kept")
    terminal = Terminal(agent).type("debug", f"-output={tmp_path / 'd'}")
    assert (terminal.code, terminal.asked) == (1, [])
    assert (tmp_path / "d.tar.gz").read_bytes() == b"kept"


def test_secrets_are_known_by_their_names() -> None:
    given = {"Token": "a", "x": [{"acl.tokens.agent": "b", "key_file": "/k", "Secret": ""}], "Authorization": ["c"]}
    assert without_secrets(given) == {
        "Token": "hidden",
        "x": [{"acl.tokens.agent": "hidden", "key_file": "/k", "Secret": ""}],
        "Authorization": "hidden",
    }
