"""Sans-IO: which server a client agent asks.

The list is what gossip says: the servers of the own datacenter that are alive. It is shuffled, so that agents spread
over the servers; the first is asked until it fails, then it goes to the end. Now and then all is shuffled again, so
that a new server gets its share of agents: at intervals that grow with the cluster, for the sake of the servers, who
see that many agents dial. What only the leader can answer is sent straight to the leader while one is known: one hop
less, and the leader has to do the work anyway.

Source: RPC wire format, section 8; servers specification, section 7.
"""

import random

SERVERS_MAX = 64
"""More servers than any cluster has; wrong gossip must neither fill memory nor drive out those that are known."""
REBALANCE_S_MIN = 120.0
REBALANCE_JITTER_S = 60.0
DIALS_PER_S = 64.0
"""New connections a second that a rebalance of the whole cluster may cost each server."""


class ServerList:
    """The known servers of one datacenter."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._addresses: list[str] = []
        self._leader = ""
        self.heard = False
        """Whether there ever was a server."""

    def __len__(self) -> int:
        """Return how many servers are known."""
        return len(self._addresses)

    @property
    def addresses(self) -> list[str]:
        """All known servers, the one that is asked first."""
        return list(self._addresses)

    @property
    def leader(self) -> str:
        """The leader's address as last heard, "" where unknown or where asking it failed."""
        return self._leader

    def pick(self, *, leader_wanted: bool) -> str | None:
        """Return the address to ask now, None if no server is known."""
        if leader_wanted and self._leader:
            return self._leader
        return self._addresses[0] if self._addresses else None

    def failed(self, address: str) -> None:
        """A call to `address` failed in a way that another server may cure."""
        if address == self._leader:
            self._leader = ""
        if self._addresses and self._addresses[0] == address:
            self._addresses.append(self._addresses.pop(0))

    def update(self, addresses: list[str]) -> None:
        """Take the servers that are alive now; those that stay keep their order, new ones come in at random places."""
        known = dict.fromkeys(addresses)
        self._addresses = [address for address in self._addresses if address in known]
        for address in known:
            if address not in self._addresses and len(self._addresses) < SERVERS_MAX:
                self._addresses.insert(self._rng.randrange(len(self._addresses) + 1), address)
        if self._leader not in self._addresses:
            self._leader = ""
        self.heard = self.heard or bool(known)

    def set_leader(self, address: str) -> None:
        """Somebody said who leads; servers that gossip does not know are not believed to."""
        if not address or address in self._addresses:
            self._leader = address

    def shuffle(self) -> None:
        """Put the servers into another order."""
        self._rng.shuffle(self._addresses)

    def rebalance_pause_s(self, members_count: int) -> float:
        """How long until the next shuffle, in a cluster of so many members."""
        least_s = max(REBALANCE_S_MIN, members_count / (DIALS_PER_S * max(1, len(self._addresses))))
        return least_s + self._rng.random() * REBALANCE_JITTER_S
