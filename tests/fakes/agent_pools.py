"""Pools of an agent or a server on the loopback, made from a configuration as the programs do it."""

from pathlib import Path

from msgspec.structs import replace

from agent.agent import self_tags
from agent.config.load import Role, load
from agent.config.runtime import HostPort, RuntimeConfig
from agent.gossip import Pool, lan_pool, wan_pool
from base.chance import Chance
from base.network import RealNetwork
from structs.cluster import MemberStatus

LEAVE_PROPAGATE_S = 0.05
QUICK = (
    'gossip_lan { probe_interval = "100ms" probe_timeout = "50ms" gossip_interval = "20ms" suspicion_mult = 2 } '
    'gossip_wan { probe_interval = "100ms" probe_timeout = "50ms" gossip_interval = "20ms" suspicion_mult = 2 }'
)


def configured(name: str, *words: str, role: Role = "agent") -> RuntimeConfig:
    """Return the configuration of a node on the loopback, with a gossip port that is any free one."""
    argv = ["-data-dir=/nowhere", "-bind=127.0.0.1", f"-node={name}", "-hcl", QUICK, *words]
    config, _ = load(argv, environment={}, role=role)
    anywhere = HostPort("127.0.0.1", 0)
    pools = config.gossip
    wan = replace(pools.wan, listen=anywhere) if pools.wan is not None else None
    return replace(config, gossip=replace(pools, lan=replace(pools.lan, listen=anywhere), wan=wan))


def tags_of(config: RuntimeConfig, **more: str) -> dict[str, str]:
    """Return what the node tells of itself; its id is made of its name."""
    role = "consul" if config.server else "node"
    tags = self_tags(role=role, node_id=f"id-{config.node_name}", datacenter=config.datacenter)
    return {**tags, **({"port": "8300"} if config.server else {}), **more}


def near(config: RuntimeConfig, *, folder: Path | None = None, **tags: str) -> Pool:
    """Return the pool of the datacenter."""
    return _hurried(
        lan_pool(config, tags=tags_of(config, **tags), folder=folder, network=RealNetwork(), chance=Chance(1))
    )


def wide(config: RuntimeConfig, *, folder: Path | None = None, **tags: str) -> Pool:
    """Return the pool of all servers."""
    pool = wan_pool(config, tags=tags_of(config, **tags), folder=folder, network=RealNetwork(), chance=Chance(1))
    assert pool is not None
    return _hurried(pool)


def _hurried(pool: Pool) -> Pool:
    """Let its farewell be over soon."""
    pool.gossip._leave_propagate_s = LEAVE_PROPAGATE_S
    return pool


def discard(pool: Pool) -> None:
    """Give back the sockets of a pool that never ran."""
    pool._udp.close()
    pool._tcp.close()


def address(pool: Pool) -> str:
    """Where others find it."""
    mine = pool.self_member()
    return f"{mine.address}:{mine.port}"


def statuses(pool: Pool) -> dict[str, MemberStatus]:
    """Name -> status as this pool has it."""
    return {member.name: member.status for member in pool.members()}
