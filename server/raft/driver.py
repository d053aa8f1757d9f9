"""The loop that turns the consensus core: receive, tick, send, sync, send promises, settle.

Theory of operation. One task owns the core. A *round* is:

1. hand every queued message to the core (acknowledgements are counted here and nowhere else);
2. tick: the core elects, commits, applies, and takes up what was proposed since the last round;
3. commit what was applied to the state machine's store and settle those proposals: their entries were durable
   on a majority, ourselves included, before this round began;
4. send the entries: they promise nothing;
5. if the journal has unwritten bytes: one write and one fdatasync in a worker thread, while other tasks run;
6. send what speaks of durable state: votes, vote requests, acknowledgements.

A leader counts itself towards the majority when it counts acknowledgements. That is safe only because step 1
of the next round never starts before step 5 of this one has ended, and because an entry is never acknowledged by
anyone before step 4 has sent it (`tests/hazards/`, H12 and H13). For the same reason step 3 need not wait for step 5:
what is settled was appended by an earlier round, whose sync has ended.

A disk that hangs holds the round, for nothing may be promised meanwhile; proposals end by their deadlines all the
same, and after `stalled_after_s` this server takes itself for no leader any more: the others have another by then.

Any exception here ends the process: a core that stopped in the middle of a step must not go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import trio

from base.errors import InvalidRequest, MeshError, NoLeader
from base.failpoints import failpoint
from base.log import get_logger
from server.raft.core import Core, FetchSnapshot, Outbox
from server.raft.journal import Journal
from server.raft.proposals import Proposal, Proposals
from server.raft.transport import RaftTransport

LAG_SAMPLES_MAX = 1024
ROUND_PROPOSAL_BYTES_MAX = 8 * 1024 * 1024
"""Commands taken up in one round: they are written and synced as one, and a heartbeat waits for that."""
SWEEP_S = 0.1
_log = get_logger("raft.driver")


class StateMachine(Protocol):
    """What the driver needs of the replicated state."""

    def commit_batch(self) -> None:
        """Make what was applied visible to readers, then fire the watches it touched."""


class RaftDriver:
    """Owns the rounds. Everything else asks through plain, synchronous methods and is kicked awake."""

    def __init__(
        self,
        *,
        core: Core,
        journal: Journal,
        machine: StateMachine,
        clock: Callable[[], float],
        on_round: Callable[[Outbox], None],
        on_fetch: Callable[[FetchSnapshot], None],
        stalled_after_s: float = float("inf"),
    ) -> None:
        self._stalled_after_s = stalled_after_s
        self._core = core
        self._journal = journal
        self._machine = machine
        self._clock = clock
        self._on_round = on_round
        self._on_fetch = on_fetch
        self.proposals = Proposals()
        self.transport: RaftTransport | None = None
        self._events: deque[Callable[[float], None]] = deque()
        self._bytes_waiting = 0
        self._proposed: deque[Proposal] = deque()
        self._kick = trio.Event()
        self._kicked = False
        self._sync_began_s: float | None = None
        self._sync_limiter = trio.CapacityLimiter(1)
        """Its own, so that archives and snapshots that fill the threads of the process never hold up a sync."""
        self._stopped = False
        self.rounds_total = 0
        self.syncs_total = 0
        self.lags_s: deque[float] = deque(maxlen=LAG_SAMPLES_MAX)
        """How late each timed round began, in seconds: the health of the event loop."""
        self.sync_s: deque[float] = deque(maxlen=LAG_SAMPLES_MAX)

    # --- what arrives (Inbox of the transport)

    @property
    def bytes_waiting(self) -> int:
        """Bytes of messages that no round has handled yet."""
        return self._bytes_waiting

    def message(self, server_id: str, epoch: int, message: list[Any], bytes_count: int) -> None:
        """Queue one message of a peer."""
        self._bytes_waiting += bytes_count

        def handle(now_s: float) -> None:
            self._bytes_waiting -= bytes_count
            try:
                self._core.receive(server_id, epoch, message, now_s)
            except InvalidRequest as error:
                _log.warn("raft message refused", peer=server_id, error=str(error))

        self.do(handle)

    def connected(self, server_id: str, epoch: int) -> None:
        """Both directions to a peer are up."""
        self.do(lambda now_s: self._core.peer_connected(server_id, epoch, now_s))

    def disconnected(self, server_id: str, epoch: int) -> None:
        """The connection of that epoch is gone."""
        self.do(lambda now_s: self._core.peer_disconnected(server_id, epoch, now_s))

    def window(self, server_id: str, is_open: bool) -> None:
        """A peer takes more, or no more for now."""
        self.do(lambda now_s: self._core.set_window_open(server_id, is_open))

    # --- what others ask

    def propose(self, command: bytes, timeout_s: float) -> Proposal:
        """Take up a write with the next round; raises NoLeader or RateLimited (definite) at once."""
        if self._stopped or not self._core.is_leader or self.stalled:
            raise NoLeader
        proposal = self.proposals.open(command, self._clock() + timeout_s)
        self._proposed.append(proposal)
        self.kick()
        return proposal

    @property
    def stalled(self) -> bool:
        """Whether the round under way has waited for the disk for longer than followers wait for a leader."""
        began_s = self._sync_began_s
        return began_s is not None and self._clock() - began_s > self._stalled_after_s

    def replace_core(self, core: Core) -> None:
        """Go on with another core: a server that was just bootstrapped begins anew. Between two rounds only."""
        self._core = core

    def do(self, action: Callable[[float], None]) -> None:
        """Run `action(now_s)` on the core between two rounds."""
        self._events.append(action)
        self.kick()

    def kick(self) -> None:
        """Begin a round as soon as the one under way has ended."""
        if not self._kicked:
            self._kicked = True
            self._kick.set()

    # --- the loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Turn rounds until cancelled; then every open proposal's outcome is unknown."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                task_status.started()
                while True:
                    await self._wait()
                    await self._round()
        finally:
            self._stopped = True
            self.proposals.abandon_all("the server is stopping: the write may or may not have happened")

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_S)
            self.proposals.sweep(self._clock())

    async def _wait(self) -> None:
        if self._kicked:
            # Let the tasks that the last round woke run first: they bring the next batch.
            await trio.lowlevel.checkpoint()
        else:
            now_s = self._clock()
            due_s = self._core.next_wake_s(now_s)
            with trio.move_on_after(max(0.0, due_s - now_s)) as timer:
                await self._kick.wait()
            if timer.cancelled_caught:
                self.lags_s.append(max(0.0, self._clock() - due_s))
        self._kicked = False
        self._kick = trio.Event()

    async def _round(self) -> None:
        self.rounds_total += 1
        now_s = self._clock()
        events = self._events
        if events:
            while events:
                events.popleft()(now_s)
            if self.transport is not None:
                self.transport.inbox_drained()
        core = self._core  # the first events of a bootstrapped server replace it
        self._take_proposals(now_s)
        outbox = core.tick(now_s)
        self._machine.commit_batch()
        self._settle(outbox)
        transport = self.transport
        if transport is not None:
            for server_id, message in outbox.entries:
                transport.send(server_id, message)
        if self._journal.dirty:
            write = self._journal.begin_sync()
            failpoint("driver.before_sync")
            self._sync_began_s = self._clock()
            await trio.to_thread.run_sync(write, limiter=self._sync_limiter)
            self._sync_began_s = None
            failpoint("driver.after_sync")
            self.syncs_total += 1
            self.sync_s.append(self._clock() - now_s)
        if transport is not None:
            for server_id, message in outbox.promises:
                transport.send(server_id, message)
        if outbox.fetch is not None:
            self._on_fetch(outbox.fetch)
        self._on_round(outbox)

    def _take_proposals(self, now_s: float) -> None:
        proposed = self._proposed
        bytes_taken = 0
        while proposed:
            if bytes_taken > ROUND_PROPOSAL_BYTES_MAX:
                self.kick()  # the rest with the next round
                break
            proposal = proposed.popleft()
            if proposal.settled:
                continue  # its deadline passed while it waited for a round: nobody wants it any more
            bytes_taken += proposal.bytes_count
            try:
                self._core.propose(proposal.command, proposal, now_s)
            except MeshError as error:  # all of them definite: it never entered the log
                self.proposals.refused(proposal, error)

    def _settle(self, outbox: Outbox) -> None:
        for proposal, outcome in outbox.results:
            if outcome.discarded:
                self.proposals.discarded(proposal)
            else:
                self.proposals.committed(proposal, outcome.result)
