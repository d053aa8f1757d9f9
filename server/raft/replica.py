"""Sans-IO: one replica's state, what the library says through it, and the facts that others may ask for.

The lowest of three layers: `Replica` holds and tells, `Receiver` (`receiving.py`) takes messages, `Core` (`core.py`)
leads, campaigns, snapshots and is what everybody else sees.
"""

from typing import Any

from base.errors import InvariantBroken
from server.raft import envelope as wire
from server.raft import membership
from server.raft.envelope import Message
from server.raft.interfaces import (
    Applier,
    Chance,
    CoreStatistics,
    FetchSnapshot,
    Log,
    OverrideFacts,
    SnapshotFacts,
)
from server.raft.leading import Leading
from server.raft.lease import Confirmations
from server.raft.prevote import PreVote
from server.raft.pysyncobj_seams import CANDIDATE, FOLLOWER, LEADER, Protocol
from server.raft.settling import Settling
from server.raft.starting import first_configuration, reconcile_log
from server.raft.timings import Guards, Timings
from structs.cluster import Peer

_STATE_NAMES = {FOLLOWER: "Follower", CANDIDATE: "Candidate", LEADER: "Leader"}
NEVER_S = float("-inf")


class Replica:
    """See the module's docstring. All times are monotonic seconds of this server, read by the caller."""

    def __init__(
        self,
        *,
        self_peer: Peer,
        journal: Log,
        snapshot: SnapshotFacts | None,
        override: OverrideFacts | None,
        applier: Applier,
        rng: Chance,
        now: float,
        timings: Timings,
        fresh_bootstrap: bool = False,
        guards: Guards | None = None,
    ) -> None:
        """Start from what is on disk; the state machine has loaded `snapshot` already.

        `fresh_bootstrap` says that the first configuration was written just now, so no leader can exist and nothing
        can have been promised to one. Raises DataDamaged where log and snapshot don't fit.
        """
        self._self_id = self_peer.server_id
        self._log = journal
        self._applier = applier
        self._rng = rng
        self._timings = timings
        self._guards = guards or Guards()
        self._now = now
        self._snapshot = snapshot
        reconcile_log(journal, snapshot, keep_tail=self._guards.h3_keep_tail)
        self._configurations = first_configuration(journal, snapshot, override)
        self._override = override
        Protocol.at(now)
        self._library = Protocol(
            self_id=self._self_id,
            log=journal,
            timings=timings,
            draw=rng.random,
            on_send=self._on_library_send,
            on_state_changed=self._on_state_changed,
            on_apply=self._apply,
        )
        self._settling = Settling(journal, applier)
        applied_index = snapshot.index if snapshot is not None else membership.BASE_INDEX
        committed = min(max(journal.getRaftCommitIndex(), applied_index), journal.last_index)
        self._library.set_positions(applied_index=applied_index, commit_index=committed)
        self._confirmations = Confirmations(self_id=self._self_id, election_min_s=timings.election_min_s)
        self._prevote = PreVote()
        self._leading = Leading()
        self._links: dict[str, int] = {}
        self._closed: set[str] = set()
        self._pending: list[tuple[bytes, Any]] = []
        self._pending_changes: list[tuple[bytes, Any]] = []
        self._transfer_term = 0
        self._entries_out: list[tuple[str, Message]] = []
        self._promises_out: list[tuple[str, Message]] = []
        self._fetch: FetchSnapshot | None = None
        self._fetching = False
        self._votes_from: set[str] = set()
        self._followed_term = 0
        self._verified_index = 0
        self._echo_s = 0.0
        self._reply_index = 0
        self._more_to_send = False
        self._campaign_flags = 0
        self._peers_changed = False
        self._reported: tuple[bool, int, str | None] = (False, self._library.term, None)
        self._heard_at_s = self._count_start_as_hearing(fresh_bootstrap)
        self.counts = dict.fromkeys(("elections", "prevotes", "votes_ignored", "stale", "offers", "steps_down"), 0)
        self._use_configuration()
        self._peers_changed = False

    def _count_start_as_hearing(self, fresh_bootstrap: bool) -> float:
        """Return when a leader was heard last, as far as votes and campaigns are concerned.

        What this server promised to a leader before it stopped is forgotten, so its start counts as hearing one (H7,
        H8); not where no leader can have been, or none but itself.
        """
        if fresh_bootstrap or set(self._configurations.latest.peers) == {self._self_id}:
            self._library.set_election_deadline(self._now + self._timings.heartbeat_s * self._rng.random())
            return NEVER_S
        return self._now

    # --- what the library does

    def _on_library_send(self, server_id: str, message: dict[str, Any]) -> None:
        kind = message["type"]
        library = self._library
        if server_id not in self._links:
            return
        if kind == "append_entries":
            library.disconnect(server_id)  # one message a tick; see `_send_appends`
            head = [library.term, self._now, 0.0, 0]
            if "serialized" in message:
                self._offer(server_id, head, message["commit_index"])
            else:
                body = [message["prevLogIdx"], message["prevLogTerm"], message["commit_index"], message["entries"]]
                self._entries_out.append((server_id, [wire.APPEND, *head, *body]))
        elif kind == "next_node_idx":
            next_index, reset, success = message["next_node_idx"], message["reset"], message["success"]
            next_index = self._reply_index or next_index
            self._promise(server_id, wire.APPEND_REPLY, next_index, reset, success, echo_s=self._echo_s)
        elif kind == "request_vote":
            body = [message["last_log_index"], message["last_log_term"]]
            self._promise(server_id, wire.VOTE_REQUEST, *body, flags=self._campaign_flags)
        elif kind == "response_vote":
            self._promise(server_id, wire.VOTE_REPLY)
        elif kind == "timeout_now":
            self._promise(server_id, wire.TIMEOUT_NOW)
        else:
            raise InvariantBroken(f"the library sends what it never should: {kind}")

    def _offer(self, server_id: str, head: list[Any], commit_index: int) -> None:
        """The follower needs entries that our log no longer has: tell it of our newest snapshot."""
        if self._leading.may_offer(server_id, self._now, self._timings.heartbeat_s * 0.5):
            index, term = (self._snapshot.index, self._snapshot.term) if self._snapshot is not None else (0, 0)
            self.counts["offers"] += 1
            self._entries_out.append((server_id, [wire.OFFER, *head, index, term, commit_index]))

    def _promise(self, server_id: str, kind: int, *body: Any, echo_s: float = 0.0, flags: int = 0) -> None:
        if server_id in self._links:
            self._promises_out.append((server_id, [kind, self._library.term, self._now, echo_s, flags, *body]))

    def _on_state_changed(self, old: int, new: int) -> None:
        if old == LEADER:
            # The deadline is from the time before the leadership: don't campaign at once.
            timings = self._timings
            patience_s = timings.election_min_s + (timings.election_max_s - timings.election_min_s) * self._rng.random()
            self._library.set_election_deadline(self._now + patience_s)

    def _apply(self, applied_index: int, commit_index: int) -> int:
        return self._settling.apply(applied_index, commit_index)

    def _use_configuration(self) -> None:
        """The configuration in force has changed: tell everyone who counts votes."""
        peers = self._configurations.latest.peers
        self._library.set_others(server_id for server_id in peers if server_id != self._self_id)
        self._confirmations.set_voters(peers)
        self._peers_changed = True

    def _is_active(self) -> bool:
        """May this server campaign? Only once a configuration in its log names it (H15).

        Decided or not: the newest one counts as soon as it is in the log (Ongaro's thesis, 4.1). A joiner may hold the
        longest log, for which the others refuse each other; if it waited to be decided, nobody would ever lead again.
        """
        if not self._guards.h15_passive:
            return True
        configurations = self._configurations
        named = configurations.latest, configurations.committed(self._library.commit_index)
        return any(self._self_id in configuration.peers for configuration in named)

    def _leader_is_live(self) -> bool:
        """Has a majority's leader been heard within the minimum election timeout (here or, if we lead, by us)?"""
        if self._library.state == LEADER:
            if self._leading.transfer_target is not None:
                return False
            heard_at_s = self._confirmations.confirmed_at_s(self._now)
        else:
            heard_at_s = self._heard_at_s
        return self._now < heard_at_s + self._timings.election_min_s

    def _enter(self, now: float) -> None:
        if now > self._now:
            self._now = now
        Protocol.at(self._now)

    def _notice_leadership(self) -> None:
        """Begin a leadership's bookkeeping as soon as the library has one."""
        library = self._library
        if library.state == LEADER and self._leading.term != library.term:
            self._leading.begin(library.term)
            self._confirmations.begin_term(self._configurations.latest.peers)
            self._prevote.end()

    # --- facts

    def lease_valid(self, now: float) -> bool:
        """May reads be answered here now without asking anybody?"""
        if self._library.state != LEADER or not self.ready:
            return False
        if not self._guards.h8_lease:
            return True
        return self._leading.transfer_target is None and now < self._confirmations.lease_until_s(now)

    def confirmed_at(self, now: float) -> float:
        """A read that was registered at or before this time is confirmed; -inf where we don't lead or aren't ready."""
        if self._library.state != LEADER or not self.ready:
            return NEVER_S
        return self._confirmations.confirmed_at_s(now)

    @property
    def ready(self) -> bool:
        """Do we lead, and is the entry that our term began with applied?"""
        library = self._library
        return library.state == LEADER and library.applied_index >= library.no_op_index > 0

    @property
    def is_leader(self) -> bool:
        """Do we believe that we lead?"""
        return self._library.state == LEADER

    @property
    def state(self) -> str:
        """Follower, Candidate or Leader."""
        return _STATE_NAMES[self._library.state]

    @property
    def term(self) -> int:
        """The current term."""
        return self._library.term

    @property
    def leader_id(self) -> str | None:
        """The leader of this term as far as we know."""
        return self._library.leader_id

    @property
    def last_index(self) -> int:
        """Index of the log's last entry."""
        return self._log.last_index

    @property
    def last_term(self) -> int:
        """Term of the log's last entry."""
        last_term: int = self._log[-1][2]
        return last_term

    @property
    def commit_index(self) -> int:
        """Everything up to here is decided."""
        return self._library.commit_index

    @property
    def applied_index(self) -> int:
        """Everything up to here is in the state machine."""
        return self._library.applied_index

    @property
    def snapshot(self) -> SnapshotFacts | None:
        """The newest snapshot we hold."""
        return self._snapshot

    def configuration(self) -> list[Peer]:
        """The members in force, sorted by id."""
        return [peer for _, peer in sorted(self._configurations.latest.peers.items())]

    @property
    def configuration_index(self) -> int:
        """Index of the entry that made `configuration()`."""
        return self._configurations.latest.index

    def configuration_at(self, index: int) -> tuple[list[Peer], int]:
        """The members and the index of the entry that made them, as of a log that ends at `index` (for snapshots)."""
        configuration = self._configurations.at(index)
        return [peer for _, peer in sorted(configuration.peers.items())], configuration.index

    def match_index(self, server_id: str) -> int:
        """Up to here that follower is known to have our log; our own last index for ourselves; 0 if unknown."""
        return self._log.last_index if server_id == self._self_id else self._library.match_index(server_id)

    def last_leader_contact_s(self, now: float) -> float:
        """Seconds since a leader was heard; 0 at a leader; -1 if never."""
        if self._library.state == LEADER:
            return 0.0
        return -1.0 if self._heard_at_s == NEVER_S else max(0.0, now - self._heard_at_s)

    def statistics(self) -> CoreStatistics:
        """All facts at one moment."""
        library, log, snapshot, counts = self._library, self._log, self._snapshot, self.counts
        return CoreStatistics(
            state=self.state,
            term=log.synced_term,  # statistics are told to others, and a term that a crash may take back is not
            vote=library.vote,
            leader_id=library.leader_id,
            first_index=log.first_index,
            last_index=log.last_index,
            last_term=self.last_term,
            commit_index=library.commit_index,
            applied_index=library.applied_index,
            snapshot_index=snapshot.index if snapshot is not None else 0,
            snapshot_term=snapshot.term if snapshot is not None else 0,
            configuration_index=self.configuration_index,
            voters_count=len(self._configurations.latest.peers),
            match_index={peer: self.match_index(peer) for peer in sorted(self._configurations.latest.peers)},
            proposals_waiting_count=self._settling.waiting_count,
            elections_total=counts["elections"],
            prevotes_total=counts["prevotes"],
            votes_ignored_total=counts["votes_ignored"],
            stale_dropped_total=counts["stale"],
            offers_total=counts["offers"],
            steps_down_total=counts["steps_down"],
        )
