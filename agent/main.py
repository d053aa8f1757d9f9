"""mesh-agent: a client agent. With `-server` it becomes a server, by running the other program in its place."""

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

from agent.agent import Agent, AgentFacts, bind_dns, bind_http, bind_https, self_tags
from agent.client import ClientLink
from agent.config.load import HelpWanted, load
from agent.config.runtime import RuntimeConfig
from agent.coordinates import CoordinateSender
from agent.gossip import lan_pool
from agent.local.wiring import local_services
from agent.membership import GossipMembership
from agent.node_id import read_or_make
from agent.process import main_of
from agent.tls import internal_tls
from agent.wires import Wires
from base.chance import Chance
from base.disk import RealDisk, lock_folder
from base.errors import ConfigInvalid
from base.network import RealNetwork
from base.version import VERSION
from rpc.foreign_pool import ForeignPool
from rpc.pool import RPCPool

USAGE = """Usage: mesh-agent [options]

  Runs a client agent: it answers the HTTP API and asks the servers of its cluster.
  Options and configuration keys are listed in docs/operating/configuration.md; the usual ones are:

    -data-dir=PATH   -node=NAME   -bind=ADDRESS   -client=ADDRESS   -retry-join=ADDRESS
    -http-port=N     -config-file=PATH            -config-dir=PATH  -log-level=LEVEL
    -dns-port=N      -recursor=ADDRESS
"""


class ClientAgent:
    """One client agent process."""

    def __init__(self, config: RuntimeConfig) -> None:
        """Take the data directory and the sockets; raises ConfigInvalid, DiskFailed."""
        self._config = config
        disk = RealDisk()
        self._temporary = None
        if not config.data_dir:
            self._temporary = tempfile.TemporaryDirectory(prefix="mesh-agent-")
        self._folder = Path(config.data_dir or (self._temporary.name if self._temporary else ""))
        disk.make_folder(self._folder)
        self._lock = lock_folder(self._folder)
        self._node_id = read_or_make(disk, self._folder, configured=config.node_id)
        self._tls = internal_tls(config)
        network = RealNetwork()
        chance = Chance.from_system()
        self._pool = RPCPool(network, tls=self._tls)
        self._gossip = lan_pool(
            config,
            tags=self_tags(role="node", node_id=self._node_id, datacenter=config.datacenter),
            folder=self._folder,
            network=network,
            chance=chance,
        )
        self._foreign = ForeignPool(network, tls=self._tls)
        wires = Wires(ours=self._pool, foreign=self._foreign, datacenter=config.datacenter)
        self._link = ClientLink(config, pool=wires, gossip=self._gossip, rng=chance.generator("servers"))
        membership = GossipMembership(
            lan=self._gossip, wan=None, statistics=self._link.statistics, leave=self._gossip.leave
        )
        self._local = local_services(
            config,
            node_id=self._node_id,
            folder=self._folder,
            delegate=self._link.delegate,
            nodes_count=lambda: len(self._gossip.members()),
            chance=chance,
        )
        self._link.subscribe(self._local.sync.server_up)
        self._facts = AgentFacts(config, node_id=self._node_id, membership=membership, local=self._local)
        self._gossip.subscribe_events(self._facts.take_event)
        self._coordinates = CoordinateSender(
            delegate=self._link.delegate,
            source=self._gossip,
            node=config.node_name,
            token=config.acl_token_default.reveal(),
            rng=chance.generator("coordinates"),
        )
        self._agent = Agent(
            config,
            delegate=self._link.delegate,
            facts=self._facts,
            sockets=bind_http(config),
            https_sockets=bind_https(config),
            dns_pairs=bind_dns(config),
            rng=chance.generator("dns"),
        )

    async def run(self, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
        """See Program."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pool.run)
            await nursery.start(self._foreign.run)
            await nursery.start(self._link.run)
            await nursery.start(self._gossip.run)
            await nursery.start(self._local.run)
            await nursery.start(self._agent.run)
            if self._config.gossip.coordinates:
                nursery.start_soon(self._coordinates.run)
            task_status.started(banner("mesh agent", self._config, self._node_id, dns=self._agent.dns_addresses))

    async def leave(self) -> None:
        """See Program."""
        await self._facts.leave()

    async def wait_left(self) -> None:
        """See Program."""
        await self._facts.wait_left()

    def refuse_calls(self) -> None:
        """See Program."""

    def offer_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """See Program."""
        self._facts.offer_reload(reload)

    async def reload(self, config: RuntimeConfig) -> None:
        """See Program."""
        if self._tls is not None:
            self._tls.reload()
        await self._agent.reload(config)


def banner(what: str, config: RuntimeConfig, node_id: str, *, dns: Sequence[str]) -> list[str]:
    """Return what is printed once everything listens; `dns`: on these addresses."""
    http = " ".join(str(address) for address in config.http_listen) or "off"
    return [
        f"==> {what} running!",
        f"           Version: 'v{VERSION}'",
        f"           Node ID: '{node_id}'",
        f"         Node name: '{config.node_name}'",
        f"        Datacenter: '{config.datacenter}'",
        f"            Server: {str(config.server).lower()}",
        f"              HTTP: {http}",
        f"               DNS: {' '.join(dns) or 'off'}",
    ]


async def make(config: RuntimeConfig) -> ClientAgent:
    """Return the agent that the configuration asks for."""
    return ClientAgent(config)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; ends the process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if _wants_server(arguments):
        os.execv(sys.executable, [sys.executable, "-m", "server.main", *arguments])  # noqa: S606  ourselves, without a shell
    sys.exit(main_of("agent", make, USAGE, arguments))


def _wants_server(arguments: list[str]) -> bool:
    try:
        return load(arguments, environment=os.environ, role="agent")[0].server
    except (ConfigInvalid, HelpWanted):
        return False  # said again, and properly, by `main_of`


if __name__ == "__main__":
    main()
