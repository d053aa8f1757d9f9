"""What the command prints and how it ends: one test a section of the command-line specification."""

import base64
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.cli.registry import COMMANDS
from tests.fakes.http_agent import Asked, Script, Told, fake_agent, script_of
from tests.unit.mesh.test_archive import GOOD


class Terminal:
    """Runs command lines against one scripted agent and keeps what they printed."""

    def __init__(self, script: Script = lambda _: Told(body=b"true")) -> None:
        self._script = script
        self.asked: list[Asked] = []
        self.code = -1
        self.out = b""
        self.err = ""

    def type(self, *words: str, stdin: bytes = b"") -> "Terminal":
        """Run `mesh` with these words."""
        stdout, stderr = io.BytesIO(), io.StringIO()
        with fake_agent(self._script) as agent:
            environment = {"CONSUL_HTTP_ADDR": agent.address}
            self.code = run(words, environment, io.BytesIO(stdin), stdout, stderr)
            self.asked = agent.asked
        self.out, self.err = stdout.getvalue(), stderr.getvalue()
        return self


def rows(*entries: dict[str, object]) -> Script:
    return script_of(Told(body=json.dumps(entries).encode()))


def entry(key: str, value: bytes, **more: object) -> dict[str, object]:
    text = base64.b64encode(value).decode() or None
    return {"Key": key, "Value": text, "Flags": 0, "LockIndex": 0, "CreateIndex": 336, "ModifyIndex": 336, **more}


NOT_FOUND = script_of(Told(status=404))


# kv get


def test_kv_get_prints_the_value_and_a_line_end_whatever_bytes_it_holds() -> None:
    terminal = Terminal(rows(entry("a", b"\x00\xffhi"))).type("kv", "get", "/a")
    assert (terminal.code, terminal.out, terminal.err) == (0, b"\x00\xffhi\n", "")
    assert terminal.asked[0].path == "/v1/kv/a"


def test_kv_get_of_a_missing_key_says_so_on_stderr_and_exits_1() -> None:
    terminal = Terminal(NOT_FOUND).type("kv", "get", "k")
    assert (terminal.code, terminal.out, terminal.err) == (1, b"", "Error! No key exists at: k\n")


def test_kv_get_detailed_aligns_names_and_values() -> None:
    terminal = Terminal(rows(entry("a", b"hello"))).type("kv", "get", "-detailed", "a")
    assert terminal.out.decode() == (
        "CreateIndex      336\nFlags            0\nKey              a\nLockIndex        0\nModifyIndex      336\n"
        "Session          -\nValue            hello\n"
    )


def test_kv_get_recurse_prints_key_colon_value() -> None:
    script = rows(entry("a", b"1"), entry("b/c", b""), entry("d", b"x:y"))
    assert Terminal(script).type("kv", "get", "-recurse").out == b"a:1\nb/c:\nd:x:y\n"
    assert Terminal(script).type("kv", "get", "-recurse", "-base64", "a").out == b"a:MQ==\nb/c:\nd:eDp5\n"


def test_kv_get_recurse_detailed_separates_entries_by_blank_lines() -> None:
    out = Terminal(rows(entry("a", b"1"), entry("b", b"2", Session="s"))).type("kv", "get", "-recurse", "-detailed").out
    assert out.decode().split("\n\n")[1].startswith("CreateIndex      336\n")
    assert out.count(b"\n\n") == 1
    assert b"Session          s\n" in out
    assert out.endswith(b"Value            2\n")


def test_kv_get_keys_prints_one_key_a_line_folded_at_the_separator() -> None:
    terminal = Terminal(script_of(Told(body=b'["a","b/"]'))).type("kv", "get", "-keys", "-stale", "x")
    assert terminal.out == b"a\nb/\n"
    assert terminal.asked[0].path == "/v1/kv/x?stale=&keys=&separator=%2F"
    assert Terminal(NOT_FOUND).type("kv", "get", "-keys", "x").code == 0


@pytest.mark.parametrize("words", [["get"], ["put"], ["delete"], ["import"], ["get", "/"], ["put", "/", "x"]])
def test_kv_commands_need_a_key(words: list[str]) -> None:
    terminal = Terminal().type("kv", *words)
    assert (terminal.code, terminal.out) == (1, b"")
    assert terminal.err.startswith("Error! Missing ")


def test_too_many_arguments_are_refused() -> None:
    assert "Too many arguments (expected 1, got 2)" in Terminal().type("kv", "get", "a", "b").err
    assert "Too many arguments (expected 1 or 2, got 3)" in Terminal().type("kv", "put", "a", "b", "c").err


# kv put


def test_kv_put_takes_data_files_and_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"\x00file")
    for words, stdin, body in (
        (["a", "text"], b"", b"text"),
        (["a"], b"", b""),
        (["a", f"@{file}"], b"", b"\x00file"),
        (["a", "-"], b"piped\n", b"piped\n"),
        (["-base64", "a", "aGk="], b"", b"hi"),
        (["a", "-5"], b"", b"-5"),
    ):
        terminal = Terminal().type("kv", "put", *words, stdin=stdin)
        assert (terminal.code, terminal.out, terminal.err) == (0, b"Success! Data written to: a\n", "")
        assert terminal.asked[0].body == body


def test_kv_put_says_what_it_did() -> None:
    for words, success, failure in (
        (["-cas", "-modify-index=4"], "Data written to: k", "Did not write to k: CAS failed"),
        (["-cas"], "Data written to: k", "Did not write to k: CAS failed"),
        (["-acquire", "-session=s"], "Lock acquired on: k", "Did not acquire lock"),
        (["-release", "-session=s"], "Lock released on: k", "Did not release lock"),
    ):
        good = Terminal().type("kv", "put", *words, "k", "v")
        assert (good.code, good.out.decode()) == (0, f"Success! {success}\n")
        bad = Terminal(script_of(Told(body=b"false"))).type("kv", "put", *words, "k", "v")
        assert (bad.code, bad.out, bad.err) == (1, b"", f"Error! {failure}\n")


def test_kv_put_tells_whether_a_failed_write_may_have_happened() -> None:
    told = Told(status=500, body=b"odd", headers={"X-Mesh-Outcome": "unknown"})
    terminal = Terminal(script_of(told)).type("kv", "put", "k", "v")
    assert terminal.code == 1
    assert terminal.err == (
        "Error! Failed writing data: Unexpected response code: 500 (odd); it may or may not have happened\n"
    )
    terminal = Terminal(script_of(Told(status=500, body=b"No cluster leader"))).type("kv", "put", "k", "v")
    assert terminal.err == "Error! Failed writing data: Unexpected response code: 500 (No cluster leader)\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-base64", "k", "%%%"], "Cannot base 64 decode data"),
        (["-acquire", "k", "v"], "Missing -session"),
        (["-acquire", "-release", "-session=s", "k"], "Cannot specify both"),
        (["k", "@/nonexistent"], "Failed to read file: open /nonexistent: No such file or directory"),
        (["-flags=x", "k"], "invalid value 'x' for flag -flags"),
    ],
)
def test_kv_put_refuses_nonsense_before_asking_anybody(words: list[str], text: str) -> None:
    terminal = Terminal().type("kv", "put", *words)
    assert (terminal.code, terminal.asked) == (1, [])
    assert text in terminal.err


# kv delete, export, import


def test_kv_delete_says_what_it_did() -> None:
    assert Terminal().type("kv", "delete", "k").out == b"Success! Deleted key: k\n"
    assert Terminal().type("kv", "delete", "-recurse", "p").out == b"Success! Deleted keys with prefix: p\n"
    assert Terminal().type("kv", "delete", "-cas", "-modify-index=3", "k").out == b"Success! Deleted key: k\n"
    failed = Terminal(script_of(Told(body=b"false"))).type("kv", "delete", "-cas", "-modify-index=3", "k")
    assert (failed.code, failed.err) == (1, "Error! Did not delete key k: CAS failed\n")


def test_deleting_everything_has_to_be_said() -> None:
    assert Terminal().type("kv", "delete", "").code == 1
    assert Terminal().type("kv", "delete", "-recurse", "").code == 0
    assert "Must specify -modify-index" in Terminal().type("kv", "delete", "-cas", "k").err
    assert "without -cas" in Terminal().type("kv", "delete", "-modify-index=3", "k").err
    assert "both -recurse and -cas" in Terminal().type("kv", "delete", "-recurse", "-cas", "-modify-index=1", "k").err


def test_what_is_exported_can_be_imported() -> None:
    exported = Terminal(rows(entry("a", b"<1>", Flags=7), entry("é/b", b""))).type("kv", "export", "/")
    assert exported.out.decode() == (
        '[\n\t{\n\t\t"key": "a",\n\t\t"flags": 7,\n\t\t"value": "PDE+"\n\t},\n'
        '\t{\n\t\t"key": "é/b",\n\t\t"flags": 0,\n\t\t"value": ""\n\t}\n]\n'
    )
    imported = Terminal().type("kv", "import", "-", stdin=exported.out)
    assert imported.out.decode() == "Imported: a\nImported: é/b\n"
    assert [(asked.path, asked.body) for asked in imported.asked] == [
        ("/v1/kv/a?flags=7", b"<1>"),
        ("/v1/kv/%C3%A9/b", b""),
    ]
    assert Terminal().type("kv", "import", "-prefix=x/", "-", stdin=exported.out).asked[0].path == "/v1/kv/x/a?flags=7"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}x", b'{"a": 1}', b'[{"flags": 1}]', b'[{"key": 1}]', b'[{"key": ""}]', b'[{"key": "a", "value": "%"}]'],
)
def test_an_import_that_is_no_export_writes_nothing(data: bytes) -> None:
    terminal = Terminal().type("kv", "import", "-", stdin=b'[{"key": "ok"},' + data[1:] if data[:2] == b"[{" else data)
    assert (terminal.code, terminal.asked) == (1, [])
    assert "Cannot unmarshal data" in terminal.err


# members


def member(name: str, role: str, **more: object) -> dict[str, object]:
    tags = {"role": role, "dc": "dc1", "build": "1.2.1:abc", "vsn": "2"}
    return {"Name": name, "Addr": "10.0.0.1", "Port": 8301, "Status": 1, "Tags": tags, **more}


MEMBERS = rows(member("s2", "consul"), member("c1", "node", Status=4, Addr="fd00::1"), member("s1", "consul", Status=3))


def test_members_are_a_table_by_segment_and_name() -> None:
    assert Terminal(MEMBERS).type("members").out.decode() == (
        "Node  Address         Status  Type    Build  Protocol  DC   Segment\n"
        "s1    10.0.0.1:8301   left    server  1.2.1  2         dc1  <all>\n"
        "s2    10.0.0.1:8301   alive   server  1.2.1  2         dc1  <all>\n"
        "c1    [fd00::1]:8301  failed  client  1.2.1  2         dc1  <default>\n"
    )


def test_members_can_be_detailed_and_filtered() -> None:
    terminal = Terminal(MEMBERS).type("members", "-detailed", "-status=^alive$")
    assert terminal.out.decode() == (
        "Node  Address        Status  Tags\ns2    10.0.0.1:8301  alive   build=1.2.1:abc,dc=dc1,role=consul,vsn=2\n"
    )


def test_no_matching_member_exits_2_and_prints_nothing() -> None:
    terminal = Terminal(MEMBERS).type("members", "-status=nothing")
    assert (terminal.code, terminal.out, terminal.err) == (2, b"", "")
    assert Terminal(MEMBERS).type("members", "-status=(").code == 1


# operator raft, info


def test_list_peers_is_a_table() -> None:
    server = {"ID": "f5c", "Node": "n1", "Address": "10.0.0.1:8300", "Leader": True, "Voter": True}
    servers = [
        {**server, "ProtocolVersion": "3"},
        {**server, "Node": "n2", "Leader": False, "Voter": False, "ProtocolVersion": "3"},
    ]
    script = script_of(Told(body=json.dumps({"Servers": servers, "Index": 1}).encode()))
    terminal = Terminal(script).type("operator", "raft", "list-peers", "-stale")
    assert terminal.out.decode() == (
        "Node  ID   Address        State     Voter  RaftProtocol\n"
        "n1    f5c  10.0.0.1:8300  leader    true   3\n"
        "n2    f5c  10.0.0.1:8300  follower  false  3\n"
    )
    assert terminal.asked[0].path.endswith("?stale=")


def test_remove_peer_and_transfer_leader_say_what_they_did() -> None:
    assert Terminal().type("operator", "raft", "remove-peer", "-id=x").out == b'Removed peer with id "x"\n'
    terminal = Terminal().type("operator", "raft", "remove-peer", "-address=a:1")
    assert terminal.out == b'Removed peer with address "a:1"\n'
    assert Terminal().type("operator", "raft", "remove-peer").code == 1
    assert Terminal().type("operator", "raft", "remove-peer", "-id=x", "-address=y").code == 1
    done = script_of(Told(body=b'{"Success": true}'))
    assert Terminal(done).type("operator", "raft", "transfer-leader").out == b"Success\n"
    failed = Terminal(script_of(Told(status=500, body=b"no"))).type("operator", "raft", "transfer-leader")
    assert (failed.code, failed.out) == (1, b"")


def test_info_prints_sorted_sections() -> None:
    script = script_of(Told(body=json.dumps({"Stats": {"raft": {"b": "2", "a": "1"}, "agent": {}}}).encode()))
    assert Terminal(script).type("info").out == b"agent:\nraft:\n\ta = 1\n\tb = 2\n"


# snapshot


def test_snapshots_are_saved_verified_and_private(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    terminal = Terminal(script_of(Told(body=GOOD))).type("snapshot", "save", str(path))
    assert (terminal.code, terminal.out) == (0, b"Saved and verified snapshot to index 12\n")
    assert path.read_bytes() == GOOD
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("told", [Told(body=GOOD[:-9]), Told(body=GOOD, cut=True), Told(status=500, body=b"no")])
def test_a_snapshot_that_is_not_intact_never_gets_its_name(tmp_path: Path, told: Told) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(b"older")
    terminal = Terminal(script_of(told)).type("snapshot", "save", str(path))
    assert terminal.code == 1
    assert terminal.err.startswith("Error saving snapshot: ")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x.tgz", b"older")]


def test_restore_sends_what_it_verified(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(GOOD)
    terminal = Terminal(script_of(Told())).type("snapshot", "restore", str(path))
    assert (terminal.code, terminal.out) == (0, b"Restored snapshot\n")
    assert (terminal.asked[0].method, terminal.asked[0].body) == ("PUT", GOOD)
    path.write_bytes(GOOD[:-9])
    terminal = Terminal(script_of(Told())).type("snapshot", "restore", str(path))
    assert (terminal.code, terminal.asked) == (1, [])


def test_inspect_describes_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(GOOD)
    assert Terminal().type("snapshot", "inspect", str(path)).out.decode() == (
        "ID           2-12-1\nSize         5\nIndex        12\nTerm         2\nVersion      1\n"
    )
    assert Terminal().type("snapshot", "inspect", str(tmp_path / "none")).code == 1


# version, keygen, validate, tls


def test_version_and_keygen() -> None:
    for words in (["version"], ["-v"], ["--version"]):
        assert Terminal().type(*words).out.splitlines()[1].startswith(b"Protocol 2 spoken by default")
    assert len(base64.b64decode(Terminal().type("keygen").out)) == 32


def test_validate_says_whether_a_start_would_work(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"data_dir": "/x", "bind_addr": "127.0.0.1", "enable_syslog": true}')
    bad.write_text('{"data_dir": "/x", "bind_addr": "127.0.0.1", "datacentre": "x"}')
    terminal = Terminal().type("validate", str(good))
    assert (terminal.code, terminal.out) == (0, b"Configuration is valid!\n")
    assert terminal.err == f"Warning: {good}: enable_syslog: known, has no effect yet\n"
    quiet = Terminal().type("validate", "-quiet", str(good))
    assert (quiet.code, quiet.out, quiet.err) == (0, b"", "")
    terminal = Terminal().type("validate", str(bad))
    assert (terminal.code, terminal.out) == (1, b"")
    assert terminal.err == f"Config validation failed: {bad}: datacentre: invalid config key\n"
    assert Terminal().type("validate").code == 1


def test_tls_makes_an_authority_and_certificates_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = b"==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem\n"
    assert Terminal().type("tls", "ca", "create").out == saved
    assert Terminal().type("tls", "ca", "create").code == 1
    terminal = Terminal().type("tls", "cert", "create", "-server", "-additional-ipaddress=10.0.0.1")
    assert terminal.out.decode().splitlines() == [
        "==> Using consul-agent-ca.pem and consul-agent-ca-key.pem",
        "==> Saved dc1-server-consul-0.pem",
        "==> Saved dc1-server-consul-0-key.pem",
    ]
    assert "WARNING" in terminal.err
    assert b"dc1-server-consul-1.pem" in Terminal().type("tls", "cert", "create", "-server").out
    assert b"x-client-consul-0.pem" in Terminal().type("tls", "cert", "create", "-client", "-dc=x").out
    assert Terminal().type("tls", "cert", "create").code == 1
    for words in (["-client", "-additional-ipaddress=x"], ["-client", "-ca=none.pem"], ["-client", "-days=0"]):
        terminal = Terminal().type("tls", "cert", "create", *words)
        assert (terminal.code, terminal.err[:7]) == (1, "Error! ")
    for key in tmp_path.glob("*-key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


# help, unknown commands, agents that are away


def test_unknown_commands_exit_127_and_groups_help() -> None:
    bare, unknown, group = Terminal().type(), Terminal().type("kv", "frob"), Terminal().type("kv")
    assert (bare.code, unknown.code, group.code) == (127, 127, 1)
    assert "Unknown command: mesh kv frob" in unknown.err
    assert "export    Print keys and values as JSON" in group.err
    assert bare.out + unknown.out + group.out == b""
    helped = Terminal().type("-h")
    assert (helped.code, helped.err) == (0, "")


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_has_help_and_a_handler(path: str) -> None:
    terminal = Terminal().type(*path.split(), "-h")
    assert (terminal.code, terminal.err) == (0, "")
    assert terminal.out.startswith(f"Usage: mesh {path}".encode())
    assert callable(COMMANDS[path].handler())


def test_unknown_flags_print_the_usage() -> None:
    terminal = Terminal().type("kv", "get", "-nope", "a")
    assert (terminal.code, terminal.out) == (1, b"")
    assert "flag provided but not defined: -nope" in terminal.err


@pytest.mark.parametrize("words", [["kv", "get", "a"], ["members"], ["info"], ["kv", "export"]])
def test_an_agent_that_is_away_is_one_line_on_stderr(words: list[str]) -> None:
    stdout, stderr = io.BytesIO(), io.StringIO()
    code = run(words, {"CONSUL_HTTP_ADDR": "127.0.0.1:1"}, io.BytesIO(), stdout, stderr)
    assert (code, stdout.getvalue()) == (1, b"")
    assert stderr.getvalue() == "Error querying Consul agent: http://127.0.0.1:1: Connection refused\n"


def test_the_token_comes_from_flag_file_or_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    script = rows(entry("a", b""))
    assert Terminal(script).type("kv", "get", "-token=x", "a").asked[0].headers["x-consul-token"] == "x"
    terminal = Terminal(script).type("kv", "get", f"-token-file={file}", "a")
    assert terminal.asked[0].headers["x-consul-token"] == "from-file"


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    with fake_agent(rows(*(entry(f"k{number}", b"x" * 1000) for number in range(500)))) as agent:
        command = f"{sys.executable} -m mesh.cli.main kv get -recurse | head -c 10"
        environment = {**os.environ, "CONSUL_HTTP_ADDR": agent.address}
        done = subprocess.run(command, shell=True, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (b"k0:xxxxxxx", b"")


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("kv get k >/dev/full", 1, b"", b"Error! Failed to write: No space left on device\n"),
        ("kv get k >&-", 0, b"", b""),
        ("kv get k <&- 2>&-", 0, b"v\n", b""),
        ("kv get k <&-", 0, b"v\n", b""),
        ("kv bogus 2>&-", 127, b"", b""),
    ],
)
def test_closed_streams_and_full_disks_are_no_tracebacks(command: str, code: int, out: bytes, err: bytes) -> None:
    with fake_agent(rows(entry("k", b"v"))) as agent:
        environment = {**os.environ, "CONSUL_HTTP_ADDR": agent.address}
        line = f"exec {sys.executable} -m mesh.cli.main {command}"
        done = subprocess.run(line, shell=True, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_reading_a_key_loads_nothing_that_is_slow() -> None:
    program = (
        "import sys; from mesh.cli.registry import COMMANDS; import mesh.client; "
        "[COMMANDS[path].handler() for path in ('kv get', 'members')]; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    slow = {"httpx", "lark", "rich", "trio", "asyncio", "cryptography", "lmdb", "agent", "server", "rpc"}
    assert not slow & set(loaded.stdout.split())


class Screen(io.StringIO):
    """A stderr that somebody watches."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_a_progress_bar_is_shown_only_where_somebody_watches_and_never_on_stdout(tmp_path: Path) -> None:
    exported = json.dumps([{"key": f"k{number}", "flags": 0, "value": ""} for number in range(20)]).encode()
    for words, answer, stdin in (
        (["kv", "import", "-"], Told(body=b"true"), exported),
        (["snapshot", "save", str(tmp_path / "x.tgz")], Told(body=GOOD), b""),
    ):
        quiet = Terminal(script_of(answer)).type(*words, stdin=stdin)
        assert quiet.err == ""
        stdout, screen = io.BytesIO(), Screen()
        with fake_agent(script_of(answer)) as agent:
            code = run(words, {"CONSUL_HTTP_ADDR": agent.address}, io.BytesIO(stdin), stdout, screen)
        assert (code, stdout.getvalue()) == (0, quiet.out)
        assert "ing" in screen.getvalue()
