"""Sans-IO: what only a leader keeps: where its followers are, what it offers them, a transfer under way."""

from server.raft.pysyncobj_seams import Protocol


class Leading:
    """One leadership's bookkeeping; `begin` empties it for a new term."""

    def __init__(self) -> None:
        self.term = 0
        """The term we lead or led last."""
        self.heartbeat_due_s = 0.0
        self.sent_commit_index = 0
        self.commit_due_s: float | None = None
        self.confirm_wanted = False
        self.transfer_target: str | None = None
        self.transfer_deadline_s = 0.0
        self.transfer_sent = False
        self._offered_at_s: dict[str, float] = {}
        self._reset_at_s: dict[str, float] = {}

    def begin(self, term: int) -> None:
        """A new leadership."""
        self.__init__()  # type: ignore[misc]
        self.term = term

    def begin_transfer(self, server_id: str, deadline_s: float) -> None:
        """Hand over to `server_id` as soon as it has our whole log, or give up at `deadline_s`."""
        self.transfer_target = server_id
        self.transfer_deadline_s = deadline_s
        self.transfer_sent = False

    def may_offer(self, server_id: str, now_s: float, interval_s: float) -> bool:
        """At most one offer of a snapshot in `interval_s`; notes that one is made now."""
        if now_s < self._offered_at_s.get(server_id, float("-inf")) + interval_s:
            return False
        self._offered_at_s[server_id] = now_s
        return True

    def accept_reset(self, server_id: str, echo_s: float, now_s: float) -> bool:
        """Should the follower's wish to go on elsewhere be granted?

        Messages that were under way when it first said so all ask for the same; granting each would send everything
        again every time. An answer to something older than the last reset is one of those.
        """
        if echo_s < self._reset_at_s.get(server_id, float("-inf")):
            return False
        self._reset_at_s[server_id] = now_s
        return True


def granted_next_index(library: Protocol, server_id: str, wanted_index: int, last_index: int) -> int:
    """Where to go on with a follower that asked for `wanted_index`.

    Never at or below what it acknowledged in this term: it would cut what we count as acknowledged (hazard H4, the
    leader's half: the follower may have restarted and forgotten what it had verified). Never behind our own end: the
    library would then name an entry it doesn't have, and ask for the same again for ever.
    """
    return min(max(wanted_index, library.match_index(server_id) + 1), last_index + 1)
