"""An agent's own services over a catalog in dicts and checks that nobody runs; time stands still unless it is moved."""

import random
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from agent.checks.interface import LocalChecks, Report
from agent.local.definitions import Definitions
from agent.local.persist import LocalFiles
from agent.local.plan import NodeInfo
from agent.local.services import LocalServices
from agent.local.state import OutputSettings
from base.codec import Record
from base.errors import MeshError, NotFound, Refused
from structs.catalog import (
    ChecksReply,
    DeregisterCommand,
    HealthCheck,
    Node,
    NodeRequest,
    NodeService,
    NodeServicesReply,
    RegisterCommand,
)
from structs.check_spec import CheckSpec
from structs.cluster import Empty

INFO = NodeInfo(
    node_id="11111111-2222-4333-8444-555555555555",
    node="n1",
    address="10.0.0.1",
    tagged_addresses={"lan": "10.0.0.1"},
    meta={"consul-network-segment": ""},
)


class FakeRuns:
    """Knows which checks run, runs none; scripts are not allowed unless `scripts_allowed`."""

    def __init__(self, report: Report, local: LocalChecks) -> None:
        self.report = report
        self.local = local
        self.running: dict[str, CheckSpec] = {}
        self.started: list[str] = []
        self.scripts_allowed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    def start(self, spec: CheckSpec, *, status: str, output: str = "", ttl_left_s: float | None = None) -> None:
        self.running[spec.check_id] = spec
        self.started.append(f"{spec.check_id} {status} {output}".strip())

    def check_allowed(self, spec: CheckSpec, *, from_file: bool) -> None:
        if spec.args and not self.scripts_allowed:
            raise Refused("Scripts are disabled on this agent; to enable, configure 'enable_script_checks' to true")

    def stop(self, check_id: str) -> None:
        self.running.pop(check_id, None)

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        spec = self.running.get(check_id)
        if spec is None:
            raise NotFound(f'Unknown check ID "{check_id}". Ensure that the check ID is passed, not the check name.')
        if spec.kind != "ttl":
            raise Refused(f'CheckID "{check_id}" does not have associated TTL')
        self.report(check_id, status, output)

    def ttl_left_s(self, check_id: str) -> float | None:
        spec = self.running.get(check_id)
        return spec.ttl_s if spec is not None and spec.kind == "ttl" else None


class FakeCatalog:
    """What the servers have of one node. `error` is raised for every call; `refused` for writes about these ids."""

    def __init__(self) -> None:
        self.node: Node | None = None
        self.services: dict[str, NodeService] = {}
        self.checks: dict[str, HealthCheck] = {}
        self.calls: list[str] = []
        self.tokens: list[str] = []
        self.error: MeshError | None = None
        self.refused: dict[str, MeshError] = {}
        self.gate: trio.Event | None = None
        """Every write waits for it."""
        self.under_way_count = 0
        self.under_way_most = 0

    def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        return self._answer(method, request)

    async def _answer(self, method: str, request: Any) -> Record:
        await trio.lowlevel.checkpoint()
        self.calls.append(method)
        self.tokens.append(request.options.token)
        if self.error is not None:
            raise self.error
        if isinstance(request, NodeRequest):
            if method == "Health.NodeChecks":
                return ChecksReply(checks=list(self.checks.values()))
            return NodeServicesReply(node=self.node, services=list(self.services.values()))
        self.under_way_count += 1
        self.under_way_most = max(self.under_way_most, self.under_way_count)
        try:
            if self.gate is not None:
                await self.gate.wait()
            self.apply(request.command)
        finally:
            self.under_way_count -= 1
        return Empty()

    def apply(self, command: RegisterCommand | DeregisterCommand) -> None:
        """Do what the state machine does."""
        if isinstance(command, DeregisterCommand):
            self._deregister(command)
            return
        ids = [check.check_id for check in command.checks]
        if command.service is not None:
            ids.append(command.service.service_id)
        for name in ids:
            if name in self.refused:
                raise self.refused[name]
        for check in command.checks:
            is_there = check.service_id in self.services
            is_coming = command.service is not None and command.service.service_id == check.service_id
            if check.service_id and not is_there and not is_coming:
                raise Refused("failed inserting check: Missing service registration")
        self.node = Node(
            node_id=command.node_id,
            node=command.node,
            address=command.address,
            tagged_addresses=command.tagged_addresses,
            meta=command.node_meta,
        )
        if command.service is not None:
            self.services[command.service.service_id] = command.service
        for check in command.checks:
            owner = self.services.get(check.service_id)
            if owner is not None:
                check = replace(check, service_name=owner.service, service_tags=owner.tags)
            self.checks[check.check_id] = check

    def _deregister(self, command: DeregisterCommand) -> None:
        for name in (command.service_id, command.check_id):
            if name and name in self.refused:
                raise self.refused[name]
        if command.service_id:
            self.services.pop(command.service_id, None)
            self.checks = {
                check_id: check for check_id, check in self.checks.items() if check.service_id != command.service_id
            }
        elif command.check_id:
            self.checks.pop(command.check_id, None)

    @property
    def writes(self) -> list[str]:
        """The calls that are no reads."""
        return [call for call in self.calls if call.startswith(("Catalog.Register", "Catalog.Deregister"))]


class LocalSite:
    """An agent's own services, their catalog and their runs."""

    def __init__(
        self,
        *,
        folder: Path | None = None,
        definitions: Definitions | None = None,
        catalog: FakeCatalog | None = None,
        outputs: OutputSettings | None = None,
        wall_unix_s: float = 1_000_000.0,
    ) -> None:
        self.catalog = catalog or FakeCatalog()
        self.now_s = 1000.0
        self.wall_unix_s = wall_unix_s
        self._runs: list[FakeRuns] = []
        self.local = LocalServices(
            info=INFO,
            outputs=outputs or OutputSettings(),
            definitions=definitions or Definitions(),
            files=LocalFiles(folder, wall_unix_s=lambda: self.wall_unix_s) if folder is not None else None,
            delegate=self.catalog,
            make_runs=self._make_runs,
            nodes_count=lambda: 1,
            rng=random.Random(1),
            monotonic_s=lambda: self.now_s,
        )

    def _make_runs(self, report: Report, local: LocalChecks) -> FakeRuns:
        self._runs.append(FakeRuns(report, local))
        return self._runs[0]

    @property
    def runs(self) -> FakeRuns:
        """Who would run the checks."""
        return self._runs[0]
