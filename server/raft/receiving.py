"""Sans-IO: what each kind of message does to a replica."""

from base.errors import InvalidRequest, InvariantBroken
from server.raft import envelope as wire
from server.raft import membership
from server.raft.envelope import BODY, ECHO_S, FLAG_TRANSFER, FLAGS, SENDER_TERM, SENT_AT_S, Message
from server.raft.interfaces import FetchSnapshot
from server.raft.leading import granted_next_index
from server.raft.prevote import log_is_current, may_grant
from server.raft.pysyncobj_seams import CANDIDATE, LEADER
from server.raft.replica import Replica
from server.raft.trimming import Trimmed, trim_append


class Receiver(Replica):
    """A replica that takes messages; each handler runs at the time that `_enter` has set."""

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
            self._transfer_term = library.term
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
