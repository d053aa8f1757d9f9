"""Keeps the catalog and the configuration in step with gossip while this server leads.

A full pass at the beginning and every `PASS_INTERVAL_S`; in between each member that gossip speaks of, from a queue of
`QUEUE_MAX` places. What does not fit asks for a full pass instead: a burst of joins costs one look at everybody.
Of a member that is spoken of several times only what it is at last counts. Writes go to the log `WRITES_MAX` at a time,
which it syncs and sends together.

Acts only: what is to be done is decided in `reconcile.py`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import trio

from base.errors import InvalidRequest, MeshError
from base.log import get_logger
from fsm.commands.refusal import Refusal
from server.consensus import Consensus, Pending
from server.gossip import REAP, GossipPool
from server.leader.autopiloting import Autopilot
from server.leader.changes import GroupChanges
from server.leader.reconcile import (
    Action,
    CatalogView,
    Deregister,
    Readdress,
    Register,
    RemoveServer,
    Situation,
    plan_member,
    plan_members,
    plan_unknown,
)
from server.members import peers_alive
from structs.catalog import DeregisterCommand, RegisterCommand
from structs.cluster import Member, Peer
from structs.members import node_id

PASS_INTERVAL_S = 60.0
QUEUE_MAX = 32
SLICE_COUNT = 256
"""Members looked at in one go, some 10 ms: whoever asks this server something gets a turn in between."""
PASS_SHARE = 4
"""While members keep coming, at most one part in so many of the time goes into looking at everybody."""
PASS_PAUSE_S_MAX = 10.0
WRITES_MAX = 32
"""Proposals under way at a time; a hundred agents that join at once take a handful of rounds of the log."""
WRITE_TIMEOUT_S = 10.0
READDRESS_ATTEMPTS_MAX = 10
"""A server that has moved is looked for so often, `RETRY_S` apart, before only the periodic pass looks for it."""
OBJECTION_S = 3.0
"""A server that is said to have left, still answers and does not say itself that it leaves has so long to object: else
one forged packet would take a healthy server's vote."""
BARRIER_TIMEOUT_S = 120.0
RETRY_S = 1.0
"""After a failure everything is looked at again, not sooner than this."""

_log = get_logger("server.reconcile")

Encode = Callable[[RegisterCommand | DeregisterCommand], bytes]


class Reconciliation:
    """One server's reconciliation; `run` is a duty of its leadership, `heard` is told what gossip says at any time."""

    def __init__(
        self,
        *,
        self_name: str,
        datacenter: str,
        raft: Consensus,
        gossip: GossipPool,
        autopilot: Autopilot,
        changes: GroupChanges,
        catalog: Callable[[], AbstractContextManager[CatalogView]],
        encode: Encode,
    ) -> None:
        """`catalog` opens the catalog as it is now; `encode` makes the logged form of a command."""
        self._self_name = self_name
        self._datacenter = datacenter
        self._raft = raft
        self._gossip = gossip
        self._autopilot = autopilot
        self._changes = changes
        self._catalog = catalog
        self._encode = encode
        self._queue: dict[str, Member | None] = {}
        """Name -> the member as it was last if gossip has forgotten it, else None: it is looked up."""
        self._unproven: dict[str, int] = {}
        """How often a server of the configuration was not found at the address that it announces."""
        self._said_left_s: dict[str, float] = {}
        """When a server of the configuration that is there was first said to have left."""
        self._runs = False
        self._wants_pass = False
        self._pass_allowed_s = -math.inf
        self._wake = trio.Event()
        self.passes_total = 0
        self.writes_total = 0
        self.in_flight_max = 0

    def heard(self, kind: str, members: Sequence[Member]) -> None:
        """Take what gossip says; a plain function, bounded, and nothing while another server leads."""
        if not self._runs:
            return
        for member in members:
            self._unproven.pop(node_id(member), None)
            self._said_left_s.pop(node_id(member), None)
            if member.name in self._queue or len(self._queue) < QUEUE_MAX or self._is_voter(member):
                self._queue[member.name] = member if kind == REAP else None
            else:
                self._wants_pass = True  # one that was reaped is then found as a node that gossip does not know
        self._wake.set()

    def _is_voter(self, member: Member) -> bool:
        """There are few; and one that is forgotten can't be found by a look at everybody."""
        return any(peer.server_id == node_id(member) for peer in self._raft.configuration())

    def look_again(self) -> None:
        """Something besides gossip has changed, such as who proved to be a server: look at everybody soon."""
        self._wants_pass = True
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self._queue.clear()
        self._unproven.clear()
        self._said_left_s.clear()
        self._runs, self._wants_pass = True, True
        due_s = trio.current_time() + PASS_INTERVAL_S
        try:
            while True:
                self._wake = trio.Event()
                now_s = trio.current_time()
                self._wants_pass = self._wants_pass or now_s >= due_s
                if self._wants_pass and now_s >= self._pass_allowed_s:
                    due_s = now_s + PASS_INTERVAL_S
                    done = await self._pass()
                elif self._queue:
                    done = await self._work_off()
                else:
                    with trio.move_on_at(self._pass_allowed_s if self._wants_pass else due_s):
                        await self._wake.wait()
                    continue
                if not done:
                    self._wants_pass = True
                    await trio.sleep(RETRY_S)
        finally:
            self._runs = False
            self._queue.clear()

    async def _pass(self) -> bool:
        try:
            await self._raft.confirm_leadership(timeout_s=BARRIER_TIMEOUT_S)
        except MeshError as error:
            _log.debug("not reconciled", error=str(error))
            return False
        self.passes_total += 1
        reaped = [member for member in self._queue.values() if member is not None]
        self._queue.clear()
        self._wants_pass = False
        members, situation = self._gossip.members(), self._situation()
        began_s = trio.current_time()
        known = {member.name for member in members}
        gone = [member for member in reaped if member.name not in known]
        done = True
        # Others wait for this loop: so many members are looked at and written, and then somebody else has a turn.
        for first in range(0, len(members), SLICE_COUNT):
            with self._catalog() as catalog:
                actions = plan_members(members[first : first + SLICE_COUNT], catalog, situation)
            done = await self._carry_out(actions) and done
            await trio.lowlevel.checkpoint()
        with self._catalog() as catalog:
            actions = plan_members(gone, catalog, situation, reaped=True)
            actions += plan_unknown(self._gossip.members(), catalog, situation)
        if not await self._carry_out(actions):
            done = False
            self._keep_reaped(gone)
        now_s = trio.current_time()
        self._pass_allowed_s = now_s + min((PASS_SHARE - 1) * (now_s - began_s), PASS_PAUSE_S_MAX)
        return done

    async def _work_off(self) -> bool:
        queue, self._queue = self._queue, {}
        now = {member.name: member for member in self._gossip.members()}
        situation = self._situation()
        actions: list[Action] = []
        with self._catalog() as catalog:
            for name, last in queue.items():
                if name in now:
                    actions += plan_member(now[name], catalog, situation)
                elif last is not None:
                    actions += plan_member(last, catalog, situation, reaped=True)
        done = await self._carry_out(actions)
        if not done:
            self._keep_reaped(member for name, member in queue.items() if member is not None and name not in now)
        return done

    def _keep_reaped(self, members: Iterable[Member]) -> None:
        """Something went wrong: voters that gossip has forgotten wait for the next pass, which could not find them."""
        for member in members:
            if self._is_voter(member):
                self._queue.setdefault(member.name, member)

    def _situation(self) -> Situation:
        return Situation(
            self_name=self._self_name,
            datacenter=self._datacenter,
            configuration=self._raft.configuration(),
            proven=self._autopilot.proven(),
            alive=peers_alive(self._gossip.members(), self._datacenter),
        )

    async def _carry_out(self, actions: Sequence[Action]) -> bool:
        """Do it all; returns whether nothing went wrong. Writes first: who is not there must stop being recommended."""
        commands = [action.command for action in actions if isinstance(action, Register | Deregister)]
        # Two plans may name one node twice; the log takes them in this order, and each is right at its time.
        done = True
        for first in range(0, len(commands), WRITES_MAX):
            done = await self._write(commands[first : first + WRITES_MAX]) and done
        for action in actions:
            if isinstance(action, RemoveServer):
                done = await self._remove(action.peer) and done
            elif isinstance(action, Readdress):
                done = await self._readdress(action.peer) and done
        return done

    async def _remove(self, peer: Peer) -> bool:
        """Take out a server that has left, as gossip says. Others may say so of a healthy one, which then objects."""
        said_s = self._said_left_s.setdefault(peer.server_id, trio.current_time())
        if trio.current_time() - said_s < OBJECTION_S and await self._autopilot.stays(peer):
            _log.warn("a server has left, says gossip, but it is there", server=peer.name, address=peer.address)
            return False
        self._said_left_s.pop(peer.server_id, None)
        return await self._changes.remove(peer, "left")

    async def _readdress(self, peer: Peer) -> bool:
        """Give a server the address that it announces, if it is there; who has just started may need a moment."""
        if await self._autopilot.proves(peer):
            self._unproven.pop(peer.server_id, None)
            return await self._changes.add(peer)
        attempts_count = self._unproven[peer.server_id] = self._unproven.get(peer.server_id, 0) + 1
        if attempts_count == READDRESS_ATTEMPTS_MAX:
            _log.warn("a server is not where it says", server=peer.name, address=peer.address, id=peer.server_id)
        return attempts_count >= READDRESS_ATTEMPTS_MAX  # then only with the next pass, or when gossip speaks of it

    def _encoded(self, command: RegisterCommand | DeregisterCommand) -> bytes:
        """Return what is logged, b"" for what never can be: one member's nonsense must not cost the others anything."""
        try:
            return self._encode(command)
        except InvalidRequest as error:
            _log.warn("a member cannot be written to the catalog", node=command.node, reason=str(error))
            return b""

    async def _write(self, commands: Sequence[RegisterCommand | DeregisterCommand]) -> bool:
        pending: list[tuple[str, Pending]] = []
        done = True
        self.in_flight_max = max(self.in_flight_max, len(commands))
        try:
            for command in commands:
                data = self._encoded(command)
                if data:
                    pending.append((command.node, self._raft.submit(data, timeout_s=WRITE_TIMEOUT_S)))
        except MeshError as error:
            _log.debug("not written", error=str(error))
            done = False
        for name, proposal in pending:
            try:
                result = await proposal.wait()
            except MeshError as error:
                _log.debug("not written", node=name, error=str(error))
                done = False
                continue
            self.writes_total += 1
            if isinstance(result, Refusal):
                _log.warn("the catalog refused a member", node=name, reason=result.text)
        return done
