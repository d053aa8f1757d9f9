"""The demonstration behind `scripts/demo`: what a user does, by the client library and the `mesh` command."""

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from base.errors import MeshError
from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.digests import wait_equal_digests
from mesh.client import Client
from mesh.query import Read
from mesh.watch import watch_key
from scripts.demo_services import Discovery, NotSeen
from structs.catalog import SERF_CHECK_ID
from structs.cluster import MemberStatus
from structs.query import Consistency

KEYS_COUNT = 1_000
KILL_AT = KEYS_COUNT // 2
WRITERS_COUNT = 4
PREFIX = "demo/keys/"
WATCHED = "demo/watched"
STEP_TIMEOUT_S = 60.0
INTERRUPTED = 130
WATCH_WAIT_S = 2.0
POLL_S = 0.02
STALE = Read(consistency=Consistency.STALE)
CONSISTENT = Read(consistency=Consistency.CONSISTENT)


class DemoFailed(Exception):
    """Something that was promised did not hold."""


@dataclass
class Story:
    """What happened while writing."""

    acknowledged: dict[str, bytes] = field(default_factory=dict)
    unknown_count: int = 0
    refused_count: int = 0
    killed_at_s: float = 0.0
    next_write_s: float = 0.0
    """From the SIGKILL to the first acknowledgement of a write that began after it."""
    watched: list[bytes] = field(default_factory=list)


class Demo:
    """The steps, in the order of their methods."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self.cluster = cluster
        self.console = console
        self.story = Story()
        self.agent = cluster.agents[0]
        self.victim: Node | None = None
        self.held = False

    def say(self, text: str) -> None:
        self.console.print(f"[bold cyan]==>[/] {text}", highlight=False, soft_wrap=True)

    def mesh(self, *words: str) -> None:
        """Run the `mesh` command as a user would, and show what it prints."""
        command = [str(Path(sys.executable).parent / "mesh"), *words, f"-http-addr=http://{self.agent.http_address}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=STEP_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        self.console.print(f"[dim]$ mesh {shlex.join(words)}[/]", highlight=False)
        self.console.print(done.stdout.rstrip() or done.stderr.rstrip(), highlight=False, markup=False, soft_wrap=True)
        if done.returncode != 0:
            raise DemoFailed(f"mesh {shlex.join(words)} ended with {done.returncode}: {done.stderr.strip()}")

    async def start(self) -> None:
        began_s = trio.current_time()
        self.cluster.start()
        leader = await self.cluster.wait_ready()
        with Client(self.agent.http_address) as client:
            await trio.to_thread.run_sync(client.kv.put, WATCHED, b"before")
        took_s = trio.current_time() - began_s
        self.say(f"three servers and two agents found each other by gossip, from one address: {took_s:.2f} s")
        await trio.to_thread.run_sync(self.mesh, "members")
        await trio.to_thread.run_sync(self.mesh, "operator", "raft", "list-peers")
        self.say(f"{leader.name} leads")

    def watch(self, client: Client) -> None:
        """Follow the watched key by blocking queries until its last value."""
        for answer in watch_key(client, WATCHED, Read(wait_s=WATCH_WAIT_S)):
            value = answer.value.value if answer.value else b""
            self.story.watched.append(value)
            self.say(f"the watch sees [green]{WATCHED}[/] = {value.decode()!r} at index {answer.index}")
            if value == b"after":
                return

    async def write(self) -> None:
        """Write every key through the agent; kill the leader when half are acknowledged."""
        self.say(f"writing {KEYS_COUNT:,} keys through the agent, {WRITERS_COUNT} at a time")
        numbers = iter(range(KEYS_COUNT))
        columns = (TextColumn("    acknowledged"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task("keys", total=KEYS_COUNT)

            async def write_some() -> None:
                with Client(self.agent.http_address) as client:
                    for number in numbers:  # shared: each writer takes the next one
                        await self.write_one(client, f"{PREFIX}{number:04d}", f"value {number}".encode())
                        progress.update(bar, completed=len(self.story.acknowledged))

            async with trio.open_nursery() as nursery:
                for _ in range(WRITERS_COUNT):
                    nursery.start_soon(write_some)
                nursery.start_soon(self.kill_leader)

    async def write_one(self, client: Client, key: str, value: bytes) -> None:
        """Put one key until it is acknowledged. Writing the same value again is harmless, so unknown ends are too."""
        while True:
            began_s = trio.current_time()
            try:
                await trio.to_thread.run_sync(client.kv.put, key, value)
                break
            except MeshError as error:
                self.story.refused_count += error.definite
                self.story.unknown_count += not error.definite
                await trio.sleep(0.01)
        self.story.acknowledged[key] = value
        if self.story.killed_at_s and not self.story.next_write_s and began_s >= self.story.killed_at_s:
            self.story.next_write_s = trio.current_time() - self.story.killed_at_s

    async def kill_leader(self) -> None:
        while len(self.story.acknowledged) < KILL_AT:  # noqa: ASYNC110  a count, polled: the writers stay simple
            await trio.sleep(0.002)
        self.victim = await self.cluster.leader()
        self.victim.kill()
        self.story.killed_at_s = trio.current_time()
        self.say(f"[red]SIGKILL[/] to the leader, {self.victim.name}")

    async def check(self) -> None:
        """Everything acknowledged must be readable, first at the survivors, then everywhere."""
        story = self.story
        if story.next_write_s <= 0.0:
            raise DemoFailed("no write was acknowledged after the leader was killed")
        self.say(f"next acknowledged write after the kill: [bold green]{story.next_write_s:.2f} s[/]")
        repeated = (
            f"; {story.unknown_count} ended 'unknown' and {story.refused_count} 'refused', and were written again"
        )
        said_no = story.unknown_count + story.refused_count
        self.say(f"{len(story.acknowledged):,} writes acknowledged{repeated if said_no else ', each at the first try'}")
        with Client(self.agent.http_address) as client:
            await trio.to_thread.run_sync(client.kv.put, WATCHED, b"after")
            missing = await trio.to_thread.run_sync(self.missing_at, client, CONSISTENT)
        if missing:
            raise DemoFailed(f"{len(missing)} acknowledged keys are not there after the kill, first {missing[0]}")
        assert self.victim is not None
        self.victim.start()
        self.say(f"{self.victim.name} is started again")
        await self.cluster.wait_ready()
        index, digest = await wait_equal_digests(self.cluster.servers, timeout_s=STEP_TIMEOUT_S)
        table = Table("server", "acknowledged keys there", "missing", "digest")
        lost = 0
        for server in self.cluster.servers:
            with Client(server.http_address) as client:
                missing = await trio.to_thread.run_sync(self.missing_at, client, STALE)
            lost += len(missing)
            there = len(story.acknowledged) - len(missing)
            table.add_row(server.name, f"{there:,}", f"{len(missing)}", digest[:16])
        self.console.print(table)
        if lost:
            raise DemoFailed(f"{lost} acknowledged writes were lost")
        self.say(f"all digests are equal at index {index}")

    async def notice_death(self) -> None:
        """Kill an agent that nobody asks anything: gossip notices, and the leader tells the catalog."""
        dying = self.cluster.agents[1]
        dying.kill()
        self.say(f"[red]SIGKILL[/] to {dying.name}; nobody says goodbye for it")
        took_s = await self.wait_health(dying, "critical", MemberStatus.FAILED)
        await trio.to_thread.run_sync(self.mesh, "members", "-status=failed")
        self.say(f"{dying.name} failed as gossip has it, and is [red]critical[/] in the catalog: {took_s:.1f} s")
        dying.start()
        took_s = await self.wait_health(dying, "passing", MemberStatus.ALIVE)
        self.say(f"{dying.name} is started again, and is [green]passing[/]: {took_s:.1f} s")

    async def wait_health(self, node: Node, health: str, status: MemberStatus) -> float:
        """Wait until the catalog and the agent's own gossip say so of the node; returns how long that took."""
        began_s = trio.current_time()
        with trio.fail_after(STEP_TIMEOUT_S):
            while True:
                checks = await self.rows(f"/v1/health/node/{node.name}")
                members = await self.rows("/v1/agent/members")
                if [row["Status"] for row in checks if row["CheckID"] == SERF_CHECK_ID] == [health] and [
                    row["Status"] for row in members if row["Name"] == node.name
                ] == [status]:
                    return trio.current_time() - began_s
                await trio.sleep(POLL_S)

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """What the agent answers, nothing where it can't."""
        reply = await self.agent.request("GET", path)
        return list(reply.json()) if reply.status == 200 else []

    async def discover(self) -> None:
        """Services with checks at one agent, as the other one tells of them."""
        folder = self.cluster.agents[1].folder
        await Discovery(
            at=self.cluster.agents[1], asked=self.agent, folder=folder, console=self.console, say=self.say
        ).run()

    def missing_at(self, client: Client, read: Read) -> list[str]:
        """Acknowledged keys that this node does not have with their value."""
        found = {entry.key: entry.value for entry in client.kv.list(PREFIX, read)}
        return [key for key, value in self.story.acknowledged.items() if found.get(key) != value]

    async def run(self) -> None:
        """All steps; raises DemoFailed, ProcessFailed or MeshError where something did not hold."""
        await self.start()
        with Client(self.agent.http_address) as watching:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: trio.to_thread.run_sync(self.watch, watching, abandon_on_cancel=True))
                await self.write()
                await self.check()
                with trio.move_on_after(STEP_TIMEOUT_S):
                    while self.story.watched[-1:] != [b"after"]:  # noqa: ASYNC110  set by a thread
                        await trio.sleep(0.02)
                nursery.cancel_scope.cancel()
        if self.story.watched[-1:] != [b"after"]:
            raise DemoFailed(f"the watch did not see the last change: {self.story.watched}")
        await self.discover()
        await self.notice_death()
        self.held = True
        self.say("[bold green]everything held[/]: nothing acknowledged is lost, no change missed, no failure unnoticed")

    def print_addresses(self, data: Path) -> None:
        table = Table("node", "HTTP", "DNS", "RPC", "pid")
        for node in self.cluster.nodes:
            rpc = node.rpc_address if node in self.cluster.servers else ""
            table.add_row(node.name, node.http_address, node.dns_address, rpc, str(node.pid))
        self.console.print(table)
        mesh = Path(sys.executable).parent / "mesh"
        self.say(f"the web page: http://{self.agent.http_address}/ui/")
        self.say(
            f"data and logs are in {data}; try: {mesh} kv get -http-addr=http://{self.agent.http_address} {WATCHED}"
        )


async def demonstrate(arguments: argparse.Namespace, data: Path, console: Console) -> int:
    """Run all steps, stay up if asked to, end all processes; returns the exit code."""
    cluster = Cluster(data, servers=3, agents=2, one_address=True)
    demo = Demo(cluster, console)
    code = 0
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_cancel_on_signal, nursery.cancel_scope)
            await demo.run()
            demo.print_addresses(data)
            if not arguments.once:
                demo.say("staying up until Ctrl-C")
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
        if demo.held:
            await cluster.stop()
        else:
            code = INTERRUPTED
    except* (DemoFailed, NotSeen, ProcessFailed, MeshError, AssertionError, trio.TooSlowError) as failures:
        console.print(cluster.story(), highlight=False, markup=False, soft_wrap=True)
        for failure in _leaves(failures):
            console.print(f"[bold red]did not hold:[/] {failure}", highlight=False)
        code = 1
    finally:
        cluster.close()
    return code


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancel `scope` at the first Ctrl-C or SIGTERM, so that processes and temporary data are cleared away."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _number in signals:
            scope.cancel()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@contextmanager
def data_folder(chosen: Path | None) -> Iterator[Path]:
    """The chosen folder, which stays, or a temporary one, which does not."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen
    else:
        with tempfile.TemporaryDirectory(prefix="mesh-demo-") as temporary:
            yield Path(temporary)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself; the exit code says whether it held")
    parser.add_argument("--data", type=Path, help="folder for data and logs; by default a temporary one")
    arguments = parser.parse_args()
    with data_folder(arguments.data) as data:
        return trio.run(demonstrate, arguments, data, Console())


if __name__ == "__main__":
    sys.exit(main())
