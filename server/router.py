"""Sans-IO: which server of another datacenter to ask, and how far the datacenters are.

What is known comes from the WAN pool of gossip: servers that are alive are asked, the first of a shuffled list until
it fails, then it goes to the end. A datacenter whose servers are all gone keeps its name in the list of datacenters,
since it may come back, but there is no path to it.

Source: servers specification, sections 7 and 11; wire format, section 9.5.
"""

import random
from collections.abc import Mapping, Sequence
from statistics import median

from structs.cluster import Member
from structs.coordinate import Coordinate, DatacenterMap, NodeCoordinate, distance_s
from structs.members import callable_server

DATACENTERS_MAX = 1_000
SERVERS_MAX = 64
"""Servers of one datacenter that are remembered: gossip that is wrong must not fill memory."""
UNKNOWN_S = float("inf")


class Router:
    """The datacenters that WAN gossip knows of; `own` is always one of them."""

    def __init__(self, own: str, rng: random.Random) -> None:
        self._own = own
        self._rng = rng
        self._servers: dict[str, list[Member]] = {own: []}

    def update(self, members: Sequence[Member]) -> None:
        """Take everybody in the WAN pool; those that stay keep their places."""
        alive: dict[str, dict[str, Member]] = {}
        for member in members:
            facts = callable_server(member)
            if facts is not None:
                alive.setdefault(facts.datacenter, {})[member.name] = member
        for datacenter in alive:
            if datacenter and len(self._servers) < DATACENTERS_MAX:
                self._servers.setdefault(datacenter, [])
        for datacenter, known in self._servers.items():
            now = alive.get(datacenter, {})
            kept = [now[member.name] for member in known if member.name in now]
            names = {member.name for member in kept}
            for name, member in now.items():
                if name not in names and len(kept) < SERVERS_MAX:
                    kept.insert(self._rng.randrange(len(kept) + 1), member)
            self._servers[datacenter] = kept

    def pick(self, datacenter: str) -> Member | None:
        """Return the server of `datacenter` to ask now, None if there is no path."""
        servers = self._servers.get(datacenter)
        return servers[0] if servers else None

    def failed(self, datacenter: str, name: str) -> None:
        """The server called `name` did not answer: the next one gets its turn."""
        servers = self._servers.get(datacenter)
        if servers and servers[0].name == name:
            servers.append(servers.pop(0))

    def servers_count(self, datacenter: str) -> int:
        """How many servers of `datacenter` are alive."""
        return len(self._servers.get(datacenter, ()))

    def datacenters(self, own: Coordinate | None, others: Mapping[str, Coordinate]) -> list[str]:
        """Return all names: ours first, then by the median round trip to their servers, unknown ones last, by name.

        `own` is our position in the WAN pool, `others` those of its members by name.
        """
        return sorted(self._servers, key=lambda name: (name != self._own, self._distance_s(name, own, others), name))

    def _distance_s(self, datacenter: str, own: Coordinate | None, others: Mapping[str, Coordinate]) -> float:
        if own is None:
            return UNKNOWN_S
        known = [others[member.name] for member in self._servers[datacenter] if member.name in others]
        return median(distance_s(own, each) for each in known) if known else UNKNOWN_S

    def maps(self, coordinates: Mapping[str, Coordinate]) -> list[DatacenterMap]:
        """Return the positions of all servers by datacenter, names without the datacenter."""
        return [
            DatacenterMap(
                datacenter=datacenter,
                coordinates=[
                    NodeCoordinate(
                        node=member.name.removesuffix(f".{datacenter}"), coordinate=coordinates.get(member.name)
                    )
                    for member in sorted(servers, key=lambda member: member.name)
                    if member.name in coordinates
                ],
            )
            for datacenter, servers in sorted(self._servers.items())
        ]
