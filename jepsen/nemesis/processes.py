"""What faults of processes have in common: how a process is, who is down, starting again, and what a log says since."""

import signal
from collections.abc import Sequence
from pathlib import Path

from jepsen.cluster import Cluster, Node
from jepsen.http_client import NotAnswered, NotSent
from jepsen.nemesis.package import NotInjected

KILLED = -signal.SIGKILL
"""Exit code of a process that was killed, by us or by a failpoint of its own."""
RECOVERY_S = 5.0
"""Writes at every node work 0.1 to 0.6 s after processes are back, with five servers on two busy cores. The bound
leaves room for an election whose votes are split once (twice 1.2 s), and as much again for a machine that is busier."""
SILENCE_S = 0.5
"""A process that runs answers its HTTP port within a few milliseconds."""


def process_state(pid: int) -> str:
    """The state's letter in /proc, e.g. "T" for stopped; "" where there is no such process.

    Source: proc_pid_stat(5); the program's name before it may hold spaces and parentheses.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


def is_stopped(node: Node) -> bool:
    """Whether the node's process is there and stopped by a signal."""
    return node.running and process_state(node.pid) == "T"


async def is_silent(node: Node) -> bool:
    """Whether the node's HTTP port answers nothing for SILENCE_S."""
    try:
        await node.request("GET", "/v1/status/leader", timeout_s=SILENCE_S)
    except (NotSent, NotAnswered):
        return True
    return False


async def require_silent(nodes: Sequence[Node]) -> None:
    """Raise NotInjected if one of these still answers: the signal did not reach what serves."""
    for node in nodes:
        if not await is_silent(node):
            raise NotInjected(f"{node.name} still answers")


def down(cluster: Cluster) -> list[Node]:
    """Nodes that do not run. Those that ended by themselves with an error are left out: nobody may hide a crash."""
    return [node for node in cluster.nodes if not node.running and not node.failed]


async def start_all(nodes: Sequence[Node]) -> None:
    """Start these at once, and wait until each answers; raises ProcessFailed."""
    for node in nodes:
        if not node.running:
            node.start()
    await wait_all_answering(nodes)


async def wait_all_answering(nodes: Sequence[Node]) -> None:
    """Wait until each answers its HTTP port; raises ProcessFailed."""
    for node in nodes:
        await node.wait_answering()


def kill_at_once(nodes: Sequence[Node]) -> None:
    """SIGKILL to all before the first is reaped."""
    for node in nodes:
        node.send_signal(signal.SIGKILL)
    for node in nodes:
        node.kill()


class LogMark:
    """A place in a node's log, to read what was written behind it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._offset = node.log_path.stat().st_size if node.log_path.exists() else 0

    def text(self) -> str:
        """What was logged since."""
        if not self.node.log_path.exists():
            return ""
        with self.node.log_path.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode("utf-8", "replace")

    def count(self, words: str) -> int:
        """How often these words were logged since."""
        return self.text().count(words)
