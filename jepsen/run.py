"""One test: start a cluster, drive it, break it, heal it, read what is left. Judging comes after (`judging.py`)."""

import random
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import trio

from base.version import VERSION
from jepsen.client import STRANGE, CallFailed, CallUnclear, Client
from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.digests import digests
from jepsen.generator import Step, schedule
from jepsen.history import Begin, End, FaultWindow, History, HistoryWriter, Observation, Operation, Stall
from jepsen.http_client import NotAnswered, NotSent
from jepsen.machine import Machine
from jepsen.nemesis.package import Fault, NotInjected
from jepsen.network.choosing import opened
from jepsen.network.network import Network
from jepsen.observer import observe
from jepsen.report.progress import Progress
from jepsen.subject.disk import SEED_VARIABLE
from jepsen.subject.mutants import BREAK_VARIABLE
from jepsen.witness import watch_machine
from jepsen.workloads.workload import Worker, Workload

HEAL_TIMEOUT_S = 60.0
"""One healing may take so long; then the cluster is said not to have come back."""
READY_TIMEOUT_S = 60.0
DRAIN_S = 12.0
"""Operations that are under way when the time is over get so long to end."""
SETTLE_TIMEOUT_S = 30.0
"""Replicas must meet at one index within it."""
POLL_S = 0.2
NEWLINE = "\n"


class FolderTaken(Exception):
    """Something is in the folder already: an old run's data would become the new one's, and its history be lost."""


def claim(folder: Path) -> None:
    """Make the folder, unless there is one with something in it: raises FolderTaken, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FolderTaken(f"{folder} is not empty; name another one, or remove it")


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a run; together with the code it decides everything but the machine's timing."""

    seed: int
    folder: Path
    workloads: tuple[type[Workload], ...]
    faults: tuple[type[Fault], ...] = ()
    servers_count: int = 3
    agents_count: int = 1
    duration_s: float = 30.0
    network: str = "plain"
    rate: float = 1.0
    mutant: str = ""
    addresses: tuple[str, ...] = ()
    """HTTP addresses of a cluster that runs already; nothing is started, and nothing can be broken."""
    left_out: dict[str, str] = {}
    """Fault -> why it was asked for, but cannot be had here."""

    def command(self) -> str:
        """The command that repeats the run."""
        words = ["python", "-m", "jepsen", "run", "--seed", str(self.seed)]
        words += ["--workload", ",".join(each.name for each in self.workloads)]
        words += ["--fault", ",".join(each.name for each in self.faults)] if self.faults else []
        words += ["--nodes", str(self.servers_count), "--agents", str(self.agents_count)] if not self.addresses else []
        words += ["--seconds", f"{self.duration_s:g}"]
        words += ["--network", self.network] if not self.addresses else []
        words += ["--rate", f"{self.rate:g}"] if self.rate != 1.0 else []
        words += ["--break", self.mutant] if self.mutant else []
        words += ["--at", ",".join(self.addresses)] if self.addresses else []
        return shlex.join(words)

    @property
    def needs_subject(self) -> bool:
        """Whether servers run under the wrapper."""
        return bool(self.mutant) or any(fault.subject for fault in self.faults)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A node that clients talk to."""

    name: str
    address: str


class Run:
    """One run in progress."""

    def __init__(self, options: RunOptions, machine: Machine, writer: HistoryWriter, progress: Progress) -> None:
        self._options = options
        self._writer = writer
        self._progress = progress
        self._rng = random.Random(f"jepsen {options.seed}")
        self._began_ns = time.monotonic_ns()
        self._phase = "main"
        self._stopping = False
        self._processes = 0
        self._fault = ""
        self._leader = ""
        self._outcomes: Counter[str] = Counter()
        self._trouble: list[str] = []
        self._workloads = [each(random.Random(self._rng.getrandbits(64))) for each in options.workloads]

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return time.monotonic_ns() - self._began_ns

    async def drive(self, cluster: Cluster | None) -> None:
        """Everything from the first operation to the last."""
        for workload in self._workloads:
            client = self._client(workload.name, self._targets(cluster)[0])
            try:
                await workload.prepare(client)
            except (CallFailed, CallUnclear, *STRANGE) as error:
                raise ProcessFailed(f"{client.node} does not let {workload.name} begin: {error}") from error
            finally:
                client.close()
        steps = schedule(self._rng, self._options.faults, duration_s=self._options.duration_s)
        async with trio.open_nursery() as watching:
            watching.start_soon(self._show)
            watching.start_soon(partial(watch_machine, self._options.folder, record=self._record, now_ns=self.now_ns))
            for node in self._targets(cluster):
                watching.start_soon(self._observe, node)
            async with trio.open_nursery() as working:
                for workload in self._workloads:
                    for position in range(workload.workers_count):
                        working.start_soon(self._work, workload, position, cluster)
                if cluster is not None:
                    await self._break_things(cluster, steps)
                await trio.sleep(max(0.0, self._options.duration_s - self.now_ns() / 1e9))
                self._stopping = True
                working.cancel_scope.deadline = trio.current_time() + DRAIN_S
            await self._finish(cluster)
            watching.cancel_scope.cancel()

    # --- clients

    def _targets(self, cluster: Cluster | None) -> list[Target]:
        if cluster is None:
            return [Target(name=address, address=address) for address in self._options.addresses]
        return [Target(name=node.name, address=node.http_address) for node in cluster.nodes]

    def _client(self, workload: str, target: Target) -> Client:
        self._processes += 1
        return Client(
            address=target.address,
            node=target.name,
            workload=workload,
            process=self._processes,
            record=self._record,
            now_ns=self.now_ns,
            phase=lambda: self._phase,
        )

    def _record(self, line: Operation | Observation | Stall) -> None:
        if isinstance(line, Operation):
            self._outcomes[line.outcome] += 1
        elif isinstance(line, Observation) and line.facts.get("state") == "leader":
            self._leader = line.node
        self._writer.add(line)

    async def _work(self, workload: Workload, position: int, cluster: Cluster | None) -> None:
        targets = self._targets(cluster)
        target = targets[position % len(targets)]
        rng = random.Random(f"{self._options.seed} {workload.name} {position}")
        client = self._client(workload.name, target)
        worker = Worker(process=client.process, position=position, rng=rng, client=client)
        period_s = 1.0 / (workload.rate_hz * self._options.rate)
        while not self._stopping:
            began_s = trio.current_time()
            await workload.step(worker)
            pause_s = period_s * rng.uniform(0.5, 1.5) - (trio.current_time() - began_s)
            await trio.sleep(max(0.0, pause_s))
            if target not in (targets := self._targets(cluster)):
                # Its node was taken out of the cluster for good: a client of a real one would go elsewhere, too.
                worker.client.close()
                target = targets[position % len(targets)]
                worker.client = self._client(workload.name, target)
        worker.client.close()

    async def _observe(self, target: Target) -> None:
        await observe(target.name, target.address, record=self._record, now_ns=self.now_ns)

    async def _show(self) -> None:
        while True:
            self._progress.update(
                self.now_ns() / 1e9, self._options.duration_s, self._outcomes, self._fault, self._leader
            )
            await trio.sleep(POLL_S)

    # --- faults

    async def _break_things(self, cluster: Cluster, steps: Sequence[Step]) -> None:
        faults = {fault.name: fault() for fault in self._options.faults}
        for step in steps:
            if self.now_ns() / 1e9 + step.quiet_s + step.hold_s > self._options.duration_s:
                break
            await trio.sleep(step.quiet_s)
            await self._break_once(cluster, faults[step.fault], step)

    async def _break_once(self, cluster: Cluster, fault: Fault, step: Step) -> None:
        rng = random.Random(step.seed)
        began_ns = self.now_ns()
        what, nodes, evidence = "", list[str](), ""
        self._fault = fault.name
        try:
            injection = await fault.inject(cluster, rng)
            what, nodes = injection.what, injection.nodes
            await trio.sleep(step.hold_s)
            evidence = await fault.evidence(cluster)
        except NotInjected as reason:
            what = f"{what or fault.description}: not counted, {reason}"
        except ProcessFailed as error:
            # A process that does not end or start as it must is a finding: the rest of the run shows what comes of it.
            self._trouble.append(f"{fault.name} stopped half way: {error}")
            what = f"{what or fault.description}: not counted, {str(error).partition(NEWLINE)[0]}"
        finally:
            await self._heal(cluster, fault, rng)
            self._fault = ""
            window = FaultWindow(
                name=fault.name,
                package=fault.package,
                what=what,
                nodes=nodes,
                evidence=evidence,
                began_ns=began_ns,
                ended_ns=self.now_ns(),
                recovery_ns=int(fault.recovery_s * 1e9),
            )
            self._writer.add(window)
            self._progress.say(f"{window.began_ns / 1e9:7.1f} s  {fault.name}: {what} [{evidence or 'no effect seen'}]")

    async def _heal(self, cluster: Cluster, fault: Fault, rng: random.Random) -> None:
        # Also when interrupted: nothing broken may be left behind.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + HEAL_TIMEOUT_S) as scope:
            try:
                await fault.heal(cluster, rng)
            except ProcessFailed as error:
                self._trouble.append(f"{fault.name} could not be healed: {error}")
        if scope.cancelled_caught:
            self._trouble.append(f"{fault.name} was not healed within {HEAL_TIMEOUT_S:g} s")

    # --- the end

    async def _finish(self, cluster: Cluster | None) -> None:
        facts: dict[str, object] = {}
        leader: Node | None = None
        if cluster is not None:
            await cluster.network.heal()
            try:
                leader = await cluster.wait_ready(READY_TIMEOUT_S)
            except ProcessFailed as error:
                self._trouble.append(f"after the last healing: {error}")
        self._phase = "final"
        for workload in self._workloads:
            clients = [self._client(workload.name, target) for target in self._targets(cluster)]
            await workload.finish(clients)
            for client in clients:
                client.close()
        if cluster is not None:
            await _write_last(cluster)
            facts["digests"] = await _settled_digests(cluster)
            facts["leader"] = leader.name if leader else ""
            facts["network"] = await cluster.network.effects()
        facts["healed"] = not self._trouble
        facts["trouble"] = self._trouble
        self._writer.add(End(at_ns=self.now_ns(), facts=facts))


async def _write_last(cluster: Cluster) -> None:
    """End the log with an entry of the state machine: a change of members moves the commit index, and no digest."""
    with trio.move_on_after(SETTLE_TIMEOUT_S):
        while True:
            for server in cluster.servers:
                with suppress(NotSent, NotAnswered):
                    if (await server.request("PUT", "/v1/kv/jepsen/last", b"x")).status == 200:
                        return
            await trio.sleep(POLL_S)


async def _settled_digests(cluster: Cluster) -> dict[str, list[object]]:
    """Name -> [index, digest] of each server, once all have applied the same index or time is over."""
    found: dict[str, tuple[int, str]] = {}
    with trio.move_on_after(SETTLE_TIMEOUT_S):
        while True:
            found = await digests(cluster.servers)
            if len(found) == len(cluster.servers) and len({index for index, _ in found.values()}) == 1:
                break
            await trio.sleep(POLL_S)
    return {name: list(pair) for name, pair in found.items()}


async def run(options: RunOptions, machine: Machine, progress: Progress) -> History:
    """Make one run and return its history, which is also in `options.folder / "history.jsonl"`.

    Raises ProcessFailed if the cluster does not start, FolderTaken, OSError.
    """
    for address in options.addresses:
        await _answers(address)
    claim(options.folder)
    begin = Begin(
        seed=options.seed,
        command=options.command(),
        version=VERSION,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        options={
            "workloads": [each.name for each in options.workloads],
            "faults": [each.name for each in options.faults],
            **({} if options.addresses else {"servers": options.servers_count, "agents": options.agents_count}),
            "seconds": options.duration_s,
            "rate": options.rate,
            "break": options.mutant,
            "at": list(options.addresses),
            "left out": options.left_out,
        },
        machine={
            "network": "not ours" if options.addresses else options.network,
            "missing": machine.missing,
            **machine.facts,
        },
    )
    with (options.folder / "history.jsonl").open("w", encoding="utf-8") as file:
        writer = HistoryWriter(file, begin)
        async with _cluster(options) as cluster:
            await Run(options, machine, writer, progress).drive(cluster)
    return writer.history


@asynccontextmanager
async def _cluster(options: RunOptions) -> AsyncIterator[Cluster | None]:
    if options.addresses:
        yield None
        return
    environment = {BREAK_VARIABLE: options.mutant} if options.mutant else {}
    if options.needs_subject:
        environment[SEED_VARIABLE] = str(options.seed)
    words = list(
        dict.fromkeys([each.options for each in options.workloads] + [each.options for each in options.faults])
    )
    async with AsyncExitStack() as stack:
        network: Network = await stack.enter_async_context(
            opened(options.network, random.Random(f"network {options.seed}"))
        )
        cluster = Cluster(
            options.folder / "nodes",
            servers=options.servers_count,
            agents=options.agents_count,
            options=["-log-level", "info", *(word for group in words for word in group)],
            environment=environment,
            network=network,
            subject=options.needs_subject,
        )
        yield await stack.enter_async_context(cluster)


async def _answers(address: str) -> None:
    client = Client(
        address=address, node=address, workload="", process=0, record=lambda _: None, now_ns=time.monotonic_ns
    )
    try:
        reply = await client.http.request("GET", "/v1/status/leader", is_write=False, passing=())
        if not isinstance(reply.json(), str):
            raise TypeError("a leader is named by a text")
    except CallFailed as error:
        raise ProcessFailed(f"{address} does not answer: {str(error).partition(NEWLINE)[0]}") from error
    except STRANGE as error:
        raise ProcessFailed(f"{address} is no HTTP address of a cluster: it does not say who leads") from error
    finally:
        client.close()
