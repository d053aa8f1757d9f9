"""What the commands about services, maintenance, locks, watches and remote execution print, and how they end."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.main import run
from tests.fakes.http_agent import Asked, Script, Told, fake_agent, script_of
from tests.fakes.kv_agent import KVAgent, Threads
from tests.spec.test_cli import Terminal

PATIENCE_S = 60.0
REFUSED = script_of(Told(status=500, body=b"no", headers={"X-Mesh-Outcome": "refused"}))
SAID = "Unexpected response code: 500 (no)"


def told(value: Any) -> Script:
    return script_of(Told(body=json.dumps(value).encode(), headers={"X-Consul-Index": "7"}))


# catalog


def test_catalog_services_prints_names_and_with_tags_their_tags() -> None:
    script = told({"web": ["v2", "v1"], "consul": [], "a-long-name": ["x"]})
    assert Terminal(script).type("catalog", "services").out == b"a-long-name\nconsul\nweb\n"
    terminal = Terminal(script).type("catalog", "services", "-tags", "-node-meta=a=b")
    assert terminal.out.decode() == "a-long-name      x\nconsul           \nweb              v1,v2\n"
    assert terminal.asked[0].path == "/v1/catalog/services?node-meta=a%3Ab"
    node = {"Node": {"Node": "n1"}, "Services": {"w1": {"ID": "w1", "Service": "web", "Tags": ["t"]}}}
    terminal = Terminal(told(node)).type("catalog", "services", "-node=n1", "-tags")
    assert (terminal.out, terminal.asked[0].path) == (b"web      t\n", "/v1/catalog/node/n1")
    assert Terminal(REFUSED).type("catalog", "services").err == f"Error listing services: {SAID}\n"


def test_catalog_nodes_of_a_service_names_each_node_once() -> None:
    row = {"ID": "abc-d", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1", "ServiceName": "web"}
    rows = [{**row, "ServiceID": "w1"}, {**row, "ServiceID": "w2"}]
    terminal = Terminal(told(rows)).type("catalog", "nodes", "-service=web", "-near=_agent")
    assert terminal.out.decode() == "Node  ID   Address   DC\nn1    abc  10.0.0.1  dc1\n"
    assert terminal.asked[0].path == "/v1/catalog/service/web?near=_agent"


# services


def test_services_register_takes_flags_and_files(tmp_path: Path) -> None:
    terminal = Terminal(script_of(Told())).type(
        "services", "register", "-name=web", "-port=80", "-tag=a", "-tag=b", "-meta=k=v"
    )
    assert (terminal.code, terminal.out) == (0, b"Registered service: web\n")
    assert json.loads(terminal.asked[0].body) == {"Name": "web", "Port": 80, "Tags": ["a", "b"], "Meta": {"k": "v"}}
    as_json = tmp_path / "web.json"
    as_json.write_text('{"service": {"name": "web", "checks": [{"http": "http://x", "interval": "10s"}]}}')
    as_hcl = tmp_path / "db.hcl"
    as_hcl.write_text(
        'services {\n id = "db1"\n name = "db"\n meta { some_key = "v" }\n'
        ' check { args = ["x"] deregister_critical_service_after = "1m" }\n}'
    )
    terminal = Terminal(script_of(Told())).type("services", "register", str(as_json), str(as_hcl))
    assert (terminal.code, terminal.out) == (0, b"Registered service: web\nRegistered service: db\n")
    assert [json.loads(asked.body) for asked in terminal.asked] == [
        {"Name": "web", "Checks": [{"HTTP": "http://x", "Interval": "10s"}]},
        {
            "ID": "db1",
            "Name": "db",
            "Meta": {"some_key": "v"},
            "Check": {"Args": ["x"], "DeregisterCriticalServiceAfter": "1m"},
        },
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"service": {"port": 1}}', '{"service": {"name": "a", "prot": 1}}'])
def test_services_register_refuses_files_that_make_no_sense(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    terminal = Terminal().type("services", "register", str(file))
    assert (terminal.code, terminal.out, terminal.asked) == (1, b"", [])
    assert terminal.err.startswith("Error! ")
    assert Terminal().type("services", "register").code == 1


def test_services_deregister_takes_an_id_or_files(tmp_path: Path) -> None:
    terminal = Terminal(script_of(Told())).type("services", "deregister", "-id=web1")
    assert (terminal.out, terminal.asked[0].path) == (
        b"Deregistered service: web1\n", "/v1/agent/service/deregister/web1",
    )  # fmt: skip
    file = tmp_path / "web.json"
    file.write_text('{"services": [{"name": "web"}, {"id": "b1", "name": "b"}]}')
    terminal = Terminal(script_of(Told())).type("services", "deregister", str(file))
    assert terminal.out == b"Deregistered service: web\nDeregistered service: b1\n"
    assert Terminal().type("services", "deregister").code == 1
    assert Terminal(REFUSED).type("services", "deregister", "-id=x").err == f'Error deregistering service "x": {SAID}\n'


# maint, reload


def test_maint_says_what_it_did() -> None:
    for words, text, path in (
        (["-enable", "-reason=why"], "Node maintenance is now enabled", "maintenance?enable=true&reason=why"),
        (["-disable"], "Node maintenance is now disabled", "maintenance?enable=false"),
        (["-enable", "-service=w"], 'Service maintenance is now enabled for "w"', "service/maintenance/w?enable=true"),
        (
            ["-disable", "-service=w"],
            'Service maintenance is now disabled for "w"',
            "service/maintenance/w?enable=false",
        ),
    ):
        terminal = Terminal(script_of(Told())).type("maint", *words)
        assert (terminal.code, terminal.out.decode()) == (0, f"{text}\n")
        assert terminal.asked[0].path == f"/v1/agent/{path}"
    for words in (["-enable", "-disable"], ["-reason=x"], ["-service=w"], ["x"]):
        assert Terminal().type("maint", *words).code == 1


def test_maint_lists_what_is_under_maintenance() -> None:
    check = {"Node": "n1", "Name": "x", "Status": "critical"}
    checks = {
        "_node_maintenance": {**check, "CheckID": "_node_maintenance", "Notes": "disks"},
        "_service_maintenance:web": {**check, "CheckID": "_service_maintenance:web", "Notes": "text"},
        "other": {**check, "CheckID": "other"},
    }

    def script(asked: Asked) -> Told:
        found = {"Config": {"NodeName": "n1"}} if asked.path == "/v1/agent/self" else checks
        return Told(body=json.dumps(found).encode())

    assert Terminal(script).type("maint").out.decode() == (
        "Node:\n  Name:   n1\n  Reason: disks\n\nService:\n  ID:     web\n  Reason: text\n\n"
    )


def test_reload_says_so() -> None:
    terminal = Terminal(script_of(Told())).type("reload")
    assert (terminal.code, terminal.out) == (0, b"Configuration reload triggered\n")
    assert (terminal.asked[0].method, terminal.asked[0].path) == ("PUT", "/v1/agent/reload")
    terminal = Terminal(REFUSED).type("reload")
    assert (terminal.code, terminal.err) == (1, f"Error reloading: {SAID}\n")


# watch


def viewed(path: str, value: Any) -> Script:
    def script(asked: Asked) -> Told:
        if asked.path == "/v1/agent/self":
            return Told(body=b"{}")
        assert asked.path == path, asked.path
        return Told(body=json.dumps(value).encode(), headers={"X-Consul-Index": "7"})

    return script


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["-type=key", "-key=a"], "/v1/kv/a"),
        (["-type=keyprefix", "-prefix=a"], "/v1/kv/a?recurse="),
        (["-type=services"], "/v1/catalog/services"),
        (["-type=nodes", "-stale"], "/v1/catalog/nodes?stale="),
        (["-type=service", "-service=w", "-tag=t", "-passingonly"], "/v1/health/service/w?tag=t&passing=1"),
        (["-type=checks"], "/v1/health/state/any"),
        (["-type=checks", "-state=critical"], "/v1/health/state/critical"),
        (["-type=checks", "-service=w"], "/v1/health/checks/w"),
        (["-type=event", "-name=deploy"], "/v1/event/list?name=deploy"),
    ],
)
def test_watch_prints_a_view_once(words: list[str], path: str) -> None:
    terminal = Terminal(viewed(path, [{"Key": "ü"}])).type("watch", *words)
    shown = '{\n    "Key": "ü"\n}\n' if "-type=key" in words else '[\n    {\n        "Key": "ü"\n    }\n]\n'
    assert (terminal.code, terminal.out.decode()) == (0, shown)


def test_watch_runs_a_program_at_each_change_until_it_fails(tmp_path: Path) -> None:
    answers = iter([(5, "a"), (6, "b"), (7, "c")])

    def script(asked: Asked) -> Told:
        if asked.path == "/v1/agent/self":
            return Told(body=b"{}")
        index, name = next(answers)
        return Told(body=json.dumps({name: []}).encode(), headers={"X-Consul-Index": str(index)})

    log = tmp_path / "log"
    program = f"cat >> {log}; echo $CONSUL_INDEX >> {log}; test $CONSUL_INDEX != 6"
    terminal = Terminal(script).type("watch", "-type=services", program)
    assert (terminal.code, terminal.out) == (1, b"")
    assert terminal.err == "Error executing handler: exit status 1\n"
    assert log.read_text() == '{"a":[]}\n5\n{"b":[]}\n6\n'


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-type=key"],
        ["-type=service"],
        ["-type=connect_roots"],
        ["-type=x"],
        ["-type=checks", "-service=a", "-state=b"],
    ],
)
def test_watch_refuses_what_it_cannot_watch(words: list[str]) -> None:
    terminal = Terminal().type("watch", *words)
    assert (terminal.code, terminal.out, terminal.asked) == (1, b"", [])


# lock


def locked(*words: str, agent: KVAgent | None = None) -> tuple[int, str, KVAgent]:
    served = Threads(agent or KVAgent())
    stderr = io.StringIO()
    with fake_agent(served) as site:
        environment = {**os.environ, "CONSUL_HTTP_ADDR": site.address}
        code = run(["lock", *words], environment, io.BytesIO(), io.BytesIO(), stderr)
    return code, stderr.getvalue(), served.agent


def test_lock_runs_a_program_while_it_holds_the_key_and_tidies_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code, err, agent = locked("/app", f"echo $CONSUL_LOCK_HELD > {log}")
    assert (code, err, log.read_text()) == (0, "", "true\n")
    assert (agent.entries, agent.sessions) == ({}, {})
    code, err, agent = locked("-n=3", "-verbose", "app", "true")
    assert (code, agent.entries) == (0, {})
    assert "Setting up semaphore at path: app" in err
    assert "Cleanup succeeded" in err


def test_lock_exits_with_2_for_a_program_that_failed_if_it_is_asked_to() -> None:
    assert locked("app", "exit 7")[0] == 0
    assert locked("-child-exit-code", "app", "exit 7")[0] == 2
    assert locked("-child-exit-code", "-shell=false", "app", "true")[0] == 0


def test_lock_gives_up_in_time_and_leaves_other_keys_alone() -> None:
    agent = KVAgent()
    agent.sessions["other"] = type("Lease", (), {"row": {}, "ends_at_s": float("inf")})()
    agent.answer("PUT", "/v1/kv/app/.lock", {"acquire": "other", "flags": str(0x2DDCCBC058A50C18)}, b"")
    code, err, _ = locked("-timeout=10ms", "app", "true", agent=agent)
    assert (code, err) == (1, "Shutdown triggered or timeout during lock acquisition\n")
    agent.answer("PUT", "/v1/kv/b/.lock", {}, b"data")
    code, err, _ = locked("b", "true", agent=agent)
    assert (code, err) == (1, "Lock acquisition failed: Existing key does not match lock use\n")
    assert list(agent.sessions) == ["other"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["app"],
        ["", "true"],
        ["/", "true"],
        ["-n=0", "app", "true"],
        ["-timeout=x", "app", "true"],
        ["-shell=false", "app", "/nonexistent"],
    ],
)
def test_lock_refuses_nonsense_and_leaves_nothing(words: list[str]) -> None:
    code, err, agent = locked(*words)
    assert code == 1
    assert err
    assert (agent.sessions, agent.entries) == ({}, {})


def process(address: str, *words: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "CONSUL_HTTP_ADDR": address}
    return subprocess.Popen(
        [sys.executable, "-m", "mesh.cli.main", "lock", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path) -> str:
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if path.exists() and path.read_text():
            return path.read_text()
        waiting.wait(0.02)
    pytest.fail(f"{path} was not written")


def test_lock_kills_its_program_when_the_lock_is_lost(tmp_path: Path) -> None:
    served = Threads(KVAgent())
    mark = tmp_path / "mark"
    with fake_agent(served) as site:
        child = process(site.address, "app", f"echo on > {mark}; exec sleep 600")
        wait_for(mark)
        with served.lock:
            served.agent.end(next(iter(served.agent.sessions)), by_time=True)
        out, err = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, out) == (1, b"")
    assert err.startswith(b"Lock lost, killing child")


def test_lock_passes_signals_on_to_its_program(tmp_path: Path) -> None:
    served = Threads(KVAgent())
    mark, seen = tmp_path / "mark", tmp_path / "seen"
    with fake_agent(served) as site:
        program = f"trap 'echo usr1 > {seen}' USR1; trap 'exit 3' TERM; echo on > {mark}; while :; do sleep 0.05; done"
        child = process(site.address, "-child-exit-code", "app", program)
        wait_for(mark)
        child.send_signal(signal.SIGUSR1)
        assert wait_for(seen) == "usr1\n"
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 2
        assert served.agent.entries == {}


# exec


def test_exec_prints_what_comes_back_and_cleans_up() -> None:
    served = Threads(KVAgent())
    stdout, stderr = io.BytesIO(), io.StringIO()

    def answer() -> None:
        waiting = threading.Event()
        while not served.agent.events:
            waiting.wait(0.01)
        with served.lock:
            folder = "_rexec/session-1/"
            job = json.loads(served.agent.entries[f"{folder}job"].value)
            assert (job["Command"], job["Args"]) == ("uptime -p", [])
            assert served.agent.entries[f"{folder}job"].session == "session-1"
            for name, value in (
                ("n1/ack", b""), ("n1/out/00000", b"a\nb\n"), ("n1/out/00001", b""), ("n1/exit", b"0"), ("n2/ack", b""),
                ("n2/exit", b"3"),
            ):  # fmt: skip
                query = {"acquire": "session-1"}
                served.agent.answer("PUT", f"/v1/kv/{folder}{name}", query, value)

    thread = threading.Thread(target=answer)
    with fake_agent(served) as site:
        thread.start()
        words = ["exec", "-wait=300ms", "-node=^n", "uptime", "-p"]
        code = run(words, {"CONSUL_HTTP_ADDR": site.address}, io.BytesIO(), stdout, stderr)
        thread.join()
    assert (code, stderr.getvalue()) == (2, "")
    assert stdout.getvalue().decode() == (
        "    n1: a\n    n1: b\n==> n1: finished with exit code 0\n==> n2: finished with exit code 3\n"
        "==> 2 / 2 node(s) completed / acknowledged\n"
    )
    (event,) = served.agent.events
    assert (event["Name"], event["node"]) == ("_rexec", "^n")
    assert json.loads(event["Payload"]) == {"Prefix": "_rexec", "Session": "session-1"}
    assert (served.agent.entries, served.agent.sessions) == ({}, {})


def test_exec_reads_a_script_from_standard_input_and_passes_words_as_they_are() -> None:
    jobs: list[dict[str, Any]] = []

    class Watching(KVAgent):
        def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
            if path.endswith("/job") and method == "PUT":
                jobs.append(json.loads(body))
            return super().answer(method, path, query, body)

    for words, stdin in ((["-"], b"#!/bin/sh\n"), (["-shell=false", "ls", "a b"], b"")):
        with fake_agent(Threads(Watching())) as site:
            environment = {"CONSUL_HTTP_ADDR": site.address}
            code = run(
                ["exec", "-wait=10ms", "-wait-repl=0s", *words],
                environment,
                io.BytesIO(stdin),
                out := io.BytesIO(),
                io.StringIO(),
            )
        assert (code, out.getvalue()) == (0, b"==> 0 / 0 node(s) completed / acknowledged\n")
    assert base64.b64decode(jobs[0]["Script"]) == b"#!/bin/sh\n"
    assert (jobs[1]["Command"], jobs[1]["Args"]) == ("", ["ls", "a b"])


@pytest.mark.parametrize("words", [[], ["-node=(", "x"], ["-tag=x", "x"], ["-wait=x", "x"]])
def test_exec_refuses_nonsense_before_anything_is_written(words: list[str]) -> None:
    terminal = Terminal().type("exec", *words)
    assert (terminal.code, terminal.asked, terminal.out) == (1, [], b"")
