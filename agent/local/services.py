"""The agent's own services and checks: registered, deregistered, put into maintenance, loaded and reloaded.

Changes go one after the other: what is allowed here is found out first, then the data directory has it, then the
claims and whoever runs the checks, then the catalog hears of it. Definitions of configuration files win over those of
the API with the same id. Source: agent specification, sections 2, 4, 6 and 7; HTTP API, section 1.
"""

import random
import re
from collections.abc import Callable, Iterable
from typing import Final

import trio
from msgspec.structs import replace

from agent.checks.interface import LocalChecks, Report
from agent.local.definitions import CheckDefinition, Definitions, ServiceDefinition
from agent.local.interface import Runs
from agent.local.persist import LocalFiles, StoredService
from agent.local.plan import NodeInfo
from agent.local.state import ENTRIES_MAX, LocalState, Origin, OutputSettings
from agent.local.sync import AntiEntropy, Asker
from base.errors import ConfigInvalid, DiskFailed, MeshError, NotFound, Refused
from base.log import get_logger
from structs.catalog import CheckStatus, HealthCheck, NodeService
from structs.check_spec import CheckSpec

REAP_INTERVAL_S: Final = 30.0
"""How often services are looked for that have been critical for too long."""
NODE_MAINTENANCE: Final = "_node_maintenance"
SERVICE_MAINTENANCE: Final = "_service_maintenance:"
NODE_REASON: Final = "Maintenance mode is enabled for this node, but no reason was provided. This is a default message."
SERVICE_REASON: Final = (
    "Maintenance mode is enabled for this service, but no reason was provided. This is a default message."
)
UNKNOWN_SERVICE: Final = 'Unknown service ID "{}". Ensure that the service ID is passed, not the service name.'
UNKNOWN_CHECK: Final = 'Unknown check ID "{}". Ensure that the check ID is passed, not the check name.'
STATE_FRACTION_MIN: Final = 0.5
"""The stored state of a TTL check is written again when less than this part of its time is left, or it changes."""

_LABEL = re.compile(r"[A-Za-z0-9-]{1,63}\Z")
"""What a label of DNS may be."""
_log = get_logger("agent")
MakeRuns = Callable[[Report, LocalChecks], Runs]


class LocalServices:
    """`run` owns all tasks, those of the checks too."""

    def __init__(
        self,
        *,
        info: NodeInfo,
        outputs: OutputSettings,
        definitions: Definitions,
        files: LocalFiles | None,
        delegate: Asker,
        make_runs: MakeRuns,
        nodes_count: Callable[[], int],
        rng: random.Random,
        monotonic_s: Callable[[], float] = trio.current_time,
    ) -> None:
        """`files` None: nothing is kept."""
        self.state = LocalState(node=info.node, settings=outputs, rng=rng)
        self.sync = AntiEntropy(
            state=self.state,
            info=info,
            delegate=delegate,
            nodes_count=nodes_count,
            rng=rng,
            monotonic_s=monotonic_s,
        )
        self._definitions = definitions
        self._files = files
        self._runs = make_runs(self._report, self.state)
        self._now = monotonic_s
        self._changing = trio.Lock()
        self._written: dict[str, tuple[str, str, float]] = {}
        """Check id -> status and output of its stored state, and until when (monotonic) that is good enough."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load what is defined, then look after it until cancelled; raises ConfigInvalid for what may not run here."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._runs.run)
            await self._load()
            await nursery.start(self.sync.run)
            nursery.start_soon(self._reap)
            task_status.started()

    # Asked

    def event_services(self) -> Iterable[tuple[str, list[str]]]:
        """Yield id and tags of each service, for whoever filters by them."""
        return [(service_id, entry.service.tags or []) for service_id, entry in self.state.services.items()]

    def statistics(self) -> dict[str, str]:
        """Return `Stats.agent` of `/v1/agent/self`."""
        kinds = [entry.spec.kind for entry in self.state.checks.values()]
        ttls_count = kinds.count("ttl")
        return {
            "check_monitors": str(len(kinds) - ttls_count - kinds.count("")),
            "check_ttls": str(ttls_count),
            "checks": str(len(kinds)),
            "services": str(len(self.state.services)),
        }

    # Changed

    async def register_service(
        self, definition: ServiceDefinition, *, token: str, replaces_checks: bool = False
    ) -> None:
        """Claim a service and its checks; those with a known id keep their status. Returns when the catalog knows.

        Args: `replaces_checks`: other checks of the service go. A catalog that can't be reached is no error.
        Raises: Refused, InvalidRequest for what may not run here, DiskFailed; nothing has changed then.
        """
        service = definition.service
        async with self._changing:
            for spec in definition.checks:
                self._runs.check_allowed(spec, from_file=False)
            extra: list[str] = []
            entry = self.state.services.get(service.service_id)
            if replaces_checks and entry is not None:
                kept = {spec.check_id for spec in definition.checks}
                extra = [check_id for check_id in entry.check_ids if check_id not in kept]
            self.state.check_room(service.service_id, definition.checks)
            await self._on_disk(_save, service, definition.checks, token, extra)
            _tell_of_odd_names(service)
            self.state.put_service(service, token=token, origin=Origin.API)
            for spec in definition.checks:
                self._put_check(spec, token=token, origin=Origin.API, keeps_status=True)
            for check_id in extra:
                self._drop_check(check_id)
        await self.sync.settle()

    async def deregister_service(self, service_id: str) -> None:
        """Give up a service and its checks; raises NotFound, DiskFailed."""
        async with self._changing:
            await self._remove_service(service_id)
        await self.sync.settle()

    async def register_check(self, spec: CheckSpec, *, token: str) -> None:
        """Claim a check; raises Refused, InvalidRequest, DiskFailed."""
        async with self._changing:
            self._runs.check_allowed(spec, from_file=False)
            self.state.check_owner(spec)
            self.state.check_room("", [spec])
            await self._on_disk(_save, None, [spec], token, [])
            self._put_check(spec, token=token, origin=Origin.API, keeps_status=False)
        await self.sync.settle()

    async def deregister_check(self, check_id: str) -> None:
        """Give up a check; raises NotFound, DiskFailed."""
        async with self._changing:
            if check_id not in self.state.checks:
                raise NotFound(UNKNOWN_CHECK.format(check_id))
            await self._remove_check(check_id)
        await self.sync.settle()

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Take what somebody says of a TTL check; raises NotFound, Refused."""
        self._runs.update_ttl(check_id, status, output)
        self._keep_state(check_id)

    async def maintain_node(self, *, enable: bool, reason: str, token: str) -> None:
        """Make this node and all on it critical, or end that; raises DiskFailed."""
        spec = CheckSpec(
            check_id=NODE_MAINTENANCE,
            name="Node Maintenance Mode",
            notes=reason or NODE_REASON,
            status=CheckStatus.CRITICAL.value,
        )
        await self._maintain(spec, enable=enable, token=token)

    async def maintain_service(self, service_id: str, *, enable: bool, reason: str, token: str) -> None:
        """Make a service critical, or end that; raises NotFound, DiskFailed."""
        if service_id not in self.state.services:
            raise NotFound(f'No service registered with ID "{service_id}"')
        spec = CheckSpec(
            check_id=SERVICE_MAINTENANCE + service_id,
            name="Service Maintenance Mode",
            notes=reason or SERVICE_REASON,
            service_id=service_id,
            status=CheckStatus.CRITICAL.value,
        )
        await self._maintain(spec, enable=enable, token=token)

    async def _maintain(self, spec: CheckSpec, *, enable: bool, token: str) -> None:
        async with self._changing:
            is_on = spec.check_id in self.state.checks
            if is_on == enable:
                return
            if enable:
                self.state.check_owner(spec)
                await self._on_disk(_save, None, [spec], token, [])
                self._put_check(spec, token=token, origin=Origin.API, keeps_status=False)
                _log.info("maintenance mode begins", check=spec.check_id, reason=spec.notes)
            else:
                await self._remove_check(spec.check_id)
                _log.info("maintenance mode ends", check=spec.check_id)
        await self.sync.settle()

    async def reload(self, definitions: Definitions, outputs: OutputSettings, info: NodeInfo) -> None:
        """Take what the files define now; what is the same in them goes on undisturbed.

        Raises: Refused, InvalidRequest for what may not run here, DiskFailed. The former: nothing has changed.
        """
        async with self._changing:
            self._allow(definitions)
            self.state.settings = outputs
            if info != self.sync.info:
                self.sync.info = info
                self.state.node_is_dirty = True
            with self.sync.paused():
                services = {row.service.service_id for row in definitions.services}
                checks = {spec.check_id for spec in _specs(definitions)}
                for service_id, entry in list(self.state.services.items()):
                    if entry.origin is Origin.FILE and service_id not in services:
                        await self._remove_service(service_id)
                for check_id, check in list(self.state.checks.items()):
                    if check.origin is Origin.FILE and check_id not in checks:
                        await self._remove_check(check_id)
                self._definitions = definitions
                self._put_services()
                for row in definitions.checks:
                    self._put_check(row.spec, token=row.token, origin=Origin.FILE, keeps_status=True)
                await self._on_disk(self._forget_overruled)

    # Inside

    async def _on_disk(self, act: Callable[..., None], *arguments: object) -> None:
        """Call `act(files, ...)` where files are kept, not in the event loop: it waits for the disk."""
        if self._files is not None:
            await trio.to_thread.run_sync(act, self._files, *arguments)

    def _put_check(
        self, spec: CheckSpec, *, token: str, origin: Origin, keeps_status: bool, restores: bool = False
    ) -> None:
        """Claim a check and run it, unless it runs already just so.

        Args: `keeps_status`: whatever it found out before still counts; `restores`: what the data directory says, too.
        """
        old = self.state.checks.get(spec.check_id)
        is_same = old is not None and old.spec == spec
        status, output, left_s = spec.status, "", None
        if old is not None and (keeps_status or (is_same and not spec.status)):
            status, output = old.check.status, old.check.output
        elif restores and spec.kind == "ttl" and self._files is not None:
            stored = self._files.load_state(spec.check_id)
            if stored is not None:
                status, output, left_s = stored.status, stored.output, stored.left_s
        check = self.state.put_check(spec, token=token, origin=origin, now_s=self._now(), status=status, output=output)
        self.sync.trigger()
        if not spec.kind:
            self._runs.stop(spec.check_id)
        elif old is None or not is_same or old.check.status != check.status:
            try:
                self._runs.start(spec, status=check.status, output=check.output, ttl_left_s=left_s)
            except MeshError:
                self._drop_check(spec.check_id)
                raise

    async def _remove_service(self, service_id: str) -> None:
        entry = self.state.services.get(service_id)
        if entry is None:
            raise NotFound(UNKNOWN_SERVICE.format(service_id))
        await self._on_disk(_forget, service_id, list(entry.check_ids))
        for check_id in self.state.remove_service(service_id) or ():
            self._runs.stop(check_id)
            self._written.pop(check_id, None)
        self.sync.trigger()

    async def _remove_check(self, check_id: str) -> None:
        await self._on_disk(_forget, "", [check_id])
        self._drop_check(check_id)

    def _drop_check(self, check_id: str) -> None:
        self._runs.stop(check_id)
        self._written.pop(check_id, None)
        self.state.remove_check(check_id)
        self.sync.trigger()

    def _report(self, check_id: str, status: str, output: str) -> None:
        """Take what a check found out."""
        due_s = self.state.next_due_s()
        if self.state.update_check(check_id, status, output, now_s=self._now()):
            self.sync.trigger()
        elif self.state.next_due_s() != due_s:
            self.sync.look_again()

    def _keep_state(self, check_id: str) -> None:
        """Write down how a TTL check stands, unless what is written is nearly as good."""
        left_s = self._runs.ttl_left_s(check_id)
        entry = self.state.checks.get(check_id)
        if self._files is None or left_s is None or entry is None:
            return
        check, now_s = entry.check, self._now()
        written = self._written.get(check_id)
        if written is not None and written[:2] == (check.status, check.output) and now_s < written[2]:
            return
        try:
            self._files.save_state(check, left_s)
        except DiskFailed as error:
            _log.warn("the state of a check is not kept", check=check_id, reason=str(error))
            return
        self._written[check_id] = (check.status, check.output, now_s + left_s * STATE_FRACTION_MIN)

    async def _reap(self) -> None:
        """Give up services that have been critical for longer than their checks allow."""
        while True:
            await trio.sleep(REAP_INTERVAL_S)
            for service_id, check_id in self.state.expired_services(self._now()):
                if (service_id, check_id) not in self.state.expired_services(self._now()):
                    continue  # it has recovered, or is gone, while the catalog heard of the one before
                _log.warn("a service is given up: it was critical for too long", service=service_id, check=check_id)
                try:
                    await self.deregister_service(service_id)
                except MeshError as error:
                    _log.error("a service could not be given up", service=service_id, reason=str(error))

    # Loaded

    def _allow(self, definitions: Definitions) -> None:
        """Raise Refused or InvalidRequest where these cannot take the place of those of now."""
        if max(len(definitions.services), len(_specs(definitions))) > ENTRIES_MAX:
            raise Refused(f"the configuration defines more than {ENTRIES_MAX} services or checks")
        for spec in _specs(definitions):
            self._runs.check_allowed(spec, from_file=True)
        services = {row.service.service_id for row in definitions.services}
        services |= {name for name, entry in self.state.services.items() if entry.origin is Origin.API}
        for row in definitions.checks:
            if row.spec.service_id and row.spec.service_id not in services:
                raise Refused(f'ServiceID "{row.spec.service_id}" does not exist')

    async def _load(self) -> None:
        try:
            for spec in _specs(self._definitions):
                self._runs.check_allowed(spec, from_file=True)
            self._put_services(restores=True)
        except MeshError as error:
            raise ConfigInvalid(f"a service or check of the configuration cannot be had: {error}") from error
        await self._load_files()
        for row in self._definitions.checks:
            try:
                self._put_check(row.spec, token=row.token, origin=Origin.FILE, keeps_status=True, restores=True)
            except MeshError as error:
                _log.error("a check of the configuration is not run", check=row.spec.check_id, reason=str(error))

    def _put_services(self, *, restores: bool = False) -> None:
        """Claim the services that files define, with their checks."""
        for row in self._definitions.services:
            _tell_of_odd_names(row.service)
            self.state.put_service(row.service, token=row.token, origin=Origin.FILE)
            for spec in row.checks:
                self._put_check(spec, token=row.token, origin=Origin.FILE, keeps_status=True, restores=restores)

    async def _load_files(self) -> None:
        """Claim what the API defined in earlier lives. What cannot be had is told of and left where it is."""
        files = self._files
        if files is None:
            return
        await self._on_disk(self._forget_overruled)
        services = await trio.to_thread.run_sync(files.load_services)
        checks = await trio.to_thread.run_sync(files.load_checks)
        for stored in services:
            self.state.put_service(stored.service, token=stored.token, origin=Origin.API)
        for row in checks:
            spec = row.spec
            try:
                self._runs.check_allowed(spec, from_file=False)
                self._put_check(
                    replace(spec, status=""), token=row.token, origin=Origin.API, keeps_status=False, restores=True
                )
            except MeshError as error:
                _log.warn("a check of the data directory is not run", check=spec.check_id, reason=str(error))

    def _forget_overruled(self, files: LocalFiles) -> None:
        """Remove from disk what a configuration file defines as well."""
        for row in self._definitions.services:
            files.forget_service(row.service.service_id)
        for spec in _specs(self._definitions):
            files.forget_definition(spec.check_id)


def _tell_of_odd_names(service: NodeService) -> None:
    """Log what DNS cannot answer for (agent specification, section 9)."""
    if _LABEL.match(service.service) is None:
        _log.warn("a service cannot be found by DNS, because of its name", service=service.service)
    odd = [tag for tag in service.tags or () if _LABEL.match(tag) is None]
    if odd:
        _log.debug("a service cannot be found by DNS by some of its tags", service=service.service, tags=odd[:8])


def _save(files: LocalFiles, service: NodeService | None, specs: list[CheckSpec], token: str, extra: list[str]) -> None:
    """A kill in the middle leaves checks without their service, which are not run; a service would pass without its
    checks.
    """
    for spec in specs:
        files.save_check(CheckDefinition(spec=spec, token=token))
    if service is not None:
        files.save_service(StoredService(service=service, token=token))
    for check_id in extra:
        files.forget_check(check_id)


def _forget(files: LocalFiles, service_id: str, check_ids: list[str]) -> None:
    if service_id:
        files.forget_service(service_id)  # first, for the reason that `_save` gives
    for check_id in check_ids:
        files.forget_check(check_id)


def _specs(definitions: Definitions) -> list[CheckSpec]:
    return [
        *(spec for row in definitions.services for spec in row.checks),
        *(row.spec for row in definitions.checks),
    ]


def aggregated(checks: Iterable[HealthCheck]) -> str:
    """Return the worst: maintenance, critical, warning or passing (HTTP API; modern deltas, section 5)."""
    worst = 0
    for check in checks:
        if check.check_id == NODE_MAINTENANCE or check.check_id.startswith(SERVICE_MAINTENANCE):
            return "maintenance"
        worst = max(worst, _RANKS.get(check.status, 2))
    return ("passing", "warning", "critical")[worst]


_RANKS = {"passing": 0, "warning": 1, "critical": 2}
