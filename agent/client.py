"""A client agent's way to the servers: gossip says who they are, RPC asks them.

Who leads is heard from the event that a new leader fires, and asked for where it is not known: an agent works without
knowing it, but every write takes one hop more.
"""

import random
from collections.abc import Callable
from typing import Final

import trio

from agent.config.runtime import RuntimeConfig
from agent.delegate import RemoteDelegate
from agent.gossip import Pool
from agent.servers import ServerList
from agent.wires import Wires
from base import codec
from base.errors import MeshError
from base.limits import TokenBucket
from base.log import get_logger
from gossip.instructions import UserEventArrived
from structs.cluster import Empty, LeaderReply, Member
from structs.event import NEW_LEADER
from structs.members import callable_server

ASK_LEADER_S: Final = 0.1
"""Pause before the leader is asked for again, doubled after each time that nobody knew."""
ASK_LEADER_S_MAX: Final = 1.0
ASK_TIMEOUT_S: Final = 2.0

_log = get_logger("agent")


class ClientLink:
    """Keeps the list of servers; `run` owns the tasks."""

    def __init__(self, config: RuntimeConfig, *, pool: Wires, gossip: Pool, rng: random.Random) -> None:
        self._datacenter = config.datacenter
        self._pool = pool
        self._gossip = gossip
        self.servers = ServerList(rng)
        limits = config.limits
        rate = None
        if limits.rpc_rate_per_s >= 0:
            rate = TokenBucket(rate_per_s=limits.rpc_rate_per_s, burst=limits.rpc_burst_max, now_s=trio.current_time())
        self.delegate = RemoteDelegate(
            pool=pool, servers=self.servers, rng=rng, hold_s=config.performance.rpc_hold_timeout_s, rate=rate
        )
        self._leader_lost = trio.Event()
        self._hearers: list[Callable[[], None]] = []
        gossip.subscribe(self._members_changed)
        gossip.subscribe_events(self._event_arrived)

    def statistics(self) -> dict[str, dict[str, str]]:
        """Return sections of `Stats`."""
        return {"consul": {"known_servers": str(len(self.servers)), "server": "false"}}

    def subscribe(self, server_up: Callable[[], None]) -> None:
        """Call `server_up` when the first server is there, and with every new leader."""
        self._hearers.append(server_up)

    def _tell_of_server(self) -> None:
        for server_up in self._hearers:
            server_up()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after the list until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.delegate.run)
            nursery.start_soon(self._rebalance)
            nursery.start_soon(self._find_leader)
            task_status.started()

    # What gossip says

    def _members_changed(self, kind: str, members: list[Member]) -> None:
        before = set(self.servers.addresses)
        self._pool.learn(self._gossip.members())
        self.servers.update([member.rpc_address for member in self._gossip.members() if self._is_usable(member)])
        for address in sorted(before - set(self.servers.addresses)):
            self._pool.doubt(address)
        if self.servers.leader == "":
            self._leader_lost.set()
        if not before and len(self.servers):
            self._tell_of_server()

    def _is_usable(self, member: Member) -> bool:
        facts = callable_server(member)
        return facts is not None and facts.datacenter == self._datacenter

    def _event_arrived(self, event: UserEventArrived) -> None:
        if event.name != NEW_LEADER:
            return
        self._tell_of_server()
        name = event.payload.decode("utf-8", "replace")
        before = self.servers.leader
        address = next((member.rpc_address for member in self._gossip.members() if member.name == name), "")
        if address and address != before:
            if before:
                self._pool.doubt(before)  # it may stand still; calls under way would wait long to find that out
            self.servers.set_leader(address)

    # Tasks

    async def _rebalance(self) -> None:
        while True:
            await trio.sleep(self.servers.rebalance_pause_s(len(self._gossip.members())))
            self.servers.shuffle()
            for _ in range(len(self.servers)):
                address = self.servers.pick(leader_wanted=False)
                if address is None or await self._answers(address):
                    break
                self.servers.failed(address)

    async def _answers(self, address: str) -> bool:
        try:
            await self._pool.call(address, "Status.Ping", codec.encode(Empty()), timeout_s=ASK_TIMEOUT_S)
        except MeshError as error:
            _log.debug("server does not answer", address=address, error=str(error))
            return False
        return True

    async def _find_leader(self) -> None:
        pause_s = ASK_LEADER_S
        while True:
            if self.servers.leader or not len(self.servers):
                pause_s = ASK_LEADER_S
                self._leader_lost = trio.Event()
                with trio.move_on_after(ASK_LEADER_S_MAX):
                    await self._leader_lost.wait()
                continue
            address = self.servers.pick(leader_wanted=False)
            if address is not None:
                await self._ask_leader(address)
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, ASK_LEADER_S_MAX)

    async def _ask_leader(self, address: str) -> None:
        try:
            data = await self._pool.call(address, "Status.Leader", codec.encode(Empty()), timeout_s=ASK_TIMEOUT_S)
            self.servers.set_leader(codec.decode(LeaderReply, data).address)
        except MeshError as error:
            self.servers.failed(address)
            _log.debug("server does not answer", address=address, error=str(error))
