"""Sans-IO: which server a client agent asks.

The list begins with the join addresses and is replaced by what servers say of themselves. It is shuffled, so that
agents spread over the servers; the first is asked until it fails, then it goes to the end. What only the leader can
answer is sent straight to the leader while one is known: one hop less, and the leader has to do the work anyway.
"""

import random

SERVERS_MAX = 64
"""More servers than any cluster has; a wrong answer must not fill memory."""
REBALANCE_S = 150.0
"""The list is shuffled again about so often, so that a new server gets its share of agents."""


class ServerList:
    """The known servers of one datacenter."""

    def __init__(self, join: list[str], rng: random.Random) -> None:
        self._rng = rng
        self._join = list(dict.fromkeys(join))
        self._addresses = list(self._join)
        rng.shuffle(self._addresses)
        self._leader = ""
        self._rebalance_at_s = 0.0
        self._failed_count = 0
        self.heard = False
        """Whether any server ever answered; until then the addresses are only a hope."""

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
            self._failed_count += 1
            if self._failed_count >= len(self._addresses):
                # Whoever named these may have known few of the servers: the operator's addresses count again.
                self._addresses += [each for each in self._join if each not in self._addresses]

    def update(self, addresses: list[str], leader: str, now_s: float) -> None:
        """Take what a server said about all servers; keeps the order of those that stay."""
        known = list(dict.fromkeys(addresses))[:SERVERS_MAX] or list(self._join)
        self._leader = leader
        self._failed_count = 0
        self.heard = True
        if now_s >= self._rebalance_at_s:
            self._rebalance_at_s = now_s + REBALANCE_S * (1 + self._rng.random() / 5)
            self._addresses = known
            self._rng.shuffle(self._addresses)
            return
        kept = [address for address in self._addresses if address in known]
        fresh = [address for address in known if address not in kept]
        self._rng.shuffle(fresh)
        self._addresses = kept + fresh
