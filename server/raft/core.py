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

from base.errors import InvalidRequest, InvariantBroken, NoLeader, RateLimited, Refused, TooLarge
from server.raft import envelope as wire
from server.raft import membership
from server.raft.envelope import BODY, ECHO_S, FLAG_TRANSFER, FLAGS, SENDER_TERM, SENT_AT_S, Message
from server.raft.interfaces import (
    Applier,
    Chance,
    CoreStatistics,
    FetchSnapshot,
    Log,
    Outbox,
    Outcome,
    OverrideFacts,
    RoleChange,
    SnapshotFacts,
)
from server.raft.leading import Leading, granted_next_index
from server.raft.lease import Confirmations
from server.raft.prevote import PreVote, log_is_current, may_grant
from server.raft.pysyncobj_seams import CANDIDATE, FOLLOWER, LEADER, Protocol
from server.raft.settling import Settling
from server.raft.starting import first_configuration, reconcile_log
from server.raft.timings import COMMAND_BYTES_MAX, PROPOSALS_WAITING_COUNT_MAX, Guards, Timings
from server.raft.trimming import Trimmed, trim_append
from structs.cluster import Peer

__all__ = ["Core", "FetchSnapshot", "Outbox", "Outcome", "RoleChange"]

_STATE_NAMES = {FOLLOWER: "Follower", CANDIDATE: "Candidate", LEADER: "Leader"}
_NEVER_S = float("-inf")
PREVOTE_RETRY_FRACTION_MIN = 0.25
PREVOTE_RETRY_FRACTION_MAX = 0.75
"""A failed round of pre-votes is repeated after this part of the minimum election timeout: asking disturbs nobody."""


class Core:
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
        # H7, H8: what this server promised to a leader before it stopped is forgotten, so the start counts as hearing one.
        self._heard_at_s = _NEVER_S if fresh_bootstrap else now
        if fresh_bootstrap:
            self._library.set_election_deadline(now + timings.heartbeat_s * rng.random())
        self.counts = dict.fromkeys(("elections", "prevotes", "votes_ignored", "stale", "offers", "steps_down"), 0)
        self._use_configuration()
        self._peers_changed = False

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

    # --- messages

    def receive(self, server_id: str, epoch: int, message: Message, now: float) -> None:
        """Take one message; raises InvalidRequest if it is malformed. Those of an old connection are dropped (H6)."""
        self._enter(now)
        kind = wire.require_wellformed(message)
        if self._links.get(server_id) != epoch:
            self.counts["stale"] += 1
            return
        self._HANDLERS[kind](self, server_id, message)
        self._notice_leadership()

    def _on_append(self, server_id: str, message: Message) -> None:
        if not self._hear_leader(server_id, message):
            return
        library, log = self._library, self._log
        prev_index, prev_term, commit_index, entries = message[BODY : BODY + 4]
        fits = log.term_at(prev_index) == prev_term
        trimmed = Trimmed(prev_index, prev_term, entries, (prev_index + len(entries)) if fits else 0, 0)
        if self._guards.h4_trim_appends:
            trimmed = trim_append(
                log,
                prev_index=prev_index,
                prev_term=prev_term,
                entries=entries,
                verified_index=self._verified_index,
                commit_index=library.commit_index,
            )
            # The library would take our last index for verified; we know better.
            commit_index = min(commit_index, trimmed.verified_index)
            self._reply_index = trimmed.verified_index + 1 if trimmed.verified_index else trimmed.hint_index
        cuts = bool(trimmed.verified_index) and log.last_index > trimmed.prev_index
        changed = cuts and self._configurations.cut_from(trimmed.prev_index + 1)
        library.deliver(
            server_id,
            {
                "type": "append_entries",
                "term": message[SENDER_TERM],
                "commit_index": commit_index,
                "entries": trimmed.entries,
                "prevLogIdx": trimmed.prev_index,
                "prevLogTerm": trimmed.prev_term,
            },
        )
        self._reply_index = 0
        if trimmed.verified_index:
            self._verified_index = trimmed.verified_index
            for command, index, term in trimmed.entries:
                if command[0] == membership.MEMBERSHIP:
                    self._configurations.append(index, term, command)
                    changed = True
        if changed:
            self._use_configuration()

    def _on_append_reply(self, server_id: str, message: Message) -> None:
        library = self._library
        if library.state != LEADER or not library.has_other(server_id):
            return
        if message[SENDER_TERM] != library.term and self._guards.h6_drop_stale:
            self.counts["stale"] += 1
            return
        next_index, reset, success = message[BODY : BODY + 3]
        if next_index < 1 or (success and next_index > self._log.last_index + 1):
            raise InvalidRequest(f"an acknowledgement of what was never sent: {next_index}")
        echo_s = self._confirm(server_id, message)
        before = library.next_index(server_id)
        if reset:
            reset = self._leading.accept_reset(server_id, echo_s, self._now)
            next_index = granted_next_index(library, server_id, next_index, self._log.last_index)
        library.deliver(
            server_id, {"type": "next_node_idx", "next_node_idx": next_index, "reset": reset, "success": success}
        )
        if success and not reset and before > library.next_index(server_id):
            library.set_next_index(server_id, before)  # what is under way need not be sent again
        if reset:
            self._more_to_send = True

    def _on_heartbeat_ack(self, server_id: str, message: Message) -> None:
        library = self._library
        if library.state == LEADER and library.has_other(server_id) and message[SENDER_TERM] == library.term:
            self._confirm(server_id, message)
            library.heard_from(server_id)

    def _on_vote_request(self, server_id: str, message: Message) -> None:
        forced = bool(message[FLAGS] & FLAG_TRANSFER)
        if self._guards.h7_prevote and not forced and self._leader_is_live():
            self.counts["votes_ignored"] += 1
            return
        last_index, last_term = message[BODY : BODY + 2]
        self._library.deliver(
            server_id,
            {
                "type": "request_vote",
                "term": message[SENDER_TERM],
                "last_log_index": last_index,
                "last_log_term": last_term,
            },
        )

    def _on_vote_reply(self, server_id: str, message: Message) -> None:
        library = self._library
        if library.state != CANDIDATE or message[SENDER_TERM] != library.term or not library.has_other(server_id):
            return
        if server_id not in self._votes_from:
            self._votes_from.add(server_id)
            library.deliver(server_id, {"type": "response_vote", "term": message[SENDER_TERM]})

    def _on_timeout_now(self, server_id: str, message: Message) -> None:
        library = self._library
        if message[SENDER_TERM] == library.term and server_id == library.leader_id and self._is_active():
            library.deliver(server_id, {"type": "timeout_now", "term": message[SENDER_TERM]})

    def _on_prevote_request(self, server_id: str, message: Message) -> None:
        term_proposed, last_index, last_term = message[BODY : BODY + 3]
        own_last = self._log[-1]
        granted = may_grant(
            term_proposed=term_proposed,
            own_term=self._library.term,
            log_current=log_is_current(
                last_index=last_index, last_term=last_term, own_last_index=own_last[1], own_last_term=own_last[2]
            ),
            leader_live=self._leader_is_live(),
        )
        self._promise(server_id, wire.PREVOTE_REPLY, term_proposed, granted)

    def _on_prevote_reply(self, server_id: str, message: Message) -> None:
        library = self._library
        if library.state == LEADER or not self._prevote.running or not library.has_other(server_id):
            return
        term_proposed, granted = message[BODY : BODY + 2]
        if granted:
            self._prevote.grant(server_id, term_proposed)
        elif message[SENDER_TERM] > library.term:
            # Nobody in that higher term would ever vote for us: ask again from there.
            library.observe_term(message[SENDER_TERM])
            self._prevote.end()

    def _on_offer(self, server_id: str, message: Message) -> None:
        if not self._hear_leader(server_id, message):
            return
        library = self._library
        snapshot_index, snapshot_term, commit_index = message[BODY : BODY + 3]
        if self._guards.h20_unverified_commit:
            commit_index = 0  # H20: nothing of our log has been compared with the leader's by this message
        library.deliver(
            server_id,
            {
                "type": "append_entries",
                "term": message[SENDER_TERM],
                "commit_index": commit_index,
                "serialized": None,
            },
        )
        wanted = snapshot_index > library.applied_index or not self._guards.h22_old_snapshot
        if wanted and snapshot_index > 0 and not self._fetching:
            self._fetching = True
            self._fetch = FetchSnapshot(from_id=server_id, index=snapshot_index, term=snapshot_term)
        if wanted:
            self._promise(server_id, wire.HEARTBEAT_ACK, echo_s=self._echo_s)
        else:
            self._promise(server_id, wire.APPEND_REPLY, self._log.last_index + 1, True, False, echo_s=self._echo_s)

    def _on_stale(self, server_id: str, message: Message) -> None:
        library = self._library
        if self._guards.h24_higher_term and message[SENDER_TERM] > library.term and library.has_other(server_id):
            library.observe_term(message[SENDER_TERM])

    def _hear_leader(self, server_id: str, message: Message) -> bool:
        """Note that the sender leads; False if its term is over."""
        library = self._library
        term = message[SENDER_TERM]
        if term < library.term:
            # H24: the library says nothing, so a leader would never learn that this server has moved on.
            self._promise(server_id, wire.STALE)
            return False
        if term == library.term and (library.state == LEADER or library.leader_id not in (None, server_id)):
            raise InvariantBroken(f"two leaders in term {term}: {library.leader_id} and {server_id}")
        if term != self._followed_term:
            self._followed_term = term
            self._verified_index = 0
            self._echo_s = 0.0
        self._echo_s = max(self._echo_s, message[SENT_AT_S])
        self._heard_at_s = self._now
        self._prevote.end()
        return True

    def _confirm(self, server_id: str, message: Message) -> float:
        echo_s: float = message[ECHO_S]
        if echo_s > self._now:
            raise InvalidRequest("an echo of a time that has not come yet")
        self._confirmations.note(server_id, echo_s)
        return echo_s

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
            )
        peers = self._configurations.latest.peers
        reason = membership.complaint(operation, peer, peers=peers, self_id=self._self_id)
        if reason is not None and (self._guards.h14_self_removal or operation != "rem"):
            raise Refused(reason)
        self._append_membership(membership.encode_change(operation, peer), token)

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
        elif self._pending:
            for _, token in self._pending:
                self._settling.discard(token)
            self._pending.clear()
        return self._take_outbox()

    def next_wake_s(self, now: float) -> float:
        """When the next tick is needed if nothing arrives, in monotonic seconds; not after `now` if at once."""
        library = self._library
        if self._more_to_send or self._pending or library.commit_index > library.applied_index:
            return now
        if library.state == LEADER:
            leading = self._leading
            due_s = leading.heartbeat_due_s
            return min(due_s, leading.transfer_deadline_s) if leading.transfer_target is not None else due_s
        if self._prevote.running and self._prevote.won(self._configurations.latest.peers):
            return now
        if library.transfer_pending:
            return now
        return library.election_deadline_s

    def _enter(self, now: float) -> None:
        if now > self._now:
            self._now = now
        Protocol.at(self._now)

    def _consider_election(self) -> None:
        library, now = self._library, self._now
        if library.state == LEADER:
            return
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
            if library.election_deadline_s <= now and not self._leader_is_live():
                self._begin_prevote()
            if self._prevote.won(self._configurations.latest.peers) and not self._leader_is_live():
                self._prevote.end()
                library.set_election_deadline(_NEVER_S)
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

    def _notice_leadership(self) -> None:
        """Begin a leadership's bookkeeping as soon as the library has one."""
        library = self._library
        if library.state == LEADER and self._leading.term != library.term:
            self._leading.begin(library.term)
            self._confirmations.begin_term(self._configurations.latest.peers)
            self._prevote.end()

    def _lead(self) -> None:
        leading, library, log, now = self._leading, self._library, self._log, self._now
        if self._pending:
            term, index = library.term, log.last_index
            for command, token in self._pending:
                index += 1
                log.add(command, index, term)
                self._settling.expect(index, term, token)
            self._pending.clear()
        if self._override is not None and self.ready:
            self._log_override(self._override)
        last_index, commit_index = log.last_index, library.commit_index
        heartbeat = now >= leading.heartbeat_due_s
        if (
            heartbeat
            or leading.confirm_wanted
            or library.sends_wanted
            or self._unsent(last_index)
            or commit_index > leading.sent_commit_index
        ):
            leading.confirm_wanted = False
            leading.heartbeat_due_s = now + self._timings.heartbeat_s
            leading.sent_commit_index = commit_index
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
        """May this server campaign? Only once a committed configuration names it (H15)."""
        if not self._guards.h15_passive:
            return True
        return self._self_id in self._configurations.committed(self._library.commit_index).peers

    def _leader_is_live(self) -> bool:
        """Has a majority's leader been heard within the minimum election timeout (here or, if we lead, by us)?"""
        if self._library.state == LEADER:
            if self._leading.transfer_target is not None:
                return False
            heard_at_s = self._confirmations.confirmed_at_s(self._now)
        else:
            heard_at_s = self._heard_at_s
        return self._now < heard_at_s + self._timings.election_min_s

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
            return _NEVER_S
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
        return -1.0 if self._heard_at_s == _NEVER_S else max(0.0, now - self._heard_at_s)

    def statistics(self) -> CoreStatistics:
        """All facts at one moment."""
        library, log, snapshot, counts = self._library, self._log, self._snapshot, self.counts
        return CoreStatistics(
            state=self.state,
            term=library.term,
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

    _HANDLERS = {
        wire.APPEND: _on_append,
        wire.APPEND_REPLY: _on_append_reply,
        wire.VOTE_REQUEST: _on_vote_request,
        wire.VOTE_REPLY: _on_vote_reply,
        wire.TIMEOUT_NOW: _on_timeout_now,
        wire.PREVOTE_REQUEST: _on_prevote_request,
        wire.PREVOTE_REPLY: _on_prevote_reply,
        wire.OFFER: _on_offer,
        wire.HEARTBEAT_ACK: _on_heartbeat_ack,
        wire.STALE: _on_stale,
    }
