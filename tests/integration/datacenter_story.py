"""Two datacenters of real processes, whose servers find each other over WAN gossip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from jepsen.cluster import Cluster, Node, ReservedPort
from tests.integration.gossip_story import ALIVE, FAST_WAN, OPTIONS, Statuses, names

SHORT_HOLD = 'performance { rpc_hold_timeout = "2s" }'
"""A datacenter whose leader is dead must not hold a test up for long."""


class Datacenter:
    """One cluster with gossip ports for the WAN. `async with` starts and ends it."""

    def __init__(
        self, folder: Path, name: str, *, servers: int, agents: int = 1, options: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.cluster = Cluster(
            folder / name,
            servers=servers,
            agents=agents,
            options=[*OPTIONS, "-hcl", SHORT_HOLD, "-datacenter", name, *options],
        )
        self._ports = {server.name: ReservedPort(for_datagrams=True) for server in self.cluster.servers}
        for server in self.cluster.servers:
            server.options += ["-serf-wan-port", str(self._ports[server.name].number), "-hcl", FAST_WAN]

    @property
    def servers(self) -> list[Node]:
        return self.cluster.servers

    @property
    def agent(self) -> Node:
        return self.cluster.agents[0]

    def wan_address(self, server: Node) -> str:
        """Where servers of other datacenters find this one."""
        return f"{server.addresses.advertise}:{self._ports[server.name].number}"

    def wan_statuses(self, status: int = ALIVE) -> Statuses:
        """Its servers as WAN gossip names them."""
        return dict.fromkeys((f"{name}.{self.name}" for name in names(self.servers)), status)

    def close(self) -> None:
        self.cluster.close()
        for port in self._ports.values():
            port.release()


@asynccontextmanager
async def datacenters(*made: Datacenter) -> AsyncIterator[None]:
    """All of them running, each with a leader; nobody has joined the WAN by that."""
    try:
        for datacenter in made:
            await datacenter.cluster.open_ports()
            datacenter.cluster.start()
        for datacenter in made:
            await datacenter.cluster.wait_ready()
        yield
    except BaseException as error:
        error.add_note("\n".join(f"=== {datacenter.name}\n{datacenter.cluster.story()}" for datacenter in made))
        raise
    finally:
        for datacenter in made:
            datacenter.close()


def everybody(*made: Datacenter) -> Mapping[str, int]:
    """The WAN with all servers alive."""
    return {name: status for datacenter in made for name, status in datacenter.wan_statuses().items()}
