"""Sans-IO. Definitions -> records of the catalog, and when two such records say the same.

Compared is what this agent decides. Servers of other makes drop what they don't know and turn empty lists into none, so
that an exact comparison would write the same again and again. Source: agent specification, section 5.
"""

from msgspec.structs import replace

from structs.catalog import (
    CheckDefinition,
    CheckStatus,
    ConnectProxy,
    HealthCheck,
    NodeService,
    ServiceConnect,
    ServiceProxy,
)
from structs.check_spec import CheckSpec

_NO_DEFINITION = CheckDefinition()
_NO_CONNECT = ServiceConnect()


def catalog_name(name: str) -> str:
    """Return what the catalog knows a service or check by: ids that differ only by case are one to it."""
    return name.lower() if name.isascii() else "".join(map(str.lower, name))


def health_check(
    spec: CheckSpec, *, node: str, service: NodeService | None, status: str = "", output: str = ""
) -> HealthCheck:
    """Return a check as the catalog has it. `service` is the one that it belongs to, None for a check of the node."""
    return HealthCheck(
        node=node,
        check_id=spec.check_id,
        name=spec.name,
        status=status or spec.status or CheckStatus.CRITICAL.value,
        notes=spec.notes,
        output=output,
        service_id=spec.service_id,
        service_name=service.service if service is not None else "",
        service_tags=service.tags if service is not None else None,
        kind=spec.kind,
    )


def comparable_service(service: NodeService) -> NodeService:
    """Return what two equal services have in common, whoever stored them."""
    return replace(
        service,
        tags=service.tags or None,
        meta=service.meta or None,
        tagged_addresses=service.tagged_addresses or None,
        connect=_comparable_connect(service.connect),
        proxy=_comparable_proxy(service.proxy),
        create_index=0,
        modify_index=0,
    )


def _comparable_connect(connect: ServiceConnect) -> ServiceConnect:
    if connect.proxy is None or connect.proxy == ConnectProxy(config={}, command=[]):
        return connect if connect.native else _NO_CONNECT
    return connect


def _comparable_proxy(proxy: ServiceProxy | None) -> ServiceProxy | None:
    if proxy is None:
        return None
    proxy = replace(
        proxy,
        config=proxy.config or None,
        upstreams=[replace(row, config=row.config or None) for row in proxy.upstreams or ()] or None,
        mesh_gateway=proxy.mesh_gateway or None,
        expose=proxy.expose or None,
        transparent_proxy=proxy.transparent_proxy or None,
        access_logs=proxy.access_logs or None,
    )
    return None if proxy == ServiceProxy() else proxy


def same_service(mine: NodeService, theirs: NodeService) -> bool:
    """Whether the catalog has this service as it is here."""
    return comparable_service(mine) == comparable_service(theirs)


def same_check(mine: HealthCheck, theirs: HealthCheck, *, ignore_output: bool, ignore_tags: bool) -> bool:
    """Whether the catalog has this check as it is here.

    Args: `ignore_output`, while news of the output alone is held back; `ignore_tags`, where the catalog decides the
    tags of the service.
    """
    return (
        mine.status == theirs.status
        and (ignore_output or mine.output == theirs.output)
        and mine.name == theirs.name
        and mine.notes == theirs.notes
        and mine.service_id == theirs.service_id
        and mine.service_name == theirs.service_name
        and (ignore_tags or (mine.service_tags or []) == (theirs.service_tags or []))
        and (mine.kind == theirs.kind or not theirs.kind)
        and mine.definition == theirs.definition
    )
