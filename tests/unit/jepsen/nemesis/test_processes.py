"""What is known of a process: its state, and what its log says since."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import trio

from jepsen.cluster import Cluster, Node
from jepsen.nemesis.processes import KILLED, LogMark, down, is_silent, is_stopped, kill_at_once, process_state


class Sleeper(Node):
    """A node whose process does nothing but end with the code it is told."""

    def __init__(self, folder: Path, name: str, code: str = "import time; time.sleep(60)") -> None:
        super().__init__(program="mesh-server", name=name, folder=folder / name)
        self.code = code

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


async def wait_state(node: Node, letters: str) -> None:
    with trio.fail_after(10.0):
        while process_state(node.pid) not in letters:
            await trio.sleep(0.005)


def test_the_state_of_a_process_is_read_behind_a_name_with_parentheses(tmp_path: Path) -> None:
    odd = tmp_path / "a) T (b"
    odd.symlink_to(sys.executable)
    process = subprocess.Popen([odd, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert process_state(process.pid) in "RSD"
    finally:
        process.kill()
        process.communicate()
    assert process_state(process.pid) == ""
    assert process_state(os.getpid()) == "R"


async def test_a_stopped_process_is_seen_to_be_stopped_until_it_goes_on(tmp_path: Path) -> None:
    node = Sleeper(tmp_path, "server-1")
    try:
        node.start()
        assert not is_stopped(node)
        node.pause()
        await wait_state(node, "T")
        assert is_stopped(node)
        node.resume()
        await wait_state(node, "RS")
        assert not is_stopped(node)
    finally:
        node.close()
    assert not is_stopped(node)


async def test_all_are_killed_and_gone_also_those_that_were_stopped(tmp_path: Path) -> None:
    nodes = [Sleeper(tmp_path, f"server-{number}") for number in (1, 2)]
    try:
        for node in nodes:
            node.start()
        nodes[0].pause()
        kill_at_once(nodes)
        assert [node.exit_code for node in nodes] == [KILLED, KILLED]
        assert await is_silent(nodes[0])
    finally:
        for node in nodes:
            node.close()


async def test_who_crashed_by_itself_does_not_count_as_down(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, servers=0, agents=0)
    killed, crashed, ended, runs = (
        Sleeper(tmp_path, "killed"),
        Sleeper(tmp_path, "crashed", "raise SystemExit(3)"),
        Sleeper(tmp_path, "ended"),
        Sleeper(tmp_path, "runs"),
    )
    cluster.servers += [killed, crashed, ended, runs]
    try:
        for node in cluster.servers:
            node.start()
        killed.kill()
        await ended.stop(signal.SIGTERM)
        assert await crashed.wait_exit() == 3
        assert down(cluster) == [killed, ended]
    finally:
        cluster.close()


def test_a_mark_shows_only_what_was_logged_behind_it(tmp_path: Path) -> None:
    node = Node(program="mesh-server", name="server-1", folder=tmp_path)
    try:
        early = LogMark(node)
        assert early.text() == ""
        node.log_path.write_text("snapshot taken\n", encoding="utf-8")
        late = LogMark(node)
        with node.log_path.open("a", encoding="utf-8") as log:
            log.write("snapshot taken\nsnapshot taken\n")
        assert (early.count("snapshot taken"), late.count("snapshot taken")) == (3, 2)
    finally:
        node.close()
