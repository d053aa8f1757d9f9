"""What an operator does about a server that refuses to start: another one, empty and under a new id, takes its place.

The procedure of `docs/operating/recovery.md`. A server that forgot its votes and what it had acknowledged must never
take part under its old id; one under a new id has promised nothing to anybody.
"""

from structs.cluster import Peer
from tests.sim.checks import Checker
from tests.sim.process import SimServer
from tests.sim.world import Network, World

MEMBERS_COUNT_MIN = 3
"""With fewer members there is no majority without the damaged one."""
NOTICED_S_MAX = 2.0
LOOK_INTERVAL_S = 0.3
NUMBER_FIRST = 100
"""Ids of servers that take another's place are numbered from here on."""
PORT_FIRST = 8400


class Operator:
    """Looks after all servers of a group whose membership nobody else changes."""

    def __init__(self, world: World, checker: Checker, servers: dict[str, SimServer], network: Network) -> None:
        """`servers` is the group by id; whoever is set up later is added to it, and to the network."""
        self._world = world
        self._checker = checker
        self._servers = servers
        self._network = network
        self._rng = world.rng_of("operator")
        self._count = 0
        for server in servers.values():
            server.operator = self

    def permits_damage(self, server: SimServer) -> bool:
        """Whether the group would still have an intact majority: one damaged server at a time, from flip to removal."""
        members = self._members()
        if members is None or len(members) < MEMBERS_COUNT_MIN or server.server_id not in members:
            return False
        damaged = [each for each in self._servers.values() if each.retired or each.faults.damaged]
        return not any(each.server_id in members for each in damaged if each is not server)

    def replace(self, server: SimServer) -> None:
        """`server` has refused to start: set up another, and have the group take it in and that one out."""
        self._world.after(self._rng.uniform(0.0, NOTICED_S_MAX), lambda: self._set_up(server))

    def _set_up(self, old: SimServer) -> None:
        number = NUMBER_FIRST + self._count
        port = PORT_FIRST + self._count
        self._count += 1
        new = old.fresh(Peer(server_id=f"server-{number}", name=f"n{number}", address=f"127.0.0.1:{port}"))
        new.operator = self
        new.network = self._network
        self._servers[new.server_id] = new
        self._network.add(new.server_id, new)
        old.tell(f"{new.server_id} is set up in place of {old.server_id}")
        new.start()
        self._ask(old, new)

    def _ask(self, old: SimServer, new: SimServer) -> None:
        """Ask whoever leads for the next step, until the group has taken both."""
        members = self._members()
        if members is not None and new.server_id in members and old.server_id not in members:
            self._checker.counts["damaged servers replaced"] += 1
            return
        for server in self._leaders():
            assert server.core is not None
            known = {peer.server_id for peer in server.core.configuration()}
            if new.server_id not in known:
                server.change("add", new.peer)
            elif old.server_id in known:
                server.change("rem", old.peer)
        self._world.after(LOOK_INTERVAL_S, lambda: self._ask(old, new))

    def _leaders(self) -> list[SimServer]:
        return [server for server in self._servers.values() if server.core is not None and server.core.is_leader]

    def _members(self) -> set[str] | None:
        """The members as a leader knows them to be decided; None where nobody does at this moment."""
        for server in self._leaders():
            core = server.core
            assert core is not None
            if core.ready and core.configuration_index <= core.commit_index:
                return {peer.server_id for peer in core.configuration()}
        return None
