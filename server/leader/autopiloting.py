"""Runs the autopilot: asks the servers how they are, lets those vote who stood by for long enough, clears up.

Acts only: what is made of the answers is decided in `autopilot.py`.
"""

from collections.abc import Callable

import trio

from base.limits import Turns
from base.log import get_logger
from server.consensus import Consensus
from server.forwarding import Pool
from server.gossip import GossipPool
from server.leader.autopilot import (
    Assessed,
    assess,
    bootstrap_conflict,
    health_reply,
    observe,
    plan_promotion,
    plan_removal,
)
from server.leader.changes import GroupChanges
from server.leader.probing import Prober
from server.members import servers_of
from structs.autopilot import SECOND, AutopilotConfig, ServerHealthReply
from structs.cluster import Peer, RaftStatsReply
from structs.members import ServerFacts

HEALTH_INTERVAL_S = 2.0
CLEANUP_INTERVAL_S = 10.0
KICK_SPACING_S = 0.1
"""Least time between two rounds: news of members come in bursts."""

STRANGERS_MAX = 32
"""Members asked in one round of those that say they are servers and have not proved it yet: anybody may say so."""

NO_HEALTH = ServerHealthReply(healthy=False, failure_tolerance=0, servers=None)

_log = get_logger("server.autopilot")


class Autopilot:
    """One server's autopilot; `run` is a duty of its leadership, the rest tells what the last round found."""

    def __init__(
        self,
        *,
        datacenter: str,
        self_id: str,
        raft: Consensus,
        pool: Pool,
        gossip: GossipPool,
        changes: GroupChanges,
        own_stats: Callable[[], RaftStatsReply],
        settings: Callable[[], AutopilotConfig],
        heartbeat_s: float,
        wall_unix_s: Callable[[], float],
        on_proven: Callable[[], None] = lambda: None,
    ) -> None:
        """`settings` returns the configuration in force; `on_proven` is called when a member has proved a server."""
        self._datacenter = datacenter
        self._self_id = self_id
        self._raft = raft
        self._prober = Prober(pool)
        self._gossip = gossip
        self._changes = changes
        self._own_stats = own_stats
        self._settings = settings
        self._heartbeat_s = heartbeat_s
        self._wall_unix_s = wall_unix_s
        self.on_proven = on_proven
        self._rows: dict[str, Assessed] = {}
        self._health = NO_HEALTH
        self._proven: frozenset[str] = frozenset()
        self._kick = trio.Event()
        self._cleanup_at_s = 0.0
        self._looked_s = 0.0
        """When the answers of the last round were in."""
        self._conflicts: frozenset[str] = frozenset()
        self._strangers = Turns(STRANGERS_MAX)

    # What is known

    def health(self) -> ServerHealthReply:
        """How the servers were in the last round; empty before the first one of this leadership."""
        return self._health

    def standing_by(self) -> list[Peer]:
        """Servers that may vote once they have been fit for long enough."""
        return [row.seen.peer for row in self._rows.values() if not row.seen.voter and row.seen.stats is not None]

    def proven(self) -> frozenset[str]:
        """Ids of the members that are servers beyond doubt: those of the configuration, and who proved it."""
        return self._proven | {self._self_id} | {peer.server_id for peer in self._raft.configuration()}

    async def proves(self, peer: Peer) -> bool:
        """Ask a server whether it is at this address; at most `PROBE_TIMEOUT_S`."""
        return peer.server_id == self._self_id or await self._prober.ask(peer) is not None

    async def stays(self, peer: Peer) -> bool:
        """Ask a server whether it is there and does not leave; at most `PROBE_TIMEOUT_S`."""
        stats = await self._prober.ask(peer)
        return stats is not None and not stats.leaving

    def look_now(self, *, clean_up: bool = False) -> None:
        """Servers have come, gone or changed: begin the next round at once."""
        if clean_up:
            self._cleanup_at_s = 0.0
        self._kick.set()

    # The duty

    async def run(self) -> None:
        """Look after the servers until cancelled."""
        self._rows, self._health, self._proven = {}, NO_HEALTH, frozenset()
        # Who seems dead to a leader that has just begun may only not have been heard yet.
        self._cleanup_at_s = trio.current_time() + CLEANUP_INTERVAL_S
        while True:
            self._kick = trio.Event()
            began_s = trio.current_time()
            await self._look()
            await self._promote()
            if trio.current_time() >= self._cleanup_at_s:
                self._cleanup_at_s = trio.current_time() + CLEANUP_INTERVAL_S
                await self._clean_up()
            await trio.sleep(KICK_SPACING_S)
            with trio.move_on_at(self._next_s(began_s)):
                await self._kick.wait()

    def _next_s(self, began_s: float) -> float:
        """When the next round begins: sooner where somebody's time to stand by is over before."""
        stable_s = self._settings().server_stabilization_time_ns / SECOND
        due_s = [row.stable_since_s + stable_s for row in self._rows.values() if not row.seen.voter]
        return min([began_s + HEALTH_INTERVAL_S, *(at_s for at_s in due_s if at_s > self._looked_s)])

    def _servers(self) -> list[ServerFacts]:
        return servers_of(self._gossip.members(), self._datacenter)

    async def _look(self) -> None:
        admitted = self._in_turn(self._without_conflicts(self._servers()))
        asked = observe(self._raft.configuration(), admitted, {}, leader_id=self._self_id)
        stats = await self._prober.ask_all(row.peer for row in asked if row.peer.server_id != self._self_id)
        stats[self._self_id] = self._own_stats()
        now_s = self._looked_s = trio.current_time()
        rows = observe(self._raft.configuration(), admitted, stats, leader_id=self._self_id)
        assessed = assess(rows, self._rows, self._settings(), heartbeat_s=self._heartbeat_s, now_s=now_s)
        self._tell_of(assessed)
        self._rows = {row.seen.peer.server_id: row for row in assessed}
        # Whoever only claims to be a server is none, so operators are not shown one.
        shown = [row for row in assessed if row.seen.voter or row.seen.stats is not None]
        self._health = health_reply(shown, now_s=now_s, now_unix_s=self._wall_unix_s())
        known = self.proven()
        self._proven = frozenset(stats)
        if self._proven - known:
            self.on_proven()

    def _without_conflicts(self, servers: list[ServerFacts]) -> list[ServerFacts]:
        """Leave out who forms a cluster of its own: it has a log of its own, which must not meet ours."""
        voters = {peer.server_id for peer in self._raft.configuration()}
        conflicts = {
            facts.server_id: f"{facts.name} and {other}"
            for facts in servers
            if facts.server_id not in voters and (other := bootstrap_conflict(facts, servers)) is not None
        }
        for server_id, names in conflicts.items():
            if server_id not in self._conflicts:
                _log.error("two servers are in bootstrap mode, so the second is not added", servers=names)
        self._conflicts = frozenset(conflicts)
        return [facts for facts in servers if facts.server_id not in conflicts]

    def _in_turn(self, servers: list[ServerFacts]) -> list[ServerFacts]:
        """Leave out some of those who never answered, so that all together they cost a round no more than a few do."""
        known = self.proven()
        asked = known.union(self._strangers.pick(each.server_id for each in servers if each.server_id not in known))
        return [facts for facts in servers if facts.server_id in asked]

    def _tell_of(self, assessed: list[Assessed]) -> None:
        for row in assessed:
            last = self._rows.get(row.seen.peer.server_id)
            is_new = last is None or last.seen.voter or last.seen.stats is None
            if not row.seen.voter and row.seen.stats is not None and is_new:
                _log.info("server stands by", server=row.seen.peer.name, address=row.seen.peer.address)
            elif last is not None and row.seen.voter and last.healthy != row.healthy:
                _log.info("server health", server=row.seen.peer.name, healthy=row.healthy)

    async def _promote(self) -> None:
        """Let those vote whose time has come; the first that cannot be added ends the round."""
        while True:
            rows, configuration, servers = list(self._rows.values()), self._raft.configuration(), self._servers()
            promotion = plan_promotion(rows, configuration, servers, self._settings(), now_s=trio.current_time())
            if promotion is None:
                return
            displaced = promotion.displaced
            if displaced is not None and not await self._changes.remove(displaced, "replaced by another id"):
                return
            if not await self._changes.add(promotion.peer):
                return
            self._cleanup_at_s = 0.0
            await self._look()

    async def _clean_up(self) -> None:
        servers = self._servers()
        removal = plan_removal(list(self._rows.values()), servers, self._settings(), now_s=trio.current_time())
        if removal is None:
            return
        for name in removal.names:
            _log.info("failed server is removed", server=name)
            self._gossip.force_leave(name)
        gone = {facts.server_id for facts in servers if facts.name in removal.names}
        failed = [peer for peer in self._raft.configuration() if peer.server_id in gone]
        for peer in [*failed, *removal.peers]:
            await self._changes.remove(peer, "failed" if peer in failed else "unknown to gossip")
