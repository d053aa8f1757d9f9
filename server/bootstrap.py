"""Sans-IO: how N fresh servers agree, exactly once, on the first configuration.

Theory of operation. Every server that has never been part of a cluster tells the others what it expects (N) and
whom it sees. Its *view* is the sorted list of the N servers it would begin with: all that it sees with the same N,
or those with the lowest N ids where it sees more. A server stands in a view as one line "id address name", since
the first entries of the log, which name all three, must be the same on every server to the last byte.

Who sees somebody's pin that names it takes that for its view, so that a promise is not left alone by latecomers.

1. When every member of my view announces the same view, I *pin* it: a promise, written to disk before it is
   announced, never to begin with another set.
2. When every member of my pin announces the same pin, I bootstrap with it. All members write the same entries.

Why there are never two different first configurations that share a server: bootstrapping needs the pin of every
member, a server has one pin at a time, and it lets go of a pin only when a member of that very pin is already part of
a cluster which this server is not in. Then that member will never bootstrap again, so the pin can never be
completed by anyone who has not completed it already, and whoever has is the cluster that we now join.

A server that is part of a cluster never bootstraps again. One that sees such a server before it has pinned anything
becomes a *joiner*: it waits for the leader to add it.

Source: servers specification, section 3; the pin is ours (the specified system relies on everybody seeing the same).
"""

from collections.abc import Sequence

from base.codec import Record
from structs.cluster import Peer
from structs.members import ServerFacts


def line_of(peer: Peer) -> str:
    """Return how a server stands in a view."""
    return f"{peer.server_id} {peer.address} {peer.name}"


def peer_of(line: str) -> Peer:
    """Return the server that a line of a view names; raises ValueError."""
    server_id, address, name = line.split(" ", 2)
    return Peer(server_id=server_id, name=name, address=address)


def id_of(line: str) -> str:
    """Return the id at the head of a line of a view."""
    return line.partition(" ")[0]


class Seen(Record, frozen=True, kw_only=True):
    """What one other server said of itself, directly, and not long ago."""

    peer: Peer
    expect: int
    bootstrapped: bool
    view: list[str] = []
    pinned: bool = False
    configuration: list[str] = []
    """Ids in its Raft configuration; empty before bootstrap."""


class Pin(Record, frozen=True, kw_only=True):
    """Instruction: write this promise to disk, then call `pin_written`."""

    view: list[str]


class Unpin(Record, frozen=True, kw_only=True):
    """Instruction: remove the promise from disk, then call `pin_removed`."""


class Begin(Record, frozen=True, kw_only=True):
    """Instruction: bootstrap with exactly these servers, then call `begun`."""

    view: list[str]


class Complaint(Record, frozen=True, kw_only=True):
    """Instruction: log this once at error level; the server goes on waiting."""

    text: str


Instruction = Pin | Unpin | Begin | Complaint


def expectation_conflict(expect: int, others: Sequence[ServerFacts]) -> str | None:
    """Return why this server may not promise to begin a cluster, by what the others' tags say; None if it may."""
    for facts in others:
        if facts.bootstrap and expect != 1:
            return (
                f"bootstrap-expect is {expect} here, but {facts.name} ({facts.address}) is in bootstrap mode; "
                "this server will not bootstrap"
            )
        if facts.expect not in (0, expect):
            return _differing(expect, facts.expect, facts.name, facts.address)
    return None


def _differing(expect: int, other: int, name: str, address: str) -> str:
    return (
        f"bootstrap-expect differs: {expect} here, {other} at {name} ({address}); no server will bootstrap until they "
        "agree"
    )


class Bootstrap:
    """The decision of one server. Feed `saw` and `lost`, carry out what `decide` returns, announce the rest."""

    def __init__(self, *, peer: Peer, expect: int, bootstrapped: bool, pin: list[str] | None) -> None:
        """`expect` 0: never bootstrap, only join. `pin` is what an earlier run of this server had promised."""
        self._server_id = peer.server_id
        self._line = line_of(peer)
        self._expect = expect
        self._pin = sorted(pin) if pin is not None else None
        self.bootstrapped = bootstrapped
        self._seen: dict[str, Seen] = {}

    @property
    def view(self) -> list[str]:
        """What to announce: the pin, or the servers to begin with, or [] while too few are seen."""
        if self._pin is not None:
            return self._pin
        if self.bootstrapped or self._expect < 1 or self.joins:
            return []
        promised = [seen.view for seen in self._seen.values() if seen.pinned and self._line in seen.view]
        if promised:
            # Somebody has promised to begin with us: whoever else turns up meanwhile must not keep that from ending.
            return min(sorted(view) for view in promised)
        candidates = [self._line]
        for seen in self._seen.values():
            if seen.expect == self._expect:
                candidates.append(line_of(seen.peer))
            elif seen.expect:
                return []  # the operator has to say which of the two numbers is meant
        if len(candidates) < self._expect:
            return []
        return sorted(candidates)[: self._expect]

    @property
    def pinned(self) -> bool:
        """What to announce: whether the view is a promise."""
        return self._pin is not None

    @property
    def joins(self) -> bool:
        """Whether this server waits to be added to a cluster that exists already."""
        return not self.bootstrapped and self._pin is None and any(s.bootstrapped for s in self._seen.values())

    def saw(self, seen: Seen) -> None:
        """Take what a server said of itself; what another says about it does not count."""
        if seen.peer.server_id != self._server_id:
            self._seen[seen.peer.server_id] = seen

    def lost(self, server_id: str) -> None:
        """A server has not been heard for a while: it is no candidate until it speaks again."""
        self._seen.pop(server_id, None)

    def decide(self) -> Instruction | None:
        """Return the one thing to do now, None to wait. Ask again after each instruction was carried out."""
        if self.bootstrapped:
            return None
        if self._pin is not None:
            return self._decide_pinned(self._pin)
        if self.joins or self._expect < 1:
            return None
        complaint = self._expectations_differ()
        if complaint is not None:
            return complaint
        view = self.view
        if self._line not in view or not self._all_announce(view, pinned=False):
            return None
        return Pin(view=view)

    def pin_written(self, view: list[str]) -> None:
        """The promise is on disk."""
        self._pin = sorted(view)

    def pin_removed(self) -> None:
        """The promise is gone from disk."""
        self._pin = None

    def begun(self) -> None:
        """The first configuration is on disk."""
        self.bootstrapped = True

    def waiting_for(self) -> str:
        """One line for the log: what keeps this server from having a cluster."""
        if self._pin is not None:
            missing = [line for line in self._pin if not self._announces(id_of(line), self._pin, pinned=True)]
            return f"promised to begin with {self._pin}; waiting for {missing}"
        if self.joins:
            return "waiting for the leader of the cluster to add this server"
        if self._expect < 1:
            return "no bootstrap-expect: waiting to join a cluster"
        same = 1 + sum(1 for s in self._seen.values() if s.expect == self._expect)
        return f"{same} of {self._expect} expected servers seen"

    def _decide_pinned(self, pin: list[str]) -> Instruction | None:
        if self._all_announce(pin, pinned=True):
            return Begin(view=pin)
        ids = [id_of(line) for line in pin]
        for server_id in ids:
            seen = self._seen.get(server_id)
            if seen is None or not seen.bootstrapped or not seen.configuration:
                continue
            if self._server_id not in seen.configuration:
                return Unpin()
            if sorted(seen.configuration) == ids:
                # It had everybody's pin, ours among them, so these entries are what it began with too.
                return Begin(view=pin)
        return None

    def _expectations_differ(self) -> Complaint | None:
        for seen in sorted(self._seen.values(), key=lambda s: s.peer.server_id):
            if seen.expect not in (0, self._expect):
                return Complaint(text=_differing(self._expect, seen.expect, seen.peer.name, seen.peer.address))
        return None

    def _all_announce(self, view: list[str], *, pinned: bool) -> bool:
        return all(self._announces(id_of(line), view, pinned=pinned) for line in view)

    def _announces(self, server_id: str, view: list[str], *, pinned: bool) -> bool:
        if server_id == self._server_id:
            return self._pin == view or not pinned
        seen = self._seen.get(server_id)
        return seen is not None and sorted(seen.view) == view and (seen.pinned or not pinned)
