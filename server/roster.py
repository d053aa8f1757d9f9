"""Sans-IO: who is there, as far as hellos tell.

A member is *alive* while it was heard within ALIVE_S, directly or through somebody who heard it directly; then
*failed*. Who says that it leaves is *leaving*, and *left* once it falls silent. What somebody else says about a
member counts only where that somebody heard it itself, so that a rumour cannot keep a dead member alive.

Gossip replaces this table; it stays small on purpose.
"""

from base.codec import Record
from base.errors import RateLimited, Refused
from structs.cluster import Member, MemberStatus

ALIVE_S = 3.0
"""Servers and agents say hello about once a second: three in a row may be lost."""
FORGET_S = 72 * 3600.0
"""Failed members stay visible this long, left ones LEFT_S."""
LEFT_S = 24 * 3600.0
MEMBERS_MAX = 10_000


class Row(Record, frozen=True, kw_only=True):
    """One member and when it was last heard (monotonic seconds; directly, and at all)."""

    member: Member
    heard_s: float
    heard_directly_s: float
    leaving: bool = False


def node_id(member: Member) -> str:
    """The id of the member's data directory."""
    return member.tags.get("id", "")


class Roster:
    """The member table of one server, itself included."""

    def __init__(self, self_member: Member) -> None:
        self._self = self_member
        self._rows: dict[str, Row] = {}

    @property
    def self_member(self) -> Member:
        """This server as the others see it."""
        return self._self

    def heard(self, member: Member, *, leaving: bool, now_s: float) -> None:
        """A member spoke to us. Raises Refused if its node id is in use elsewhere, RateLimited if we are full."""
        key = node_id(member)
        if key == node_id(self._self):
            if member.rpc_address != self._self.rpc_address or member.name != self._self.name:
                raise Refused(_id_conflict(key, self._self))
            return
        row = self._rows.get(key)
        if row is None and len(self._rows) >= MEMBERS_MAX:
            raise RateLimited(f"more than {MEMBERS_MAX} members")
        if (
            row is not None
            and _moved(row.member, member)
            and not row.leaving
            and now_s - row.heard_directly_s < ALIVE_S
        ):
            raise Refused(_id_conflict(key, row.member))
        if row is None and member.is_server:
            self._take_address(member.rpc_address)
        self._rows[key] = Row(member=member, heard_s=now_s, heard_directly_s=now_s, leaving=leaving)

    def _take_address(self, address: str) -> None:
        """Forget the server that was there before: two cannot listen on one port, so it has lost its data directory."""
        for key, row in list(self._rows.items()):
            if row.member.is_server and row.member.rpc_address == address:
                del self._rows[key]

    def heard_of(self, members: list[Member], now_s: float) -> None:
        """Somebody told us whom it has heard directly. What we heard ourselves lately counts more."""
        for member in members:
            key = node_id(member)
            row = self._rows.get(key)
            if not key or key == node_id(self._self) or (row is None and len(self._rows) >= MEMBERS_MAX):
                continue
            leaving = member.status in (MemberStatus.LEAVING, MemberStatus.LEFT)
            if row is not None and (now_s - row.heard_directly_s < ALIVE_S or (leaving and row.leaving)):
                continue  # and a goodbye is not prolonged by being passed on
            directly_s = row.heard_directly_s if row is not None else now_s - ALIVE_S
            self._rows[key] = Row(
                member=member,
                heard_s=now_s,
                heard_directly_s=directly_s,
                leaving=leaving,
            )

    def members(self, now_s: float) -> list[Member]:
        """Everybody, ourselves first, then by name, with the status of now."""
        others = sorted(self._rows.values(), key=lambda row: (row.member.name, node_id(row.member)))
        return [self._self, *(_with_status(row.member, self._status(row, now_s)) for row in others)]

    def heard_directly(self, now_s: float) -> list[Member]:
        """Ourselves and whom we heard lately with our own ears: what we pass on."""
        rows = [row for row in self._rows.values() if now_s - row.heard_directly_s < ALIVE_S]
        return [self._self, *(_with_status(row.member, self._status(row, now_s)) for row in rows)]

    def servers(self, now_s: float, *, alive_only: bool = False) -> list[Member]:
        """The other servers, by node id."""
        return [
            row.member
            for _, row in sorted(self._rows.items())
            if row.member.is_server and (not alive_only or self._status(row, now_s) is MemberStatus.ALIVE)
        ]

    def name_of(self, server_id: str) -> str | None:
        """The name of the node with this id."""
        if server_id == node_id(self._self):
            return self._self.name
        row = self._rows.get(server_id)
        return row.member.name if row is not None else None

    def set_self(self, member: Member) -> None:
        """Our own tags or status changed."""
        self._self = member

    def sweep(self, now_s: float) -> None:
        """Forget members that failed or left long ago."""
        for key, row in list(self._rows.items()):
            if now_s - row.heard_s > (LEFT_S if row.leaving else FORGET_S):
                del self._rows[key]

    @staticmethod
    def _status(row: Row, now_s: float) -> MemberStatus:
        heard_lately = now_s - row.heard_s < ALIVE_S
        if row.leaving:
            return MemberStatus.LEAVING if heard_lately else MemberStatus.LEFT
        return MemberStatus.ALIVE if heard_lately else MemberStatus.FAILED


def _moved(before: Member, after: Member) -> bool:
    return (
        before.name != after.name
        or before.address != after.address
        or before.tags.get("port") != after.tags.get("port")
    )


def _id_conflict(key: str, holder: Member) -> str:
    return f"node id {key} is also used by {holder.name} at {holder.rpc_address}"


def _with_status(member: Member, status: MemberStatus) -> Member:
    if member.status is status:
        return member
    return Member(name=member.name, address=member.address, port=member.port, tags=member.tags, status=status)
