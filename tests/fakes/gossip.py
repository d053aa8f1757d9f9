"""FakeGossip: a pool whose members a test moves by hand. A real pool passes the same test (`test_gossip_pools.py`)."""

import base64

import trio
from msgspec.structs import replace

from base.errors import InvalidRequest
from gossip.config import USER_EVENT_BYTES_MAX
from gossip.instructions import KeyringResult
from server.gossip import FAILED, JOIN, LEAVE, REAP, UPDATE, MembersHandler
from structs.cluster import Member, MemberStatus
from structs.coordinate import Coordinate


class FakeGossip:
    """One member's pool; `network` ties several together, so that all see the same."""

    def __init__(self, self_member: Member, network: "FakeNetwork | None" = None) -> None:
        self._name = self_member.name
        self.network = network or FakeNetwork()
        self.network.pools.append(self)
        self.handlers: list[MembersHandler] = []
        self.fired: list[tuple[str, bytes]] = []
        self.joined: list[str] = []
        self.left = False
        self.network.show(self_member)

    def members(self) -> list[Member]:
        return list(self.network.members.values())

    def self_member(self) -> Member:
        return self.network.members[self._name]

    def set_tags(self, tags: dict[str, str]) -> None:
        self.network.show(replace(self.self_member(), tags=tags))

    def subscribe(self, handler: MembersHandler) -> None:
        self.handlers.append(handler)

    async def join(self, addresses: list[str]) -> int:
        await trio.lowlevel.checkpoint()
        self.joined += addresses
        return len(addresses)

    async def leave(self) -> None:
        await trio.lowlevel.checkpoint()
        self.left = True
        self.network.set_status(self._name, MemberStatus.LEFT)

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        member = self.network.members.get(name)
        if member is None or member.status not in (MemberStatus.FAILED, MemberStatus.LEFT):
            return
        if member.status is MemberStatus.FAILED:
            self.network.set_status(name, MemberStatus.LEFT)
        if prune:
            self.network.reap(name)

    def coordinate(self) -> Coordinate | None:
        return self.network.coordinates.get(self._name)

    def coordinates(self) -> dict[str, Coordinate]:
        return {name: place for name, place in self.network.coordinates.items() if name != self._name}

    async def change_keys(self, verb: str, key: bytes = b"", *, relay_factor: int = 0) -> KeyringResult:
        """One keyring that all members have, without the rules of a real one."""
        await trio.lowlevel.checkpoint()
        keys = self.network.keys
        if verb == "install" and key not in keys:
            keys.append(key)
        elif verb == "remove" and key in keys:
            keys.remove(key)
        count = len(self.network.members)
        found = {base64.b64encode(each).decode(): count for each in keys} if verb == "list" else {}
        return KeyringResult(
            nodes_count=count, answers_count=count, errors_count=0, messages={}, keys=found, primary_keys={}, error=""
        )

    def fire(self, name: str, payload: bytes, *, coalesce: bool) -> None:
        if len(name.encode()) + len(payload) > USER_EVENT_BYTES_MAX:
            raise InvalidRequest(f"user event exceeds limit of {USER_EVENT_BYTES_MAX} bytes")
        self.fired.append((name, payload))


class FakeNetwork:
    """What everybody sees; changes are told to all handlers at once."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.coordinates: dict[str, Coordinate] = {}
        self.keys: list[bytes] = []
        self.pools: list[FakeGossip] = []

    def show(self, member: Member) -> None:
        """A member is there, perhaps with other tags or at another address."""
        before = self.members.get(member.name)
        self.members[member.name] = member
        if before == member:
            return
        known = before is not None and before.status is MemberStatus.ALIVE
        self._tell(UPDATE if known else JOIN, [member])

    def set_status(self, name: str, status: MemberStatus) -> None:
        """Somebody failed, is leaving, or left."""
        self.members[name] = replace(self.members[name], status=status)
        kind = {MemberStatus.FAILED: FAILED, MemberStatus.LEFT: LEAVE, MemberStatus.ALIVE: JOIN}.get(status)
        if kind is not None:
            self._tell(kind, [self.members[name]])

    def reap(self, name: str) -> None:
        """Gossip forgets a member."""
        self._tell(REAP, [self.members.pop(name)])

    def _tell(self, kind: str, members: list[Member]) -> None:
        for pool in self.pools:
            for handler in pool.handlers:
                handler(kind, members)
