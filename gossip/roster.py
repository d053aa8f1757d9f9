"""Sans-IO: the members as the application sees them: with a status that says why somebody is gone.

The lower layer only knows that a node is dead. Whether it left or failed is told by intents, which carry Lamport
times: an intent that is not newer than the last one about a member says nothing. Source: wire format, section 8.1.
"""

from collections.abc import Callable
from functools import lru_cache

from base.errors import InvalidRequest, TooLarge
from gossip.clocks import LamportClock
from gossip.context import Context
from gossip.fields import text_for_people
from gossip.instructions import Member, MembersChanged, Status
from gossip.intents import RecentIntents
from gossip.layers import Node, State
from gossip.serf_messages import decode_tags

TAGS_CACHED_MAX = 4096
LEAVING_S_MAX = 60.0
"""Who leaves is gone after two farewells of at most five seconds each, and the time for the news to spread."""


@lru_cache(TAGS_CACHED_MAX)
def tags_of(meta: bytes) -> dict[str, str]:
    """Return the tags in meta data; none if they make no sense. Shared between members: not to be changed."""
    try:
        tags = decode_tags(meta)
    except (InvalidRequest, TooLarge):
        return {}
    return {text_for_people(key): text_for_people(value) for key, value in tags.items()}


class Known:
    """One member: what the lower layer says of it, and what we make of that."""

    __slots__ = ("gone_s", "is_from_table", "node", "status", "status_time")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.status = Status.ALIVE
        self.status_time = 0
        """Lamport time of the last intent about it."""
        self.is_from_table = False
        """Only a table told of that time. It says that the member joined then, but it may have left."""
        self.gone_s = 0.0
        """When it left or failed."""

    def member(self) -> Member:
        """Return what the application is told."""
        return member_of(self.node, self.status)

    def told_time(self) -> int:
        """Return the Lamport time that a table may tell: who reads it there takes it for that of a join intent."""
        return max(0, self.status_time - 1) if self.status is Status.LEAVING else self.status_time


def member_of(node: Node, status: Status | None = None) -> Member:
    """Return a node as a member; without a status, what its state says."""
    if status is None:
        status = Status.FAILED if node.state is State.DEAD else Status.ALIVE
    return Member(name=node.name, address=node.address, tags=tags_of(node.meta), status=status, versions=node.versions)


class Roster:
    """All members, ourselves included.

    `refute` says to everybody that we have not left; `forgotten` is told who is not known any more.
    """

    def __init__(
        self,
        context: Context,
        clock: LamportClock,
        *,
        refute: Callable[[float], None],
        forgotten: Callable[[str], None],
    ) -> None:
        self._context = context
        self._forgotten = forgotten
        self._clock = clock
        self._refute = refute
        self.known: dict[str, Known] = {}
        self.failed: dict[str, Known] = {}
        self.left: dict[str, Known] = {}
        self._going: dict[str, float] = {}
        """Who said that it leaves, and when we heard it; may hold some who are gone, or stay."""
        self.recent = RecentIntents()
        self.leaving = False
        """We are going ourselves: what says so is no longer refuted."""
        self._members: list[Member] | None = None

    def members(self) -> list[Member]:
        """Return all members by name; the same list until something changes."""
        if self._members is None:
            self._members = [self.known[name].member() for name in sorted(self.known)]
        return self._members

    def living_count(self) -> int:
        """Return how many have neither left nor failed."""
        return len(self.known) - len(self.failed) - len(self.left)

    # What the lower layer says

    def joined(self, now_s: float, node: Node) -> None:
        """Enter a node, or take one back."""
        known = self.known.get(node.name)
        if known is None:
            known = self.known[node.name] = Known(node)
            recent = self.recent.of(node.name)
            if recent is not None:
                known.status_time = recent.time
                if recent.leave:
                    self._going_at(now_s, known)
        else:
            known.node = node
            known.status = Status.ALIVE
            self.failed.pop(node.name, None)
            self.left.pop(node.name, None)
        self._changed("join", known)

    def gone(self, now_s: float, node: Node) -> None:
        """Note that a node is dead: it left if it said so before, else it failed."""
        known = self.known.get(node.name)
        if known is None or known.status not in (Status.ALIVE, Status.LEAVING):
            return
        known.gone_s = now_s
        if known.status is Status.LEAVING:
            known.status = Status.LEFT
            self.left[node.name] = known
            self._changed("leave", known)
        else:
            known.status = Status.FAILED
            self.failed[node.name] = known
            self._changed("failed", known)

    def updated(self, node: Node) -> None:
        """Note that a node has other tags."""
        known = self.known.get(node.name)
        if known is not None:
            known.node = node
            self._changed("update", known)

    # What intents say; each returns whether it is news, to be passed on

    def join_intent(self, now_s: float, time: int, name: str) -> bool:
        """Take a join intent."""
        if not self._clock.witness(time):
            return False
        known = self.known.get(name)
        if known is None:
            return self.recent.remember(now_s, name, time, leave=False)
        if time >= known.status_time:
            known.is_from_table = False  # it says so itself
        if time <= known.status_time:
            return False
        known.status_time = time
        if known.status is Status.LEAVING:
            known.status = Status.ALIVE
            self._members = None
        return True

    def told_by_table(self, now_s: float, time: int, name: str) -> None:
        """Take what a table says of one who has not left: as a join intent, although a foreign one may be about to."""
        known = self.known.get(name)
        if known is None or time > known.status_time:
            self.join_intent(now_s, time, name)
            if known is not None and known.status_time == time:
                known.is_from_table = True

    def leave_intent(self, now_s: float, time: int, name: str, *, by_table: bool = False) -> bool:
        """Take a leave intent; `by_table`: a table lists the member as one that left, and the time is a guess."""
        if not self._clock.witness(time):
            return False
        known = self.known.get(name)
        if known is None:
            return self.recent.remember(now_s, name, time, leave=True)
        if name == self._context.settings.name and not self.leaving:
            if time >= known.status_time:  # at the same time as our last word: who heard this first, ignores that
                self._refute(now_s)
            return False
        same_time_counts = known.is_from_table and not by_table
        if time < known.status_time or (time == known.status_time and not same_time_counts):
            return False
        if known.status is Status.ALIVE:
            self._going_at(now_s, known)
        elif known.status is Status.FAILED:
            known.status = Status.LEFT
            self.left[name] = self.failed.pop(name)
            self._changed("leave", known)
        else:
            return False
        known.status_time = time
        known.is_from_table = False
        return True

    def settle(self, now_s: float) -> None:
        """Take those for alive again who said that they leave, and are still there long after.

        What a third member says in a table may be about an earlier life: then nobody would ever correct it.
        """
        self.recent.purge(now_s)
        for name, heard_s in list(self._going.items()):
            known = self.known.get(name)
            if known is None or known.status is not Status.LEAVING:
                del self._going[name]
            elif now_s - heard_s >= LEAVING_S_MAX and name != self._context.settings.name:
                del self._going[name]
                known.status = Status.ALIVE
                self._members = None

    def _going_at(self, now_s: float, known: Known) -> None:
        known.status = Status.LEAVING
        self._going[known.node.name] = now_s
        self._members = None

    def forget(self, name: str) -> None:
        """Drop a member that left or failed, in the lower layer, too."""
        known = self.known.pop(name)
        self.failed.pop(name, None)
        self.left.pop(name, None)
        self._context.lower.forget(name)
        self._forgotten(name)
        self._changed("reap", known)

    def _changed(self, kind: str, known: Known) -> None:
        self._members = None
        out = self._context.out
        last = out[-1] if out else None
        if isinstance(last, MembersChanged) and last.kind == kind:
            last.members.append(known.member())  # one instruction for all whom a push/pull brought
        else:
            out.append(MembersChanged(kind=kind, members=[known.member()]))
