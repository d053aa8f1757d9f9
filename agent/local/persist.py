"""Services and checks that came by the API, and the states of TTL checks, in files of the data directory.

    services/<sha256 of the id>       {"Token", "Service"}
    checks/<sha256 of the id>         {"Token", "Check", "ChkType"}
    checks/state/<sha256 of the id>   {"CheckID", "Status", "Output", "Expires"}: unix seconds

JSON, as other agents write it: their data directories can be taken over, older ones too, whose files have the MD5 of
the id for a name; such a file is written anew under its new name once. A file that cannot be read is skipped and told
of, never fatal, never removed. Definitions are durable when a call returns; states are not: after a power failure a TTL
check may begin critical, as one does without them. Source: agent specification, section 6.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePath
from typing import Any

import msgspec

from agent.local.definitions import STATUSES, CheckDefinition, service_from_disk, spec_from_disk
from agent.local.fields import DefinitionFields
from base.disk import TEMPORARY_SUFFIX, Disk, RealDisk, write_atomically
from base.durations import format_duration
from base.errors import DiskFailed, InvalidRequest, MeshError
from base.log import get_logger
from structs.catalog import HealthCheck, NodeService
from structs.check_spec import CheckSpec
from structs.json_codec import decode_json, encode_json

SERVICES_FOLDER = "services"
CHECKS_FOLDER = "checks"
STATES_FOLDER = "state"
FILE_BYTES_MAX = 4 << 20
"""One file. Far above what the API takes."""
FILES_MAX = 262_144
"""Files of one folder that are read."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z").match
_MD5 = re.compile(r"[0-9a-f]{32}\Z").match

_log = get_logger("agent")


class StoredService(msgspec.Struct, frozen=True, kw_only=True):
    """A service of the data directory."""

    service: NodeService
    token: str


class StoredState(msgspec.Struct, frozen=True, kw_only=True):
    """How a TTL check stood when somebody last spoke for it, and for how long that still holds."""

    status: str
    output: str
    left_s: float


def file_name(name: str) -> str:
    """Return the name of the file about a service or check of this id."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


class LocalFiles:
    """The files. Methods block for as long as the disk does; all but `load_*` raise DiskFailed."""

    def __init__(
        self,
        folder: PurePath,
        *,
        disk_of: Callable[[], Disk] = RealDisk,
        wall_unix_s: Callable[[], float] = time.time,
    ) -> None:
        """`disk_of`: a disk for one operation. A file that could not be written is written anew from nothing."""
        self._services = folder / SERVICES_FOLDER
        self._checks = folder / CHECKS_FOLDER
        self._states = folder / CHECKS_FOLDER / STATES_FOLDER
        self._disk_of = disk_of
        self._now = wall_unix_s
        self._made: set[PurePath] = set()

    # Definitions

    def load_services(self) -> list[StoredService]:
        """Return all services that can be read, by id."""
        found: dict[str, StoredService] = {}
        for path, row in self._rows(self._services):
            try:
                stored = StoredService(service=service_from_disk(row.get("Service")), token=row.text("Token"))
            except MeshError as error:
                _log.warn("a service in the data directory cannot be used", file=str(path), reason=str(error))
                continue
            if self._moved(path, stored.service.service_id, partial(self.save_service, stored)):
                found[stored.service.service_id] = stored
        return [found[service_id] for service_id in sorted(found)]

    def load_checks(self) -> list[CheckDefinition]:
        """Return all checks that can be read, by id."""
        found: dict[str, CheckDefinition] = {}
        for path, row in self._rows(self._checks):
            try:
                spec = spec_from_disk(row.get("ChkType"), row.get("Check"))
                stored = CheckDefinition(spec=spec, token=row.text("Token"))
            except MeshError as error:
                _log.warn("a check in the data directory cannot be used", file=str(path), reason=str(error))
                continue
            if self._moved(path, spec.check_id, partial(self.save_check, stored)):
                found[spec.check_id] = stored
        return [found[check_id] for check_id in sorted(found)]

    def save_service(self, stored: StoredService) -> None:
        """Keep a service, durably."""
        tree = {"Token": stored.token, "Service": service_tree(stored.service)}
        self._save(self._services, stored.service.service_id, tree)

    def save_check(self, stored: CheckDefinition) -> None:
        """Keep a check, durably."""
        spec = stored.spec
        row = {
            "CheckID": spec.check_id,
            "Name": spec.name,
            "Notes": spec.notes,
            "ServiceID": spec.service_id,
            "Type": spec.kind,
        }
        self._save(self._checks, spec.check_id, {"Token": stored.token, "Check": row, "ChkType": spec_tree(spec)})

    def forget_service(self, service_id: str) -> None:
        """Remove a service durably, if it is there."""
        self._forget(self._services, service_id)

    def forget_check(self, check_id: str) -> None:
        """Remove a check durably, if it is there, and its state."""
        self.forget_definition(check_id)
        self.forget_state(check_id)

    def forget_definition(self, check_id: str) -> None:
        """Remove a check durably, if it is there; its state stays."""
        self._forget(self._checks, check_id)

    # States

    def load_state(self, check_id: str) -> StoredState | None:
        """Return how a TTL check stood, None where that is not known or worth nothing more."""
        path = self._states / file_name(check_id)
        try:
            if not self._disk_of().exists(path):
                path = self._states / hashlib.md5(check_id.encode(), usedforsecurity=False).hexdigest()
                if not self._disk_of().exists(path):
                    return None
            row = DefinitionFields(decode_json(self._disk_of().read(path)), "state")
            expires = row.get("Expires")
            state = StoredState(
                status=row.text("Status"),
                output=row.text("Output"),
                left_s=float(expires) - self._now() if isinstance(expires, int | float) else 0.0,
            )
            named = row.text("CheckID")
        except (MeshError, OverflowError) as error:
            _log.warn("the state of a check in the data directory cannot be used", file=str(path), reason=str(error))
            return None
        is_ours = named == check_id and state.status in STATUSES
        return state if is_ours and state.left_s > 0 else None

    def save_state(self, check: HealthCheck, left_s: float) -> None:
        """Keep how a TTL check stands for as long as that holds; not durable."""
        disk = self._disk_of()
        path = self._in(disk, self._states, check.check_id)
        tree = {
            "CheckID": check.check_id,
            "Output": check.output,
            "Status": check.status,
            "Expires": int(self._now() + left_s),
        }
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        file = disk.open_file(temporary, create=True)
        try:
            file.write(0, encode_json(tree))
        finally:
            file.close()
        disk.replace(temporary, path)

    def forget_state(self, check_id: str) -> None:
        """Remove the state of a check, if it is there; not durable."""
        disk = self._disk_of()
        path = self._states / file_name(check_id)
        if disk.exists(path):
            disk.unlink(path)

    # Inside

    def _in(self, disk: Disk, folder: PurePath, name: str) -> PurePath:
        if folder not in self._made:
            disk.make_folder(folder)
            self._made.add(folder)
        return folder / file_name(name)

    def _save(self, folder: PurePath, name: str, tree: dict[str, Any]) -> None:
        disk = self._disk_of()
        write_atomically(disk, self._in(disk, folder, name), encode_json(tree))

    def _forget(self, folder: PurePath, name: str) -> None:
        disk = self._disk_of()
        path = folder / file_name(name)
        if disk.exists(path):
            disk.unlink(path)
            disk.sync_folder(folder)

    def _rows(self, folder: PurePath) -> Iterator[tuple[PurePath, DefinitionFields]]:
        """Yield the files of a folder that hold a map."""
        try:
            names = self._disk_of().list(folder)
        except DiskFailed as error:
            _log.error("a folder of the data directory cannot be read", reason=str(error))
            return
        for name in names:
            if name.endswith(TEMPORARY_SUFFIX):
                self._remove(folder / name)
        wanted = [*filter(_MD5, names), *filter(_SHA256, names)]
        if len(wanted) > FILES_MAX:
            _log.error("too many files, the rest is not read", folder=str(folder), read=FILES_MAX)
        for name in wanted[:FILES_MAX]:
            path = folder / name
            try:
                data = self._disk_of().read(path)
                if len(data) > FILE_BYTES_MAX:
                    raise InvalidRequest(f"larger than {FILE_BYTES_MAX} bytes")
                row = DefinitionFields(decode_json(data), "file")
            except MeshError as error:
                _log.warn("a file in the data directory cannot be used", file=str(path), reason=str(error))
                continue
            yield path, row

    def _moved(self, path: PurePath, name: str, save: Callable[[], None]) -> bool:
        """Give a file of an older agent its new name; returns whether what it holds counts."""
        if path.name == file_name(name):
            return True
        if _MD5(path.name) is None:
            _log.warn("a file in the data directory is not where its id belongs", file=str(path), id=name)
            return False
        if self._disk_of().exists(path.with_name(file_name(name))):
            self._remove(path)
            return False
        try:
            save()
            self._remove(path)
        except DiskFailed as error:
            _log.warn("a file of an older agent keeps its name", file=str(path), reason=str(error))
        return True

    def _remove(self, path: PurePath) -> None:
        try:
            self._disk_of().unlink(path)
        except DiskFailed as error:
            _log.warn("a file cannot be removed", file=str(path), reason=str(error))


def service_tree(service: NodeService) -> dict[str, Any]:
    """Return a service as definitions write it."""
    proxy = service.proxy
    tree: dict[str, Any] = {
        "Kind": service.kind,
        "ID": service.service_id,
        "Service": service.service,
        "Tags": service.tags,
        "Address": service.address,
        "Meta": service.meta,
        "Port": service.port,
        "EnableTagOverride": service.enable_tag_override,
        "ProxyDestination": service.proxy_destination,
        "Connect": {"Native": service.connect.native},
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
        "TaggedAddresses": None,
        "Proxy": None,
    }
    if service.tagged_addresses is not None:
        tree["TaggedAddresses"] = {
            name: {"Address": address.address, "Port": address.port}
            for name, address in service.tagged_addresses.items()
        }
    if proxy is not None:
        tree["Proxy"] = {
            "DestinationServiceName": proxy.destination_service_name,
            "DestinationServiceID": proxy.destination_service_id,
            "LocalServiceAddress": proxy.local_service_address,
            "LocalServicePort": proxy.local_service_port,
            "Config": proxy.config,
            "Upstreams": [
                {
                    "DestinationType": row.destination_type,
                    "DestinationName": row.destination_name,
                    "Datacenter": row.datacenter,
                    "LocalBindAddress": row.local_bind_address,
                    "LocalBindPort": row.local_bind_port,
                    "Config": row.config,
                }
                for row in proxy.upstreams or ()
            ],
            "Mode": proxy.mode,
            "MeshGateway": proxy.mesh_gateway,
            "Expose": proxy.expose,
            "TransparentProxy": proxy.transparent_proxy,
            "AccessLogs": proxy.access_logs,
            "LocalServiceSocketPath": proxy.local_service_socket_path,
        }
    return tree


def spec_tree(spec: CheckSpec) -> dict[str, Any]:
    """Return how a check is found out, as definitions write it; what is not set is left out."""
    tree: dict[str, Any] = {
        "Status": spec.status,
        "TTL": _duration(spec.ttl_s),
        "Interval": _duration(spec.interval_s),
        "Timeout": _duration(spec.timeout_s),
        "DeregisterCriticalServiceAfter": _duration(spec.deregister_after_s),
        "HTTP": spec.http,
        "Method": spec.method,
        "Header": spec.header,
        "Body": spec.body,
        "DisableRedirects": spec.disable_redirects,
        "TCP": spec.tcp,
        "TCPUseTLS": spec.tcp_use_tls,
        "UDP": spec.udp,
        "GRPC": spec.grpc,
        "GRPCUseTLS": spec.grpc_use_tls,
        "H2PING": spec.h2ping,
        "TLSServerName": spec.tls_server_name,
        "TLSSkipVerify": spec.tls_skip_verify,
        "ScriptArgs": spec.args,
        "DockerContainerID": spec.docker_container_id,
        "Shell": spec.shell,
        "AliasNode": spec.alias_node,
        "AliasService": spec.alias_service,
        "SuccessBeforePassing": spec.success_before_passing,
        "FailuresBeforeWarning": spec.failures_before_warning,
        "FailuresBeforeCritical": spec.failures_before_critical,
        "OutputMaxSize": spec.output_bytes_max,
    }
    tree = {name: value for name, value in tree.items() if value}
    tree["H2PingUseTLS"] = spec.h2ping_use_tls
    return tree


def _duration(seconds: float) -> str:
    return format_duration(seconds) if seconds else ""
