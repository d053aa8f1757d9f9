"""RaftNode: what the rest of a server sees of consensus, and the owner of its tasks.

Wires the core, the driver, the links, the journal and the snapshots of one server. Every method that changes
something runs between two rounds of the driver; every method that only looks, looks at once.

Errors: `propose`, membership and transfer raise NoLeader (definite: nothing entered the log), Refused (definite),
RateLimited (definite) or OutcomeUnknown. `confirm_leadership` raises NoLeader or NotReady.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from base.errors import NoLeader, NotReady, OutcomeUnknown, Refused
from base.log import get_logger
from base.network import Stream
from base.telemetry import counter
from fsm.machine import Machine
from rpc.pool import RPCPool
from server.raft import membership
from server.raft.core import Core, Outbox, RoleChange
from server.raft.driver import RaftDriver
from server.raft.interfaces import CoreStatistics
from server.raft.journal import Journal
from server.raft.proposals import Proposal
from server.raft.recovery import ConfigurationOverride
from server.raft.snapshots import SnapshotMeta
from server.raft.snapshotting import SnapshotPolicy, Snapshotting
from server.raft.timings import Timings
from server.raft.transport import RaftTransport
from structs.cluster import Peer

LINK_FIRST_BYTE = 17
MEMBERSHIP_TIMEOUT_S = 30.0
_log = get_logger("raft")


_BECAME = {state: counter(f"raft.state.{state}") for state in ("leader", "follower")}


class RaftSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one node behaves."""

    datacenter: str
    timings: Timings = Timings()
    snapshots: SnapshotPolicy = SnapshotPolicy()


class RaftStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator may ask of one node at one moment."""

    core: CoreStatistics
    proposals_pending_count: int
    proposals_unknown_total: int
    proposals_discarded_total: int
    rounds_total: int
    syncs_total: int
    sync_p50_s: float
    sync_p99_s: float
    lag_p99_s: float
    """How late the loop woke for its timers: a starving loop shows here first."""
    journal_bytes: int
    links: dict[str, dict[str, object]]

    @property
    def term(self) -> int:
        """The current term."""
        return self.core.term


class _MachineApplier:
    """The state machine as the core sees it."""

    def __init__(self, machine: Machine, snapshotting: Snapshotting) -> None:
        self.apply = machine.apply
        self._snapshotting = snapshotting

    def load(self, meta: Any) -> None:
        """Make the fetched snapshot the state; its working copy has been prepared by the fetch."""
        self._snapshotting.adopt(meta)


class _ConfirmRound:
    """Readers that share one round of leadership confirmation."""

    __slots__ = ("begun_s", "error", "event")

    def __init__(self) -> None:
        self.begun_s = 0.0
        self.error: NoLeader | NotReady | None = None
        self.event = trio.Event()


class RaftNode:
    """One member of the group, or a joiner that waits to be added."""

    def __init__(
        self,
        *,
        self_peer: Peer,
        settings: RaftSettings,
        journal: Journal,
        snapshot: SnapshotMeta | None,
        override: ConfigurationOverride | None,
        snapshotting: Snapshotting,
        machine: Machine,
        pool: RPCPool,
        rng: random.Random,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """`machine` holds the state of `snapshot` (or nothing); the log behind it is applied by the first rounds."""
        self.self_peer = self_peer
        self._settings = settings
        self._journal = journal
        self._machine = machine
        self._snapshotting = snapshotting
        self._override = override
        self._rng = rng
        self._clock = clock
        self._nursery: trio.Nursery | None = None
        self._leadership_changed = trio.Event()
        self._leader_known = False
        """Whether `leader()` named anybody after the last round."""
        self._confirm_next: _ConfirmRound | None = None
        self._confirm_pending: list[_ConfirmRound] = []
        self._applier = _MachineApplier(machine, snapshotting)
        self._core = self._make_core(snapshot, fresh_bootstrap=False)
        self._driver = RaftDriver(
            core=self._core,
            journal=journal,
            machine=machine,
            clock=clock,
            on_round=self._on_round,
            on_fetch=lambda wanted: self._start_task(self._snapshotting.fetch, wanted, self),
            stalled_after_s=settings.timings.election_max_s,
        )

        async def dial(address: str) -> Stream:
            return await pool.open_link(address, LINK_FIRST_BYTE)

        self._transport = RaftTransport(
            self_peer=self_peer, datacenter=settings.datacenter, dial=dial, inbox=self._driver
        )
        self._driver.transport = self._transport
        self._transport.set_peers(self.configuration())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled. What escapes (DiskFailed, InvariantBroken) must end the process."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._transport.run)
            await nursery.start(self._driver.run)
            task_status.started()

    async def serve_link(self, stream: Stream) -> None:
        """Serve one incoming link until it ends; the RPC listener has read its first byte."""
        await self._transport.serve(stream)

    # --- writes

    def submit(self, command: bytes, *, timeout_s: float) -> Proposal:
        """Take up a write and return at once; `wait()` of what is returned is `propose`. Order is kept."""
        return self._driver.propose(command, timeout_s)

    async def propose(self, command: bytes, *, timeout_s: float) -> object:
        """Return the handler's result once a majority has `command` durably and it is applied here."""
        return await self._driver.propose(command, timeout_s).wait()

    # --- reads

    def lease_valid(self) -> bool:
        """Whether a default read may be answered here now: we lead, hold the lease, and are ready."""
        return self._core.lease_valid(self._clock())

    async def confirm_leadership(self, *, timeout_s: float) -> None:
        """Return once a round that began after this call proved that this server still leads; readers share rounds."""
        if not self.is_leader():
            raise NoLeader
        if len(self._core.configuration()) == 1 and self._core.ready:
            return
        turn = self._confirm_next
        if turn is None:
            turn = self._confirm_next = _ConfirmRound()
            self._driver.do(self._begin_confirm)
        with trio.move_on_after(timeout_s):
            await turn.event.wait()
            if turn.error is not None:
                raise turn.error
            return
        raise NotReady

    def _begin_confirm(self, now_s: float) -> None:
        turn, self._confirm_next = self._confirm_next, None
        if turn is not None:
            turn.begun_s = now_s
            self._confirm_pending.append(turn)
            self._core.request_confirm(now_s)

    def _end_confirms(self) -> None:
        leads = self._core.is_leader
        confirmed_s = self._core.confirmed_at(self._clock())
        while self._confirm_pending:
            turn = self._confirm_pending[0]
            if not leads:
                turn.error = NoLeader()
            elif turn.begun_s > confirmed_s:
                break
            self._confirm_pending.pop(0)
            turn.event.set()

    # --- who leads

    def is_leader(self) -> bool:
        """Whether this server believes that it leads; not while its disk hangs."""
        return self._core.is_leader and not self._driver.stalled

    def leader(self) -> Peer | None:
        """The leader as this server knows it; None too where it was not heard for longer than an election waits.

        The library remembers a leader until it campaigns, which a server without a majority never does (pre-vote).
        """
        leader_id = self._core.leader_id
        if leader_id is None:
            return None
        if leader_id == self.self_peer.server_id:
            return self.self_peer if self.is_leader() else None
        if self._core.last_leader_contact_s(self._clock()) > self._settings.timings.election_max_s:
            return None
        return next((peer for peer in self._core.configuration() if peer.server_id == leader_id), None)

    def last_contact_s(self) -> float:
        """Seconds since a leader was heard; 0 at the leader; -1 if never."""
        return self._core.last_leader_contact_s(self._clock())

    async def wait_leadership_change(self) -> None:
        """Return at the next change of who leads as seen here, including to and from nobody."""
        await self._leadership_changed.wait()

    @property
    def ready(self) -> bool:
        """Whether this server leads and has applied the first entry of its own term."""
        return self._core.ready

    # --- members

    def configuration(self) -> list[Peer]:
        """The members in force, sorted by id; empty before bootstrap."""
        return self._core.configuration()

    @property
    def configuration_index(self) -> int:
        """Log position of the entry that made `configuration()`."""
        return self._core.configuration_index

    def match_indexes(self) -> dict[str, int]:
        """Server id -> the last log position it is known to have; at the leader for all, elsewhere for itself."""
        if not self._core.is_leader:
            return {self.self_peer.server_id: self._core.last_index}
        return {peer.server_id: self._core.match_index(peer.server_id) for peer in self._core.configuration()}

    async def add_peer(self, peer: Peer) -> None:
        """Add or re-address one voter; returns when that is committed."""
        await self._change("add", peer)

    async def remove_peer(self, server_id: str) -> None:
        """Remove one voter; returns when that is committed. The leader refuses to remove itself (H14)."""
        for peer in self._core.configuration():
            if peer.server_id == server_id:
                await self._change("rem", peer)
                return
        raise Refused(f'id "{server_id}" was not found in the Raft configuration')

    async def _change(self, operation: membership.Operation, peer: Peer) -> None:
        proposal = self._driver.proposals.open(b"", self._clock() + MEMBERSHIP_TIMEOUT_S)

        def act(now_s: float) -> None:
            try:
                self._core.propose_membership(operation, peer, proposal, now_s)
            except (NoLeader, Refused) as error:
                self._driver.proposals.refused(proposal, error)

        self._driver.do(act)
        await proposal.wait()

    async def transfer_leadership(self, server_id: str | None) -> str:
        """Hand over to `server_id` (None: the most caught-up follower); returns who leads then.

        Raises Refused where the target is not a connected member; NoLeader; OutcomeUnknown where it did not take over
        in time: it has been told to, and may yet.
        """
        proposal = self._driver.proposals.open(b"", self._clock() + MEMBERSHIP_TIMEOUT_S)

        def act(now_s: float) -> None:
            try:
                target = self._core.transfer_leadership(server_id, now_s)
                self._driver.proposals.committed(proposal, target)
            except (NoLeader, Refused) as error:
                self._driver.proposals.refused(proposal, error)

        self._driver.do(act)
        target = await proposal.wait()
        with trio.move_on_after(self._settings.timings.election_max_s * 3):
            while (leader := self.leader()) is None or leader.server_id == self.self_peer.server_id:
                await self.wait_leadership_change()
            return leader.server_id
        raise OutcomeUnknown(f"server {target} did not take over in time")

    # --- beginning

    def bootstrapped(self) -> bool:
        """Whether any configuration, or anything of a leader's log, has ever been on this disk."""
        return self._journal.last_index > membership.BASE_INDEX or self._core.snapshot is not None

    async def bootstrap(self, peers: list[Peer]) -> None:
        """Write the first configuration, the same on every server of it, and begin. Raises Refused if too late."""
        if self.bootstrapped():
            raise Refused("this server has a configuration already")
        proposal = Proposal(b"", 0.0)

        def act(now_s: float) -> None:
            if self.bootstrapped():
                proposal.settle(None, Refused("this server has a configuration already"))
                return
            # Whoever was in a term may have heard its leader and been counted for its lease: no fresh beginning then.
            fresh = self._core.term == 0
            for command, index, term in membership.bootstrap_entries(peers):
                self._journal.add(command, index, term)
            self._journal.sync()  # before anybody may campaign with it; nothing else is served yet
            self._core = self._make_core(None, fresh_bootstrap=fresh)
            self._driver.replace_core(self._core)
            self._transport.announce_all()
            self._transport.set_peers(self.configuration())
            proposal.settle(None, None)

        self._driver.do(act)
        await proposal.wait()
        _log.info("bootstrapped", servers=[peer.name for peer in peers])

    def _make_core(self, snapshot: SnapshotMeta | None, *, fresh_bootstrap: bool) -> Core:
        return Core(
            self_peer=self.self_peer,
            journal=self._journal,
            snapshot=snapshot,
            override=self._override,
            applier=self._applier,
            rng=self._rng,
            now=self._clock(),
            timings=self._settings.timings,
            fresh_bootstrap=fresh_bootstrap,
        )

    # --- snapshots

    async def snapshot_now(self) -> SnapshotMeta | None:
        """Take a snapshot of what is applied; None where nothing has been applied since the last one."""
        return await self._snapshotting.take(self)

    async def send_snapshot(self, index: int, term: int, stream: Any) -> None:
        """Stream the newest complete snapshot to a peer that was offered (index, term) or an older one."""
        await self._snapshotting.send(index, term, stream)

    def address_of(self, server_id: str) -> str | None:
        """Where a connected server answers RPC; a joiner knows its leader by this alone."""
        return self._transport.address_of(server_id)

    def configuration_at(self, index: int) -> tuple[list[Peer], int]:
        """The members in force when the log ended at `index`, and the entry that made them."""
        return self._core.configuration_at(index)

    async def between_rounds(self, action: Callable[[Core, float], object]) -> object:
        """Run `action(core, now_s)` between two rounds and return what it returns."""
        proposal = Proposal(b"", 0.0)
        self._driver.do(lambda now_s: proposal.settle(action(self._core, now_s), None))
        return await proposal.wait()

    # --- after each round

    def _on_round(self, outbox: Outbox) -> None:
        if outbox.peers_changed:
            self._transport.set_peers(self.configuration())
        if outbox.became is not None:
            level = "leader" if outbox.became is RoleChange.LEADER else "follower"
            _BECAME[level].increment()
            _log.info("role", now=level, term=self._core.term)
        # The library may name a leader before it counts as known: after a slow sync it was heard too long ago.
        leader_known = self.leader() is not None
        if outbox.leader_changed or outbox.became is not None or leader_known != self._leader_known:
            self._leader_known = leader_known
            self._leadership_changed.set()
            self._leadership_changed = trio.Event()
        if self._confirm_pending:
            self._end_confirms()
        journal = self._journal
        if self._snapshotting.wanted(
            self._settings.snapshots,
            applied_index=self._core.applied_index,
            log_count=len(journal),
            log_bytes=journal.bytes_total,
            now_s=self._clock(),
        ):
            self._start_task(self._snapshotting.take, self)

    def trailing_count(self) -> int:
        """How many entries to keep behind a snapshot."""
        journal = self._journal
        return self._settings.snapshots.trailing(log_count=len(journal), log_bytes=journal.bytes_total)

    def _start_task(self, function: Any, *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(function, *arguments)

    # --- facts

    def statistics(self) -> RaftStatistics:
        """All facts at one moment."""
        driver = self._driver
        return RaftStatistics(
            core=self._core.statistics(),
            proposals_pending_count=driver.proposals.pending_count,
            proposals_unknown_total=driver.proposals.unknown_total,
            proposals_discarded_total=driver.proposals.discarded_total,
            rounds_total=driver.rounds_total,
            syncs_total=driver.syncs_total,
            sync_p50_s=_quantile(driver.sync_s, 0.5),
            sync_p99_s=_quantile(driver.sync_s, 0.99),
            lag_p99_s=_quantile(driver.lags_s, 0.99),
            journal_bytes=self._journal.bytes_total,
            links=self._transport.statistics(),
        )


def _quantile(samples: Any, fraction: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else 0.0
