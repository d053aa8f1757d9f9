"""Sans-IO: when a leader may answer reads alone, and when a fresh round has confirmed it.

Every append carries the leader's monotonic time `sent_at_s`; a follower's reply echoes the newest one it has
processed from this leader in this term. An echo says two things:

* at some moment after `sent_at_s` the follower had not moved to a higher term, so no leader of a higher term had been
  elected with its vote by then. If a majority has echoed something sent at or after t, then every later leader is
  elected after t: a read that began before t and finds this leader's state sees all that was acknowledged before it
  began. That is the read-index round of `consistent`, and it uses no clock but the leader's own order of events.
* from the moment it processed the append, the follower grants no vote (and doesn't campaign) for `election_min_s`
  of its own clock. That is the lease of `default`.

The arithmetic of the lease. Let the majority have echoed t. Each of them processed that append at a true time not
before t. A new leader needs a vote of one of them, so it is elected at least `election_min_s`, on *that server's*
clock, after t. Clocks run at rates within 10 % of each other: while the follower's clock advances by E, the leader's
advances by at least 0.9 E. So until t + 0.9 * election_min_s on the leader's clock there is no other leader. The
clock must go on while a machine is suspended (`base.clock.elapsed_s`). A process that is paused between its look at the
lease and its answer does no harm: it reads what was current at that look, when the read had begun already.

A server that restarts forgets its promise and therefore treats its start as if it had heard a leader then. So does one
that was in a term before its bootstrap. A leadership transfer breaks the promise on purpose, so the leader gives its
lease up for the rest of the term before it sends `timeout now`.

Source: Ongaro's thesis, sections 6.4 and 6.4.1.
"""

from collections.abc import Collection

from server.raft.timings import LEASE_FRACTION


class Confirmations:
    """Who has echoed what, for one leader in one term. Times are monotonic seconds of the leader."""

    def __init__(self, *, self_id: str, election_min_s: float) -> None:
        self._self_id = self_id
        self._lease_s = election_min_s * LEASE_FRACTION
        self._echoes: dict[str, float] = {}
        self._others: list[str] = []
        self._needed = 0
        self._majority_s = float("-inf")

    def begin_term(self, voters: Collection[str]) -> None:
        """Forget all echoes: a new term has begun."""
        self._echoes.clear()
        self.set_voters(voters)

    def set_voters(self, voters: Collection[str]) -> None:
        """The configuration in force has changed; `voters` includes this server."""
        self._others = [voter for voter in voters if voter != self._self_id]
        # The leader itself always counts, so a majority of n needs n // 2 of the others.
        self._needed = (len(self._others) + 1) // 2
        self._recount()

    def note(self, server_id: str, echo_s: float) -> None:
        """`server_id` has answered something that was sent at `echo_s`."""
        if echo_s > self._echoes.get(server_id, float("-inf")):
            self._echoes[server_id] = echo_s
            self._recount()

    def echo_of(self, server_id: str) -> float:
        """The newest time that `server_id` echoed in this term, or -inf."""
        return self._echoes.get(server_id, float("-inf"))

    def confirmed_at_s(self, now_s: float) -> float:
        """The newest t such that a majority, this server included, has answered something sent at or after t."""
        return now_s if self._needed == 0 else self._majority_s

    def lease_until_s(self, now_s: float) -> float:
        """The lease is valid while the leader's clock is before this."""
        return self.confirmed_at_s(now_s) + self._lease_s

    def _recount(self) -> None:
        if self._needed == 0:
            return
        newest_first = sorted((self._echoes.get(voter, float("-inf")) for voter in self._others), reverse=True)
        self._majority_s = newest_first[self._needed - 1]
