"""Real servers and agents as child processes: start, stop, kill, pause, and what they wrote.

Ports stay reserved for the cluster's whole life (a bound socket that never listens), so nobody else is given the
port of a server that is down. Children die with this process, whatever ends it. Waits poll and are bounded.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from jepsen.http_client import NotAnswered, NotSent, Reply, fetch
from jepsen.network.network import Network
from jepsen.network.plain import PlainNetwork
from jepsen.subject import launch

POLL_INTERVAL_S = 0.02
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LOG_TAIL_LINES = 60
RETRY_INTERVAL = "1s"
"""A server whose start met a fault must not wait half a minute for its next try to join."""
STANDING_BY = 'autopilot { server_stabilization_time = "1s" } performance { leave_drain_time = "500ms" }'
"""How long a new server is watched before it votes, and how long one that leaves waits for calls under way: faults of
membership are shorter than the ten and five seconds of the defaults."""
PR_SET_PDEATHSIG = 1
ENDING = frozenset({signal.SIGINT, signal.SIGTERM})
"""Signals that end this process in good order."""

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(AssertionError):
    """A process did not do what was asked in its time; the text ends with the tail of its log."""


def die_with_parent() -> None:
    """For a child between fork and exec: the kernel shall kill it when this process ends, however it ends.

    Belongs to `undisturbed`, whose held signals it lets through again.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the block is over: for starting a process.

    What a signal raises while Python forks comes up in a hook of the standard library, where it is ignored.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ReservedPort:
    """A loopback port that the kernel gives to nobody else until `release`; others may still listen on it.

    One `for_datagrams` is free for UDP as well when it is made; UDP knows no reservation that others may still use.
    """

    def __init__(self, *, for_datagrams: bool = False) -> None:
        self._socket = self._reserve()
        while for_datagrams and not self._is_free_for_datagrams():
            taken, self._socket = self._socket, self._reserve()
            taken.close()
        self.number: int = self._socket.getsockname()[1]

    @staticmethod
    def _reserve() -> socket.socket:
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        return reserved

    def _is_free_for_datagrams(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(self._socket.getsockname())
            except OSError:
                return False
            return True

    def release(self) -> None:
        self._socket.close()


class Node:
    """One mesh-server or mesh-agent process, its folder, ports and log."""

    def __init__(
        self,
        *,
        program: str,
        name: str,
        folder: Path,
        options: Sequence[str] = (),
        network: Network | None = None,
        subject: bool = False,
    ) -> None:
        self.program = program
        self.name = name
        self.network: Network = network or PlainNetwork()
        self.addresses = self.network.addresses(name)
        self.subject = subject
        """Whether it runs under the wrapper that can break its disk (`jepsen.subject`)."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.log_path = folder / "log"
        self.options = list(options)
        self.environment: dict[str, str] = {}
        self._http = ReservedPort()
        self._rpc = ReservedPort()
        self._gossip = ReservedPort(for_datagrams=True)
        self._dns = ReservedPort(for_datagrams=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end = False

    @property
    def http_address(self) -> str:
        return f"{self.addresses.client}:{self._http.number}"

    @property
    def dns_address(self) -> str:
        return f"{self.addresses.client}:{self._dns.number}"

    @property
    def rpc_address(self) -> str:
        """What the others dial."""
        return f"{self.addresses.advertise}:{self._rpc.number}"

    @property
    def rpc_port(self) -> int:
        return self._rpc.number

    @property
    def gossip_address(self) -> str:
        """Where others find it first."""
        return f"{self.addresses.advertise}:{self._gossip.number}"

    @property
    def gossip_port(self) -> int:
        return self._gossip.number

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative numbers are signals."""
        return None if self._process is None else self._process.poll()

    def command(self) -> list[str]:
        start = [str(Path(sys.executable).parent / self.program)]
        if self.subject:
            start = [sys.executable, "-m", "jepsen.subject", self.program]
        return [
            *start,
            *("-node", self.name, "-bind", self.addresses.bind, "-client", self.addresses.client),
            *("-advertise", self.addresses.advertise),
            *("-data-dir", str(self.data_dir)),
            *("-http-port", str(self._http.number), "-server-port", str(self._rpc.number)),
            *("-serf-lan-port", str(self._gossip.number), "-serf-wan-port", "-1"),
            *("-dns-port", str(self._dns.number)),
            *self.options,
        ]

    def start(self, *, environment: Mapping[str, str] | None = None) -> None:
        """Start the process and return at once."""
        assert not self.running, f"{self.name} runs already"
        self._told_to_end = False
        self.folder.mkdir(parents=True, exist_ok=True)
        wrapping = launch.environment(self) if self.subject else {}
        with self.log_path.open("ab") as log, undisturbed():
            self._process = subprocess.Popen(  # noqa: S603  our own program
                self.network.wrap(self.name, self.command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **wrapping, **self.environment, **(environment or {})},
                preexec_fn=die_with_parent,
                process_group=0,  # Ctrl-C at a terminal is for this process, which then ends the others
            )

    @property
    def failed(self) -> bool:
        """Whether it ended by itself with an error or a signal of its own, without being told to end.

        SIGKILL is what faults end processes with, from outside and at failpoints.
        """
        return self.exit_code not in (None, 0, -signal.SIGKILL) and not self._told_to_end

    def send_signal(self, number: signal.Signals) -> None:
        self._told_to_end |= number in (signal.SIGTERM, signal.SIGINT)
        if self.running:
            os.kill(self.pid, number)

    def pause(self) -> None:
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and reap: when this returns the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return its exit code; raises ProcessFailed if it does not."""
        self.resume()
        self.send_signal(number)
        return await self.wait_exit()

    async def wait_exit(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        await self._until(lambda: not self.running, f"end within {timeout_s:g} s", timeout_s)
        assert self._process is not None
        return self._process.wait()

    async def wait_log(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        await self._until(lambda: text in self.log_text(), f"log {text!r}", timeout_s)

    async def _until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            while not condition():  # noqa: ASYNC110  another process cannot set an event of ours
                await trio.sleep(POLL_INTERVAL_S)
            return
        raise ProcessFailed(f"{self.name} did not {what}\n{self.log_tail()}")

    def log_text(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        return "\n".join(self.log_text().splitlines()[-LOG_TAIL_LINES:])

    def wipe(self) -> None:
        """Forget everything on its disk."""
        assert not self.running
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def close(self) -> None:
        self.kill()
        self._http.release()
        self._rpc.release()
        self._gossip.release()
        self._dns.release()

    async def request(self, method: str, path: str, body: bytes = b"", *, timeout_s: float = 15.0) -> Reply:
        """One HTTP exchange with this node; raises NotSent or NotAnswered."""
        return await fetch(self.http_address, method, path, body, timeout_s=timeout_s)

    async def wait_answering(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until its HTTP port answers anything at all; raises ProcessFailed."""
        with trio.move_on_after(timeout_s):
            while True:
                try:
                    await self.request("GET", "/v1/status/leader")
                    return
                except (NotSent, NotAnswered):
                    await trio.sleep(POLL_INTERVAL_S)
        raise ProcessFailed(f"{self.name} did not answer within {timeout_s:g} s\n{self.log_tail()}")

    async def known_leader(self) -> str:
        """RPC address of the leader as this node says; "" where it knows none or does not answer."""
        try:
            reply = await self.request("GET", "/v1/status/leader", timeout_s=2.0)
        except (NotSent, NotAnswered):
            return ""
        return str(reply.json()) if reply.status == 200 else ""


class Cluster:
    """Servers and agents under one folder. `async with` starts them, waits for a leader, and ends them all."""

    def __init__(
        self,
        folder: Path,
        *,
        servers: int = 3,
        agents: int = 1,
        options: Sequence[str] = ("-log-level", "info"),
        environment: Mapping[str, str] | None = None,
        network: Network | None = None,
        subject: bool = False,
        one_address: bool = False,
    ) -> None:
        """With `one_address` each node is told where the first server is, and nothing else: gossip does the rest."""
        self.folder = folder
        self.network: Network = network or PlainNetwork()
        self.subject = subject
        self._one_address = one_address
        self._options = list(options)
        self._environment = dict(environment or {})
        self._servers_made = 0
        self.network.know(lambda: {node.name: node.pid for node in self.nodes if node.running})
        self.servers: list[Node] = []
        self.retired: list[Node] = []
        """Servers that were taken out for good; their folders and logs stay."""
        self.agents = [self._node("mesh-agent", f"agent-{number}") for number in range(1, agents + 1)]
        for _ in range(servers):
            self.servers.append(self._next_server())
        for node in self.nodes:
            node.options = self._joining(node)
        for server in self.servers:
            server.options += ["-bootstrap-expect", str(servers)]

    def _node(self, program: str, name: str) -> Node:
        subject = self.subject and program == "mesh-server"
        node = Node(program=program, name=name, folder=self.folder / name, network=self.network, subject=subject)
        node.environment = dict(self._environment)
        return node

    def _next_server(self) -> Node:
        self._servers_made += 1
        return self._node("mesh-server", f"server-{self._servers_made}")

    def _joining(self, node: Node) -> list[str]:
        told = self.servers[:1] if self._one_address else self.servers
        joins = [word for peer in told if peer is not node for word in ("-retry-join", peer.gossip_address)]
        return [*joins, "-retry-interval", RETRY_INTERVAL, "-hcl", STANDING_BY, *self._options]

    async def open_ports(self) -> None:
        """Let the network pass what goes to the ports of RPC and gossip."""
        for node in self.nodes:
            await self._open_ports(node)

    async def _open_ports(self, node: Node) -> None:
        await self.network.open_port(node.name, node.rpc_port)
        await self.network.open_port(node.name, node.gossip_port)

    async def add_server(self) -> Node:
        """Start one more server with an empty disk, which joins the others by itself."""
        node = self._next_server()
        node.options = self._joining(node)
        await self._open_ports(node)
        self.servers.append(node)
        node.start()
        return node

    def retire(self, node: Node) -> None:
        """Kill a server that is no member any more, and forget it."""
        node.kill()
        self.servers.remove(node)
        self.retired.append(node)

    @property
    def nodes(self) -> list[Node]:
        return [*self.servers, *self.agents]

    async def __aenter__(self) -> Self:
        try:
            await self.open_ports()
            self.start()
            await self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if value is not None and not isinstance(value, trio.Cancelled):
            value.add_note(self.story())
        self.close()

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def close(self) -> None:
        """Kill whatever runs and give the ports back. Data and logs stay."""
        for node in [*self.nodes, *self.retired]:
            node.close()

    async def stop(self) -> None:
        """End all processes as an operator would; raises ProcessFailed if one does not end."""
        for node in self.nodes:
            node.resume()
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            if node.running:
                await node.wait_exit()

    async def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> Node:
        """Return the leader once every running node names the same one; raises ProcessFailed."""
        with trio.move_on_after(timeout_s):
            while True:
                running = [node for node in self.nodes if node.running]
                for node in self.nodes:
                    if node.failed:
                        raise ProcessFailed(f"{node.name} ended with {node.exit_code}\n{node.log_tail()}")
                named = {await node.known_leader() for node in running}
                if len(named) == 1:
                    leader = self.server_at(named.pop())
                    if leader is not None and leader.running:
                        return leader
                await trio.sleep(POLL_INTERVAL_S)
        raise ProcessFailed(f"no leader that all agree on within {timeout_s:g} s\n{self.story()}")

    async def leader(self, timeout_s: float = START_TIMEOUT_S) -> Node:
        """The leader as the running servers name it, as soon as one that runs is named by itself."""
        with trio.move_on_after(timeout_s):
            while True:
                for server in self.servers:
                    if server.running and await server.known_leader() == server.rpc_address:
                        return server
                await trio.sleep(POLL_INTERVAL_S)
        raise ProcessFailed(f"no leader within {timeout_s:g} s\n{self.story()}")

    def server_at(self, rpc_address: str) -> Node | None:
        return next((server for server in self.servers if server.rpc_address == rpc_address), None)

    def story(self) -> str:
        """The tails of all logs, for a failed test."""
        return "\n".join(f"--- {node.name}: exit {node.exit_code}\n{node.log_tail()}" for node in self.nodes)
