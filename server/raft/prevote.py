"""Sans-IO: may an election start, and may a vote be granted?

A server that was cut off for a while would come back with a higher term and unseat a healthy leader. So before it
raises its term it asks everybody whether they *would* vote for it (a pre-vote changes nothing anywhere), and nobody
who has heard from a live leader within the minimum election timeout says yes, or grants a real vote. A leadership
transfer is the exception: its vote requests say so, for the old leader has already given up its lease.

Source: Ongaro's thesis, section 9.6; hazard H7.
"""

from collections.abc import Collection


def log_is_current(*, last_index: int, last_term: int, own_last_index: int, own_last_term: int) -> bool:
    """Is a log that ends in (last_term, last_index) at least as up to date as our own? (Raft paper, 5.4.1.)"""
    return (last_term, last_index) >= (own_last_term, own_last_index)


def may_grant(*, term_proposed: int, own_term: int, log_current: bool, leader_live: bool) -> bool:
    """Would this server vote for a candidate in `term_proposed`?"""
    return term_proposed > own_term and log_current and not leader_live


class PreVote:
    """One round of asking. It ends when it is won, when a leader is heard, or when the next round begins."""

    def __init__(self) -> None:
        self.term_proposed = 0
        self._granted: set[str] = set()

    @property
    def running(self) -> bool:
        """Is an answer still of interest?"""
        return self.term_proposed != 0

    def begin(self, *, term_proposed: int, self_id: str) -> None:
        """Start a round for an election in `term_proposed`; this server would vote for itself."""
        self.term_proposed = term_proposed
        self._granted = {self_id}

    def grant(self, server_id: str, term_proposed: int) -> None:
        """`server_id` would vote for us in `term_proposed`; answers to other rounds are ignored."""
        if self.running and term_proposed == self.term_proposed:
            self._granted.add(server_id)

    def won(self, voters: Collection[str]) -> bool:
        """Has a majority of `voters` said yes?"""
        return self.running and sum(voter in self._granted for voter in voters) * 2 > len(voters)

    def end(self) -> None:
        """Forget the round."""
        self.term_proposed = 0
        self._granted = set()
