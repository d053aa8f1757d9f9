"""The agent itself: its services and checks, maintenance, and the members it knows."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mesh.call import Call, Noun, World, method, nothing, plain_call, write_call
from mesh.catalog import selection
from mesh.query import DEFAULT_READ, WAIT_S_DEFAULT, Read
from mesh.reply import Reply
from mesh.rows import ListOf, Shape, checked, text_map
from mesh.shapes import CHECK, CHECK_SPEC, SERVICE
from structs.catalog import CheckStatus, HealthCheck, NodeService
from structs.check_spec import CheckSpec
from structs.cluster import Member, MemberStatus

HEALTH_STATUSES = (429, 503)
"""Of answers about services that are not well; 404 is one about a service that is not there."""


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A service of the agent with all its checks. `status`: maintenance, critical, warning or passing."""

    status: str
    service: NodeService | None = None
    checks: list[HealthCheck] = []


class ServiceContent(msgspec.Struct, frozen=True, kw_only=True):
    """A service of the agent; `content_hash` is for a read that waits until it is another."""

    service: NodeService
    content_hash: str


SERVICE_HEALTH = Shape(
    ServiceHealth, AggregatedStatus="status", Service=("service", SERVICE), Checks=("checks", ListOf(CHECK))
)


class Agent(Noun[World]):
    """`client.agent`."""

    @method
    def self(self) -> Call[dict[str, Any]]:
        """Return what the agent says of itself: Config, DebugConfig, Member, Stats, ..."""
        return plain_call("/v1/agent/self", dict)

    @method
    def host(self) -> Call[dict[str, Any]]:
        """Return what the agent says of its host."""
        return plain_call("/v1/agent/host", dict)

    @method
    def metrics(self) -> Call[dict[str, Any]]:
        """Return the agent's metrics of the last complete interval."""
        return plain_call("/v1/agent/metrics", dict)

    @method
    def metrics_prometheus(self) -> Call[str]:
        """Return the agent's metrics in the text format of Prometheus."""
        return Call(path="/v1/agent/metrics", parameters={"format": "prometheus"}, parse=_text)

    @method
    def members(self, *, wan: bool = False) -> Call[list[Member]]:
        """Return the members that this agent knows."""
        return plain_call("/v1/agent/members", _members, {"wan": "1"} if wan else {"segment": "_all"})

    @method
    def tasks(self) -> Call[str]:
        """Return the tree of the agent's tasks; raises NotFound unless the agent has `enable_debug`."""
        return Call(path="/debug/tasks", parse=_text)

    @method
    def join(self, address: str, *, wan: bool = False) -> Call[None]:
        """Make the agent join a cluster through a member's gossip address; `wan`: the pool of all servers."""
        return write_call(f"/v1/agent/join/{address}", nothing, {"wan": "1"} if wan else {})

    @method
    def leave(self) -> Call[None]:
        """Make the agent leave its cluster; its process ends soon after."""
        return write_call("/v1/agent/leave", nothing)

    @method
    def force_leave(self, name: str, *, prune: bool = False) -> Call[None]:
        """Turn a failed member into one that left; with `prune` it is forgotten at once."""
        return write_call(f"/v1/agent/force-leave/{name}", nothing, {"prune": "1"} if prune else {})

    @method
    def reload(self) -> Call[None]:
        """Make the agent read its configuration again."""
        return write_call("/v1/agent/reload", nothing)

    @method
    def services(self, *, where: str = "") -> Call[Mapping[str, NodeService]]:
        """Return the services of this agent by id."""
        return plain_call("/v1/agent/services", SERVICE.mapped, selection(where=where))

    @method
    def service(self, service_id: str, *, content_hash: str = "", wait_s: float = 0.0) -> Call[ServiceContent]:
        """Return one service; with `content_hash` wait until it is another, at most `wait_s`. Raises NotFound."""
        read = Read(index=1, wait_s=wait_s) if content_hash else DEFAULT_READ
        parameters = {"hash": content_hash, "wait": f"{round((wait_s or WAIT_S_DEFAULT) * 1000)}ms"}
        return Call(
            path=f"/v1/agent/service/{service_id}",
            parse=_content,
            parameters=parameters if content_hash else {},
            blocking_s=read.blocking_s(),
        )

    @method
    def checks(self, *, where: str = "") -> Call[Mapping[str, HealthCheck]]:
        """Return the checks of this agent by id."""
        return plain_call("/v1/agent/checks", CHECK.mapped, selection(where=where))

    @method
    def health_by_id(self, service_id: str) -> Call[ServiceHealth]:
        """Return how one service of this agent is; `service` None: there is none."""
        return Call(
            path=f"/v1/agent/health/service/id/{service_id}",
            parse=lambda reply: SERVICE_HEALTH.read(reply.json()),
            accept=(404, *HEALTH_STATUSES),
        )

    @method
    def health_by_name(self, name: str) -> Call[Sequence[ServiceHealth]]:
        """Return how each instance of a service is that this agent has."""
        return Call(
            path=f"/v1/agent/health/service/name/{name}",
            parse=lambda reply: SERVICE_HEALTH.rows(reply.json()),
            accept=(404, *HEALTH_STATUSES),
        )

    @method
    def register(
        self, service: NodeService, checks: Sequence[CheckSpec] = (), *, replace_existing_checks: bool = False
    ) -> Call[None]:
        """Give the agent a service with checks, or replace the one with its id.

        A check without an id gets one of the service's. Checks that the service had before and that are not given
        stay, unless `replace_existing_checks`.
        """
        row = {("Name" if name == "Service" else name): value for name, value in SERVICE.write(service).items()}
        if checks:
            row["Checks"] = [{name: text for name, text in CHECK_SPEC.write(check).items() if text} for check in checks]
        return Agent.register_as_written(row, replace_existing_checks=replace_existing_checks)

    @method
    def register_as_written(
        self, definition: Mapping[str, Any], *, replace_existing_checks: bool = False
    ) -> Call[None]:
        """Give the agent a service as the API names its parts."""
        parameters = {"replace-existing-checks": "true"} if replace_existing_checks else {}
        # The same registration once more changes nothing, whatever became of the first.
        return write_call("/v1/agent/service/register", nothing, parameters, value=dict(definition), is_read=True)

    @method
    def deregister(self, service_id: str) -> Call[None]:
        """Take a service and its checks away from the agent; raises NotFound."""
        return write_call(f"/v1/agent/service/deregister/{service_id}", nothing)

    @method
    def register_check(self, check: CheckSpec) -> Call[None]:
        """Give the agent a check of its node, or of its service `check.service_id`."""
        row = {("ID" if name == "CheckID" else name): value for name, value in CHECK_SPEC.write(check).items()}
        return write_call("/v1/agent/check/register", nothing, value=row, is_read=True)

    @method
    def deregister_check(self, check_id: str) -> Call[None]:
        """Take a check away from the agent; raises NotFound."""
        return write_call(f"/v1/agent/check/deregister/{check_id}", nothing)

    @method
    def update_ttl(self, check_id: str, status: CheckStatus | str, output: str = "") -> Call[None]:
        """Say how a TTL check stands, and begin its time anew."""
        row = {"Status": str(status), "Output": output}
        return write_call(f"/v1/agent/check/update/{check_id}", nothing, value=row, is_read=True)

    @method
    def maintenance(self, *, enable: bool, reason: str = "") -> Call[None]:
        """Take the whole node out of service, or back."""
        return write_call("/v1/agent/maintenance", nothing, _maintenance(enable, reason))

    @method
    def service_maintenance(self, service_id: str, *, enable: bool, reason: str = "") -> Call[None]:
        """Take one service out of service, or back; raises NotFound."""
        return write_call(f"/v1/agent/service/maintenance/{service_id}", nothing, _maintenance(enable, reason))


def _maintenance(enable: bool, reason: str) -> Mapping[str, str]:
    parameters = {"enable": "true" if enable else "false"}
    return {**parameters, "reason": reason} if reason else parameters


def _text(reply: Reply) -> str:
    return reply.body.decode("utf-8", "replace")


def _content(reply: Reply) -> ServiceContent:
    row = text_map(reply.json())
    known = reply.headers.get("x-consul-contenthash") or str(row.get("ContentHash") or "")
    return ServiceContent(service=SERVICE.read(row), content_hash=known)


def _members(value: Any) -> list[Member]:
    return [
        Member(
            name=row["Name"],
            address=row["Addr"],
            port=row["Port"],
            tags=row.get("Tags") or {},
            status=MemberStatus(row["Status"]) if row["Status"] in set(MemberStatus) else MemberStatus.NONE,
            versions=(
                row.get("ProtocolMin", 0),
                row.get("ProtocolMax", 0),
                row.get("ProtocolCur", 0),
                row.get("DelegateMin", 0),
                row.get("DelegateMax", 0),
                row.get("DelegateCur", 0),
            ),
        )
        for row in checked(value, list)
    ]
