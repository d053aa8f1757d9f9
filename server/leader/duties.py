"""Everything that a leader does for the members of its cluster, put together."""

from collections.abc import Callable, Sequence
from functools import partial

import trio

from base.errors import MeshError
from base.log import get_logger
from fsm.commands.registry import AUTOPILOT, DEREGISTER, REGISTER, encode_command
from fsm.machine import Machine
from fsm.store import autopilot
from server.config import ServerConfig
from server.consensus import Consensus
from server.endpoints.status import raft_stats_of
from server.forwarding import Pool
from server.gossip import JOIN, GossipPool
from server.leader.autopiloting import Autopilot
from server.leader.catalog_view import open_catalog
from server.leader.changes import GroupChanges
from server.leader.expiring import SessionExpiry
from server.leader.loop import Duty, Leadership
from server.leader.reconciling import Reconciliation
from server.leader.tombstones import TombstoneDuty
from structs.autopilot import AutopilotCommand, AutopilotConfig
from structs.catalog import DeregisterCommand, RegisterCommand
from structs.cluster import Member, RaftStatsReply
from structs.event import NEW_LEADER
from structs.members import server_facts

PROPOSE_TIMEOUT_S = 10.0
RETRY_S = 1.0

_log = get_logger("server.leader")


class LeaderDuties:
    """The leadership of one server and what comes with it; `leadership.run` is the only task."""

    def __init__(
        self,
        *,
        config: ServerConfig,
        raft: Consensus,
        machine: Machine,
        pool: Pool,
        gossip: GossipPool,
        heartbeat_s: float,
        wall_unix_s: Callable[[], float],
        more: Sequence[Duty] = (),
    ) -> None:
        """Nothing runs yet. `more` are duties that have nothing to do with members."""
        self._config = config
        self._raft = raft
        self._machine = machine
        self._gossip = gossip
        changes = GroupChanges(raft, self_id=config.node_id)
        self.autopilot = Autopilot(
            datacenter=config.datacenter,
            self_id=config.node_id,
            raft=raft,
            pool=pool,
            gossip=gossip,
            changes=changes,
            own_stats=self._own_stats,
            settings=self._settings,
            heartbeat_s=heartbeat_s,
            wall_unix_s=wall_unix_s,
        )
        self.reconciliation = Reconciliation(
            self_name=config.node_name,
            datacenter=config.datacenter,
            raft=raft,
            gossip=gossip,
            autopilot=self.autopilot,
            changes=changes,
            catalog=partial(open_catalog, machine),
            encode=_encode,
        )
        self.autopilot.on_proven = self.reconciliation.look_again
        self.sessions = SessionExpiry(raft, machine)
        machine.session_listener = self.sessions
        duties: list[Duty] = [
            self.reconciliation.run,
            self.autopilot.run,
            self._write_settings,
            TombstoneDuty(raft, machine).run,
            self.sessions.run,
            *more,
        ]
        self.leadership = Leadership(raft, duties, on_gained=self._tell_everybody)

    def heard(self, kind: str, members: Sequence[Member]) -> None:
        """Take what gossip says of members of the LAN; a plain function."""
        self.reconciliation.heard(kind, members)
        if self._raft.is_leader() and any(server_facts(member) is not None for member in members):
            self.autopilot.look_now(clean_up=kind == JOIN)

    def _own_stats(self) -> RaftStatsReply:
        return raft_stats_of(self._raft, server_id=self._config.node_id, applied_index=self._machine.raft_index_visible)

    def _settings(self) -> AutopilotConfig:
        with self._machine.read() as view:
            return autopilot.get(view) or self._config.autopilot

    async def _write_settings(self) -> None:
        """Write what autopilot was configured with, unless a leader has done so before."""
        command = AutopilotCommand(config=self._config.autopilot, only_if_absent=True)
        while True:
            with self._machine.read() as view:
                if autopilot.get(view) is not None:
                    return
            try:
                await self._raft.propose(encode_command(AUTOPILOT, command), timeout_s=PROPOSE_TIMEOUT_S)
            except MeshError as error:
                _log.debug("autopilot's configuration not written yet", error=str(error))
            await trio.sleep(RETRY_S)

    def _tell_everybody(self) -> None:
        """Agents answer it by comparing what they have registered with what the servers know."""
        try:
            self._gossip.fire(NEW_LEADER, self._config.node_name.encode(), coalesce=False)
        except MeshError as error:
            _log.warn("nobody was told of the new leader", error=str(error))


def _encode(command: RegisterCommand | DeregisterCommand) -> bytes:
    number = REGISTER if isinstance(command, RegisterCommand) else DEREGISTER
    return encode_command(number, command)
