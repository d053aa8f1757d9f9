"""A run goes on where a fault does not go as it should, and says so."""

import io
import random
from pathlib import Path

import pytest
import trio

from jepsen.checkers.recovery import check_recovery
from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.history import Begin, HistoryWriter
from jepsen.machine import Machine
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.network.plain import PlainNetwork
from jepsen.report.progress import Progress
from jepsen.run import Run, RunOptions
from jepsen.workloads.registry import WORKLOADS


class Failing(Fault):
    """Its injection fails in one of several ways."""

    name = "failing"
    package = "test"
    description = "an injection that fails"
    hold_s = (0.0, 0.0)
    error: Exception

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        raise self.error

    async def evidence(self, cluster: Cluster) -> str:
        return "it was seen"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        """Nothing is broken."""


class NoCluster(Cluster):
    """Nobody in it."""

    def __init__(self) -> None:
        self.servers = []
        self.agents = []
        self.retired = []
        self.network = PlainNetwork()

    async def wait_ready(self, timeout_s: float = 0.0) -> Node:
        raise ProcessFailed("nobody leads")


@pytest.mark.parametrize(
    ("error", "complaints"),
    [(NotInjected("no target"), 1), (ProcessFailed("server-1 did not end within 20 s\nits log"), 2)],
)
async def test_a_process_that_fails_an_injection_is_a_finding_and_no_end(
    error: Exception, complaints: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "error", error, raising=False)
    monkeypatch.setattr("jepsen.generator.FIRST_S", 0.0)
    monkeypatch.setattr("jepsen.run.SETTLE_TIMEOUT_S", 0.1)
    begin = Begin(seed=1, command="", version="", started="", options={}, machine={})
    writer = HistoryWriter(io.StringIO(), begin)
    options = RunOptions(seed=1, folder=tmp_path, workloads=(WORKLOADS["set"],), faults=(Failing,), duration_s=0.1)
    made = Run(options, Machine(abilities=frozenset(), missing={}, facts={}), writer, Progress())
    monkeypatch.setattr(made, "_workloads", [])
    monkeypatch.setattr(made, "_targets", lambda _: [])
    with trio.fail_after(60):
        await made.drive(NoCluster())
    history = writer.history
    assert [(fault.evidence, fault.nodes) for fault in history.faults] == [("", [])]
    assert str(error).partition("\n")[0] in history.faults[0].what
    verdict = check_recovery(history)
    assert verdict.anomalies_count == complaints  # the cluster of nobody is the other one
