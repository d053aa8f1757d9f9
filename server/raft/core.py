"""Sans-IO: the consensus core. Messages, proposals and time in; messages, results and wishes out.

Theory of operation. The library (through `pysyncobj_seams.py`) owns terms, votes, the log's logic and counting
acknowledgements. The core stands around it: it decides *whether* the library may see a message or start an
election (`prevote.py`), rewrites appends that would make it forget acknowledged entries (`trimming.py`), knows who
belongs to the group (`membership.py`), when reads may be answered (`lease.py`), and settles proposals.

A round is `receive`* , `propose`*, then one `tick`; the driver sends `outbox.entries`, syncs the journal, and only
then sends `outbox.promises`. Nothing is applied outside `tick`. Proposals enter the log after the tick has counted
acknowledgements, so an entry is durable here before it can be counted, even in a group of one.

Invariants: whatever was acknowledged in a term stays in the log for that term; a leader never leads beside another
in the same term; at most one change of the configuration is uncommitted; the lease is given up before TIMEOUT_NOW.

After any exception other than InvalidRequest the core is dead: the driver stops the process.
"""

from typing import Any

from base.errors import NoLeader, RateLimited, Refused, TooLarge
from server.raft import envelope as wire
from server.raft import membership
from server.raft.envelope import FLAG_TRANSFER
from server.raft.interfaces import FetchSnapshot, Outbox, Outcome, OverrideFacts, RoleChange, SnapshotFacts
from server.raft.pysyncobj_seams import LEADER
from server.raft.receiving import Receiver
from server.raft.replica import NEVER_S
from server.raft.timings import COMMAND_BYTES_MAX, PROPOSALS_WAITING_COUNT_MAX
from structs.cluster import Peer

__all__ = ["Core", "FetchSnapshot", "Outbox", "Outcome", "RoleChange"]

PREVOTE_RETRY_FRACTION_MIN = 0.25
PREVOTE_RETRY_FRACTION_MAX = 0.75
"""A failed round of pre-votes is repeated after this part of the minimum election timeout: asking disturbs nobody."""

COMMIT_NEWS_FRACTION = 0.25
"""Followers hear of a commit with the next entries, or after this part of a heartbeat: one message less a write."""


class Core(Receiver):
    """See the module's docstring. All times are monotonic seconds of this server, read by the caller."""

    # --- links

    def peer_connected(self, server_id: str, epoch: int, now: float) -> None:
        """Both directions to that server are up; `epoch` marks this connection's messages."""
        self._enter(now)
        self._links[server_id] = epoch
        self._closed.discard(server_id)
        self._library.connect(server_id)
        if self._prevote.running:
            self._ask_prevote(server_id)

    def peer_disconnected(self, server_id: str, epoch: int, now: float) -> None:
        """The connection of that epoch is gone; ignored if a newer one has taken its place."""
        self._enter(now)
        if self._links.get(server_id) == epoch:
            del self._links[server_id]
            self._closed.discard(server_id)
            self._library.disconnect(server_id)

    def set_window_open(self, server_id: str, is_open: bool) -> None:
        """Back-pressure: while closed, that server gets no entries (H19)."""
        if server_id not in self._links:
            return
        if is_open:
            self._closed.discard(server_id)
            self._library.connect(server_id)
        else:
            self._closed.add(server_id)
            self._library.disconnect(server_id)

    # --- what is asked of a leader

    def propose(self, command: bytes, token: Any, now: float) -> None:
        """Take up one command with the next tick. Raises NoLeader, TooLarge or RateLimited, all definite."""
        if self._library.state != LEADER:
            raise NoLeader
        if self._leading.transfer_target is not None:
            raise NoLeader("leadership is being transferred")
        if len(command) > COMMAND_BYTES_MAX:
            raise TooLarge(f"a command of {len(command)} bytes exceeds {COMMAND_BYTES_MAX}")
        if len(self._pending) + self._settling.waiting_count >= PROPOSALS_WAITING_COUNT_MAX:
            raise RateLimited("too many writes in flight: try again later")
        self._pending.append((b"\x00" + command, token))

    def propose_membership(self, operation: membership.Operation, peer: Peer, token: Any, now: float) -> None:
        """Add, re-address or remove one server. Raises NoLeader, or Refused with the reason; both definite."""
        self._enter(now)
        if self._library.state != LEADER or self._leading.transfer_target is not None:
            raise NoLeader
        if self._guards.h23_one_change:
            membership.require_changeable(
                ready=self.ready,
                configuration_index=self._configurations.latest.index,
                commit_index=self._library.commit_index,
                waiting=bool(self._pending_changes),
            )
        peers = self._configurations.latest.peers
        reason = membership.complaint(operation, peer, peers=peers, self_id=self._self_id)
        if reason is not None and (self._guards.h14_self_removal or operation != "rem"):
            raise Refused(reason)
        # Not into the log yet: where it leaves a group of one, the coming tick would count it before it is durable.
        self._pending_changes.append((membership.encode_change(operation, peer), token))

    def transfer_leadership(self, server_id: str | None, now: float) -> str:
        """Hand over to `server_id` (None: the most caught-up connected follower) and return who it will be.

        Proposals are refused (NoLeader) until it is done or given up after an election timeout. Raises Refused.
        """
        self._enter(now)
        library = self._library
        if library.state != LEADER:
            raise Refused("not the leader")
        if self._leading.transfer_target is not None:
            raise Refused(f"leadership is already being transferred to {self._leading.transfer_target}")
        candidates = [each for each in sorted(self._links) if library.has_other(each)]
        if server_id is None:
            if not candidates:
                raise Refused("no other server is connected")
            server_id = max(candidates, key=library.match_index)
        if server_id == self._self_id:
            raise Refused("this server is the leader already")
        if server_id not in candidates:
            raise Refused(f"server {server_id} is not a connected member")
        self._leading.begin_transfer(server_id, now + self._timings.election_max_s)
        return server_id

    def request_confirm(self, now: float) -> None:
        """A round that confirms the leadership should go out with the next tick."""
        self._leading.confirm_wanted = True

    # --- time

    def tick(self, now: float) -> Outbox:
        """Elect, count, step down, apply, take up proposals, send; returns what must be done. See the driver."""
        self._enter(now)
        library = self._library
        self._more_to_send = False
        self._consider_election()
        library.step()
        library.may_campaign = False
        self._campaign_flags = 0
        self._notice_leadership()
        if library.state == LEADER:
            self._lead()
        elif self._pending or self._pending_changes:
            for _, token in (*self._pending, *self._pending_changes):
                self._settling.discard(token)
            self._pending.clear()
            self._pending_changes.clear()
        return self._take_outbox()

    def next_wake_s(self, now: float) -> float:
        """When the next tick is needed if nothing arrives, in monotonic seconds; not after `now` if at once."""
        library = self._library
        if self._more_to_send or self._pending or self._pending_changes:
            return now
        if library.commit_index > library.applied_index:
            return now
        if library.state == LEADER:
            if len(self._configurations.latest.peers) == 1 and library.commit_index < self._log.last_index:
                return now  # nobody's acknowledgement will wake a group of one: it counts itself once it has synced
            leading = self._leading
            due_s = leading.heartbeat_due_s
            if leading.commit_due_s is not None:
                due_s = min(due_s, leading.commit_due_s)
            return min(due_s, leading.transfer_deadline_s) if leading.transfer_target is not None else due_s
        if self._prevote.running and self._prevote.won(self._configurations.latest.peers):
            return now
        if library.transfer_pending:
            return now
        return library.election_deadline_s

    def _consider_election(self) -> None:
        library, now = self._library, self._now
        if library.state == LEADER:
            return
        if library.transfer_pending and library.term != self._transfer_term:
            # The library keeps it when a vote request moves us on; our votes would then be asked for past a live lease.
            library.forget_transfer()
        if not self._is_active():
            if library.election_deadline_s <= now:
                library.set_election_deadline(now + self._timings.election_max_s)
            return
        if library.transfer_pending:
            self._campaign_flags = FLAG_TRANSFER
            library.may_campaign = True
        elif not self._guards.h7_prevote:
            library.may_campaign = True
        else:
            if self._prevote.running and self._prevote.term_proposed <= library.term:
                # We have voted, or heard of that term, since we asked. What we won is no leave to disturb the next.
                self._prevote.end()
            if library.election_deadline_s <= now and not self._leader_is_live():
                self._begin_prevote()
            if self._prevote.won(self._configurations.latest.peers) and not self._leader_is_live():
                self._prevote.end()
                library.set_election_deadline(NEVER_S)
                library.may_campaign = True
        if library.may_campaign and library.election_deadline_s < now:
            self._votes_from.clear()
            self.counts["elections"] += 1

    def _begin_prevote(self) -> None:
        library = self._library
        low, high = PREVOTE_RETRY_FRACTION_MIN, PREVOTE_RETRY_FRACTION_MAX
        patience_s = self._timings.election_min_s * (low + (high - low) * self._rng.random())
        library.set_election_deadline(self._now + patience_s)
        self.counts["prevotes"] += 1
        self._prevote.begin(term_proposed=library.term + 1, self_id=self._self_id)
        for server_id in sorted(self._links):
            self._ask_prevote(server_id)

    def _ask_prevote(self, server_id: str) -> None:
        if self._library.has_other(server_id):
            _, last_index, last_term = self._log[-1]
            self._promise(server_id, wire.PREVOTE_REQUEST, self._prevote.term_proposed, last_index, last_term)

    def _lead(self) -> None:
        leading, library, log, now = self._leading, self._library, self._log, self._now
        if self._pending:
            term, index = library.term, log.last_index
            for command, token in self._pending:
                index += 1
                log.add(command, index, term)
                self._settling.expect(index, term, token)
            self._pending.clear()
        if self._pending_changes:
            for command, token in self._pending_changes:
                self._append_membership(command, token)
            self._pending_changes.clear()
        if self._override is not None and self.ready:
            self._log_override(self._override)
        last_index, commit_index = log.last_index, library.commit_index
        heartbeat = now >= leading.heartbeat_due_s
        if (
            heartbeat
            or leading.confirm_wanted
            or library.sends_wanted
            or self._unsent(last_index)
            or self._commit_news_due(commit_index)
        ):
            leading.confirm_wanted = False
            leading.heartbeat_due_s = now + self._timings.heartbeat_s
            leading.sent_commit_index = commit_index
            leading.commit_due_s = None
            self._send_appends()
            self._more_to_send = self._unsent(log.last_index)
        if leading.transfer_target is not None:
            self._continue_transfer(leading.transfer_target, last_index)

    def _unsent(self, last_index: int) -> bool:
        """Is there an entry that some follower could be sent now?"""
        library, first_index = self._library, self._log.first_index
        for server_id in self._links:
            if server_id not in self._closed and first_index < library.next_index(server_id) <= last_index:
                return True
        return False

    def _commit_news_due(self, commit_index: int) -> bool:
        """Must followers be told now that more is committed? It rides along with the next entries if they come soon."""
        leading = self._leading
        if commit_index <= leading.sent_commit_index:
            return False
        if leading.commit_due_s is None:
            leading.commit_due_s = self._now + self._timings.heartbeat_s * COMMIT_NEWS_FRACTION
        return self._now >= leading.commit_due_s

    def _send_appends(self) -> None:
        """One append to each follower that can take it: `_on_library_send` disconnects it for the rest of the call."""
        library = self._library
        library.send_appends()
        for server_id in self._links:
            if server_id not in self._closed:
                library.connect(server_id)

    def _continue_transfer(self, target: str, last_index: int) -> None:
        leading, library = self._leading, self._library
        if not leading.transfer_sent and library.match_index(target) == last_index and target in self._links:
            leading.transfer_sent = True
            library.hand_over(target)
        elif self._now >= leading.transfer_deadline_s:
            leading.transfer_target = None
            if leading.transfer_sent:
                # The target may campaign at any time, past all promises: only a new term gives us a lease again.
                library.step_down()

    def _log_override(self, override: OverrideFacts) -> None:
        """After a recovery, state the configuration in the log: logs of other servers may hold older changes."""
        self._override = None
        if self._configurations.latest.index <= override.after_index:
            self._append_membership(membership.encode_set(override.peers), None)

    def _append_membership(self, command: bytes, token: Any) -> None:
        log, term = self._log, self._library.term
        index = log.last_index + 1
        log.add(command, index, term)
        if token is not None:  # nobody waits for what a recovery states
            self._settling.expect(index, term, token)
        self._configurations.append(index, term, command)
        self._use_configuration()

    def _take_outbox(self) -> Outbox:
        library = self._library
        leads = library.state == LEADER
        led, led_term, leader_id = self._reported
        became = None
        if leads and (not led or led_term != library.term):
            became = RoleChange.LEADER
        elif led and not leads:
            became = RoleChange.FOLLOWER
            self.counts["steps_down"] += 1
        outbox = Outbox(
            entries=self._entries_out,
            promises=self._promises_out,
            results=self._settling.take_results(),
            fetch=self._fetch,
            became=became,
            leader_changed=leader_id != library.leader_id,
            peers_changed=self._peers_changed,
        )
        self._reported = (leads, library.term, library.leader_id)
        self._entries_out, self._promises_out, self._fetch, self._peers_changed = [], [], None, False
        return outbox

    # --- snapshots

    def snapshot_taken(self, meta: SnapshotFacts, trailing_count: int) -> None:
        """A snapshot of our own state is durable: forget entries more than `trailing_count` behind it (H2)."""
        if self._snapshot is not None and meta.index <= self._snapshot.index:
            return
        self._snapshot = meta
        index = max(self._log.first_index, meta.index - trailing_count)
        self._log.trim_to(index)
        self._configurations.forget_before(index)

    def install(self, meta: SnapshotFacts, now: float) -> bool:
        """A fetched snapshot is durable: load it. False if it isn't ahead of what is applied here (H22)."""
        self._enter(now)
        self._fetching = False
        library, log = self._library, self._log
        if meta.index <= library.applied_index and self._guards.h22_old_snapshot:
            return False
        self._applier.load(meta)
        if log.term_at(meta.index) == meta.term and self._guards.h3_keep_tail:
            log.trim_to(meta.index)
        else:
            log.reset_to(meta.index, meta.term)
        self._snapshot = meta
        self._settling.forget_through(meta.index)
        commit_index = min(max(library.commit_index, meta.index), log.last_index)
        library.set_positions(applied_index=meta.index, commit_index=commit_index)
        self._verified_index = min(max(self._verified_index, meta.index), log.last_index)
        self._configurations.cut_from(log.last_index + 1)
        self._configurations.restart_at(
            index=meta.configuration_index, peers=meta.configuration, snapshot_index=meta.index
        )
        self._use_configuration()
        leader_id = library.leader_id
        if leader_id is not None and leader_id != self._self_id:
            self._promise(leader_id, wire.APPEND_REPLY, log.last_index + 1, True, False, echo_s=self._echo_s)
        return True

    def fetch_failed(self) -> None:
        """The fetch that the outbox asked for came to nothing; the leader's next offer asks again."""
        self._fetching = False
