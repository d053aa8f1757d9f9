"""Sans-IO. What this node claims about itself: its services and checks, and which of them the catalog may not have.

Every change gives what it touches a new revision; a write that was sent for an older one proves nothing about
the newer. Nothing here costs more than what it touches: ten thousand services are ten thousand steps, not their square.
Times are monotonic seconds. Source: agent specification, sections 4 to 6.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from heapq import heappop, heappush
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from agent.local.records import catalog_name, comparable_service, health_check
from base.errors import Refused
from structs.catalog import CheckStatus, HealthCheck, NodeService
from structs.check_spec import CheckSpec

ENTRIES_MAX = 65_536
"""Services, and checks, of one agent."""
FRAME_BYTES_MAX = 4096
"""What whoever runs a check may write around the output that it has cut already: an address, a reason."""


class Origin(Enum):
    """Who defined it."""

    API = "api"
    """Kept in the data directory."""
    FILE = "file"
    """As long as a configuration file has it."""


class ServiceEntry(msgspec.Struct, kw_only=True):
    """One service. `revision` is that of its last change."""

    service: NodeService
    token: str
    origin: Origin
    revision: int
    check_ids: dict[str, None]
    """Its checks, in the order in which they came."""


class CheckEntry(msgspec.Struct, kw_only=True):
    """One check."""

    check: HealthCheck
    spec: CheckSpec
    token: str
    origin: Origin
    revision: int
    critical_since_s: float | None
    held_back_until_s: float | None = None
    """Its output changed and nothing else: the catalog is told then."""


class OutputSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is done with what checks say."""

    update_interval_s: float = 300.0
    """How long news of the output alone may wait; 0: not at all."""
    discard: bool = False
    bytes_max: int = 4096


class Gone(msgspec.Struct, frozen=True):
    """Something that the catalog may still have. `check_ids`: what goes with a service."""

    revision: int
    token: str
    check_ids: tuple[str, ...] = ()


class LocalState:
    """The claims. Whoever changes them says who may have to be told; see `plan.py`."""

    def __init__(self, *, node: str, settings: OutputSettings, rng: random.Random) -> None:
        self.node = node
        self.settings = settings
        self._rng = rng
        self._services: dict[str, ServiceEntry] = {}
        self._checks: dict[str, CheckEntry] = {}
        self._service_names: dict[str, str] = {}
        self._check_names: dict[str, str] = {}
        """What the catalog knows them by -> ids."""
        self.services: Mapping[str, ServiceEntry] = MappingProxyType(self._services)
        self.checks: Mapping[str, CheckEntry] = MappingProxyType(self._checks)
        self.revision = 0
        """Of the last change of anything."""
        self._node_checks: dict[str, None] = {}
        self._reapable: dict[str, None] = {}
        self.dirty_services: dict[str, None] = {}
        self.dirty_checks: dict[str, None] = {}
        self.gone_services: dict[str, Gone] = {}
        self.gone_checks: dict[str, Gone] = {}
        self.node_is_dirty = True
        self._held_back: list[tuple[float, str]] = []
        self._watchers: dict[int, Callable[[], None]] = {}
        self._watchers_total = 0

    # Asked

    def checks_of_service(self, service_id: str) -> list[HealthCheck] | None:
        """Return the checks of a service after those of the node; None: unknown service. "": those of the node only."""
        found = [self._checks[check_id].check for check_id in self._node_checks]
        if not service_id:
            return found
        entry = self._services.get(service_id)
        if entry is None:
            return None
        return found + [self._checks[check_id].check for check_id in entry.check_ids]

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after every change of a service or check; returns what takes that back."""
        self._watchers_total += 1
        number = self._watchers_total
        self._watchers[number] = changed

        def unsubscribe() -> None:
            self._watchers.pop(number, None)

        return unsubscribe

    def claims_service(self, service_id: str) -> bool:
        """Whether the catalog takes this for one of our services."""
        return catalog_name(service_id) in self._service_names

    def claims_check(self, check_id: str) -> bool:
        """Whether the catalog takes this for one of our checks."""
        return catalog_name(check_id) in self._check_names

    @property
    def is_dirty(self) -> bool:
        """Whether the catalog may lack anything, outputs that are held back aside."""
        return bool(
            self.dirty_services or self.dirty_checks or self.gone_services or self.gone_checks or self.node_is_dirty
        )

    def check_owner(self, spec: CheckSpec) -> None:
        """Raise Refused for a check of a service that isn't here."""
        if spec.service_id and spec.service_id not in self._services:
            raise Refused(f'ServiceID "{spec.service_id}" does not exist')

    def check_room(self, service_id: str, specs: Sequence[CheckSpec]) -> None:
        """Raise Refused where these would be too many, or one in the catalog with others that are here.

        Args: `service_id` "": no service comes with the checks.
        """
        _check_name("service", service_id, self._service_names)
        for spec in specs:
            _check_name("check", spec.check_id, self._check_names)
        if service_id and service_id not in self._services and len(self._services) >= ENTRIES_MAX:
            raise Refused(f"this agent has {ENTRIES_MAX} services already")
        added_count = sum(spec.check_id not in self._checks for spec in specs)
        if added_count and len(self._checks) + added_count > ENTRIES_MAX:
            raise Refused(f"this agent has {ENTRIES_MAX} checks already")

    def next_due_s(self) -> float | None:
        """Return when `release_outputs` has something to do, None: never."""
        return self._held_back[0][0] if self._held_back else None

    def expired_services(self, now_s: float) -> list[tuple[str, str]]:
        """Return the services to be given up, and the check that has been critical for so long.

        Source: agent specification, section 4, `deregister_critical_service_after`.
        """
        found: dict[str, str] = {}
        for check_id in self._reapable:
            entry = self._checks[check_id]
            since_s = entry.critical_since_s
            if since_s is not None and now_s - since_s > entry.spec.deregister_after_s:
                found.setdefault(entry.check.service_id, check_id)
        return list(found.items())

    # Changed

    def put_service(self, service: NodeService, *, token: str, origin: Origin) -> bool:
        """Claim a service; returns whether the catalog has to hear of it. Raises Refused beyond ENTRIES_MAX.

        Its checks carry its name and tags, so they change with these.
        """
        service_id = service.service_id
        entry = self._services.get(service_id)
        if entry is None:
            self.check_room(service_id, ())
            self._services[service_id] = ServiceEntry(
                service=service, token=token, origin=origin, revision=self._next(), check_ids={}
            )
            self._service_names[catalog_name(service_id)] = service_id
        else:
            entry.token, entry.origin = token, origin
            if entry.service == service:
                return False
            old, entry.service = entry.service, service
            if comparable_service(old) == comparable_service(service):
                return False
            entry.revision = self._next()
            if old.service != service.service or old.tags != service.tags:
                self._retag(entry)
        gone = self.gone_services.pop(service_id, None)
        if gone is not None:
            left = (check_id for check_id in gone.check_ids if not self.claims_check(check_id))
            self.gone_checks.update(dict.fromkeys(left, gone))  # they do not go with their service any more
        self.dirty_services[service_id] = None
        self._tell()
        return True

    def take_tags(self, service_id: str, tags: list[str] | None) -> None:
        """Let the catalog's tags of a service be ours (EnableTagOverride)."""
        entry = self._services[service_id]
        if (entry.service.tags or []) != (tags or []):
            entry.service = replace(entry.service, tags=tags)
            entry.revision = self._next()
            for check_id in entry.check_ids:
                check = self._checks[check_id]
                check.check = replace(check.check, service_tags=tags)
            self._tell()

    def _retag(self, entry: ServiceEntry) -> None:
        for check_id in entry.check_ids:
            check = self._checks[check_id]
            check.check = replace(check.check, service_name=entry.service.service, service_tags=entry.service.tags)
            self._touch(check)

    def remove_service(self, service_id: str) -> list[str] | None:
        """Give a service up, with its checks; returns their ids, None where there is no such service."""
        entry = self._services.pop(service_id, None)
        if entry is None:
            return None
        del self._service_names[catalog_name(service_id)]
        check_ids = list(entry.check_ids)
        for check_id in check_ids:
            self._drop_check(check_id)
            del self.gone_checks[check_id]  # the catalog drops them with their service
        self.dirty_services.pop(service_id, None)
        self.gone_services[service_id] = Gone(self._next(), entry.token, tuple(check_ids))
        self._tell()
        return check_ids

    def put_check(
        self, spec: CheckSpec, *, token: str, origin: Origin, now_s: float, status: str = "", output: str = ""
    ) -> HealthCheck:
        """Claim a check; returns it. Raises Refused for a service that isn't here, and beyond ENTRIES_MAX.

        Args: `status` "" is the definition's own, else critical.
        """
        self.check_owner(spec)
        self.check_room("", [spec])
        service = self._services.get(spec.service_id)
        old = self._checks.get(spec.check_id)
        if old is not None and old.check.service_id != spec.service_id:
            self._drop_check(spec.check_id)
            old = None
        check = health_check(
            spec,
            node=self.node,
            service=service.service if service is not None else None,
            status=status,
            output=self._kept(output, spec),
        )
        is_critical = check.status == CheckStatus.CRITICAL.value
        since_s = old.critical_since_s if old is not None and old.critical_since_s is not None else now_s
        entry = CheckEntry(
            check=check,
            spec=spec,
            token=token,
            origin=origin,
            revision=old.revision if old is not None else self._next(),
            critical_since_s=since_s if is_critical else None,
            held_back_until_s=old.held_back_until_s if old is not None else None,
        )
        self._checks[spec.check_id] = entry
        self._check_names[catalog_name(spec.check_id)] = spec.check_id
        self.gone_checks.pop(spec.check_id, None)
        (service.check_ids if service is not None else self._node_checks)[spec.check_id] = None
        if spec.deregister_after_s > 0 and spec.service_id:
            self._reapable[spec.check_id] = None
        else:
            self._reapable.pop(spec.check_id, None)
        if old is None or old.check != check:
            self._touch(entry)
            self._tell()
        return check

    def remove_check(self, check_id: str) -> bool:
        """Give a check up; returns whether there was one."""
        if not self._drop_check(check_id):
            return False
        self._tell()
        return True

    def update_check(self, check_id: str, status: str, output: str, *, now_s: float) -> bool:
        """Take what a check found out; returns whether the catalog has to hear of it now.

        News of the output alone are held back for between half and one and a half of `update_interval_s`.
        """
        entry = self._checks.get(check_id)
        if entry is None:
            return False  # it was removed while it ran
        output = self._kept(output, entry.spec)
        check = entry.check
        if check.status == status and check.output == output:
            return False
        entry.check = replace(check, status=status, output=output)
        if status != CheckStatus.CRITICAL.value:
            entry.critical_since_s = None
        elif entry.critical_since_s is None:
            entry.critical_since_s = now_s
        interval_s = self.settings.update_interval_s
        if check.status == status and interval_s > 0:
            entry.revision = self._next()
            if entry.held_back_until_s is None and check_id not in self.dirty_checks:
                entry.held_back_until_s = now_s + interval_s / 2 + self._rng.random() * interval_s
                heappush(self._held_back, (entry.held_back_until_s, check_id))
            self._tell()
            return False
        self._touch(entry)
        self._tell()
        return True

    def release_outputs(self, now_s: float) -> bool:
        """Let the catalog hear of outputs that were held back long enough; returns whether there are any."""
        released = False
        while self._held_back and self._held_back[0][0] <= now_s:
            due_s, check_id = heappop(self._held_back)
            entry = self._checks.get(check_id)
            if entry is not None and entry.held_back_until_s == due_s:
                self._touch(entry)
                released = True
        return released

    # Told by whoever keeps the catalog in step

    def assume(
        self,
        *,
        services: Iterable[str],
        checks: Iterable[str],
        gone_services: Iterable[str],
        gone_checks: Iterable[str],
        node: bool,
    ) -> None:
        """Take the result of a whole comparison: exactly these are not as the catalog has them."""
        self.dirty_services = dict.fromkeys(services)
        self.dirty_checks = dict.fromkeys(checks)
        for check_id in self.dirty_checks:
            self._checks[check_id].held_back_until_s = None
        revision = self._next()
        self.gone_services = {
            service_id: self.gone_services.get(service_id) or Gone(revision, "") for service_id in gone_services
        }
        self.gone_checks = {check_id: self.gone_checks.get(check_id) or Gone(revision, "") for check_id in gone_checks}
        self.node_is_dirty = node

    def service_is_known(self, service_id: str, revision: int) -> None:
        """The catalog has this service as it was then, or refuses to."""
        entry = self._services.get(service_id)
        if entry is not None and entry.revision == revision:
            self.dirty_services.pop(service_id, None)

    def check_is_known(self, check_id: str, revision: int) -> None:
        """The catalog has this check as it was then, or refuses to."""
        entry = self._checks.get(check_id)
        if entry is not None and entry.revision == revision:
            self.dirty_checks.pop(check_id, None)
            entry.held_back_until_s = None

    def service_is_gone(self, service_id: str, revision: int) -> None:
        """The catalog has this service no more, or refuses to let it go."""
        gone = self.gone_services.get(service_id)
        if gone is not None and gone.revision == revision:
            del self.gone_services[service_id]

    def check_is_gone(self, check_id: str, revision: int) -> None:
        """The catalog has this check no more, or refuses to let it go."""
        gone = self.gone_checks.get(check_id)
        if gone is not None and gone.revision == revision:
            del self.gone_checks[check_id]

    # Inside

    def _kept(self, output: str, spec: CheckSpec) -> str:
        if self.settings.discard:
            return ""
        most = self.settings.bytes_max
        if spec.output_bytes_max:
            most = min(most, spec.output_bytes_max)
        return cut(output, most + FRAME_BYTES_MAX)

    def _drop_check(self, check_id: str) -> bool:
        entry = self._checks.pop(check_id, None)
        if entry is None:
            return False
        del self._check_names[catalog_name(check_id)]
        owner = self._services.get(entry.check.service_id)
        (owner.check_ids if owner is not None else self._node_checks).pop(check_id, None)
        self._reapable.pop(check_id, None)
        self.dirty_checks.pop(check_id, None)
        self.gone_checks[check_id] = Gone(self._next(), entry.token)
        return True

    def _touch(self, entry: CheckEntry) -> None:
        entry.revision = self._next()
        entry.held_back_until_s = None
        self.dirty_checks[entry.check.check_id] = None

    def _next(self) -> int:
        self.revision += 1
        return self.revision

    def _tell(self) -> None:
        for changed in list(self._watchers.values()):
            changed()


def _check_name(what: str, name: str, names: Mapping[str, str]) -> None:
    other = names.get(catalog_name(name), name)
    if other != name:
        raise Refused(f'{what} ID "{name}" differs only by case from "{other}", which is here already')


def cut(output: str, bytes_max: int) -> str:
    """Return an output that fits, with a note of what was left out."""
    data = output.encode("utf-8", "replace")
    if len(data) <= bytes_max:
        return output
    kept = data[:bytes_max].decode("utf-8", "ignore")
    return f"{kept} ... (captured {bytes_max} of {len(data)} bytes)"
