"""What a reload may change, and what it cannot. Source: agent specification, section 2 (reloadable keys)."""

import msgspec

from agent.config.options import OPTIONS
from agent.config.runtime import RuntimeConfig


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """`config` is in force from now on; `needs_restart` names options that were changed but keep their old value."""

    config: RuntimeConfig
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


def reloaded(old: RuntimeConfig, new: RuntimeConfig) -> Reloaded:
    """Return `old` with those options of `new` that may change while the program runs."""
    different = [option for option in OPTIONS if old.raw[option.path] != new.raw[option.path]]
    taken = {option.path: new.raw[option.path] for option in different if option.reloadable}
    limits = msgspec.structs.replace(
        old.limits,
        http_connections_per_client_max=new.limits.http_connections_per_client_max,
        rpc_connections_per_client_max=new.limits.rpc_connections_per_client_max,
        rpc_rate_per_s=new.limits.rpc_rate_per_s,
        rpc_burst_max=new.limits.rpc_burst_max,
    )
    telemetry = msgspec.structs.replace(
        old.telemetry,
        allowed=new.telemetry.allowed,
        blocked=new.telemetry.blocked,
        filter_default=new.telemetry.filter_default,
        prometheus_retention_s=new.telemetry.prometheus_retention_s,
    )
    outputs = msgspec.structs.replace(old.local.outputs, discard=new.local.outputs.discard)
    local = msgspec.structs.replace(old.local, definitions=new.local.definitions, outputs=outputs)
    config = msgspec.structs.replace(
        old,
        log_level=new.log_level,
        limits=limits,
        telemetry=telemetry,
        watches=new.watches,
        local=local,
        node_meta=new.node_meta,
        raw={**old.raw, **taken},
    )
    return Reloaded(
        config=config,
        changed=tuple(taken),
        needs_restart=tuple(option.path for option in different if not option.reloadable),
    )
