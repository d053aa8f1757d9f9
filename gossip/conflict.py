"""Sans-IO: somebody else has our name: the others are asked whose it is, and who loses must go.

Clients ask and obey; servers only write it to the log. Silence counts as lost, but only the third time: a forged packet
at a moment when answers get lost would else end an agent. Source: wire format, section 8.6.
"""

import math

from base.errors import InvalidRequest, TooLarge
from gossip.context import Context
from gossip.instructions import Address, Member, QueryResult, Stop
from gossip.layers import Node
from gossip.query_answering import INTERNAL_PREFIX
from gossip.query_asking import Asking
from gossip.roster import Roster
from gossip.serf_messages import ConflictResponse, Query, decode, encode
from gossip.snapshot import address_text

QUERY = "conflict"
QUIET_S = 10.0
"""Conflicts come with every alive message of the other one. In this time one line is written and one question asked."""
ATTEMPTS_MAX = 3
"""So often it is asked whose name ours is while nobody answers."""


class Conflicts:
    """Both sides of a conflict."""

    def __init__(self, context: Context, asking: Asking, roster: Roster) -> None:
        self._context = context
        self._asking = asking
        self._roster = roster
        self._quiet_until_s = {True: -math.inf, False: -math.inf}
        """For conflicts about our name, and for all others."""
        self._under_way = False
        self._silences_count = 0

    def noticed(self, now_s: float, known: Node, other: Node) -> None:
        """Somebody says to be `other`, though the name belongs to `known`."""
        ours = known.name == self._context.settings.name
        if now_s < self._quiet_until_s[ours]:
            return
        self._quiet_until_s[ours] = now_s + QUIET_S
        text = "our name is used by another member" if ours else "two members have the same name"
        where = {"known": address_text(known.address), "other": address_text(other.address)}
        self._context.log("error" if ours else "warn", text, name=known.name, **where)
        # With nobody there to ask, an empty count would be lost: a stranger's one packet could end a lone member.
        alone = self._context.lower.alive_count <= 1
        if ours and self._context.settings.resolves_conflicts and not self._under_way and not alone:
            self._silences_count = 0
            self._ask(now_s)

    def answer(self, now_s: float, query: Query) -> bytes | None:
        """Say who has the name in the query's payload, unless it is ours: nobody judges his own cause."""
        name = query.payload.decode("utf-8", "surrogateescape")
        if name == self._context.settings.name:
            return None
        known = self._roster.known.get(name)
        return encode(_response(known.member()) if known is not None else ConflictResponse(known=False))

    def _ask(self, now_s: float) -> None:
        name = self._context.settings.name
        self._under_way = True
        payload = name.encode("utf-8", "surrogateescape")
        complaint = self._asking.ask(now_s, INTERNAL_PREFIX + QUERY, payload, self._counted, expects_us=False)
        if complaint is not None:
            self._under_way = False
            self._context.log("error", "nobody could be asked whose name it is", why=complaint)

    def _counted(self, now_s: float, result: QueryResult) -> None:
        self._under_way = False
        address = self._context.lower.local.address
        answers = [answer for answer in map(_read, result.answers.values()) if answer is not None]
        if not answers and self._silences_count < ATTEMPTS_MAX - 1:
            self._silences_count += 1
            self._context.log("warn", "nobody has said whose name ours is, asking again")
            self._ask(now_s)
            return
        matching = sum(Address(answer.host, answer.port) == address for answer in answers)
        majority = len(answers) // 2 + 1
        fields = {"matching_count": matching, "answers_count": len(answers)}
        if matching >= majority:
            self._context.log("info", "majority in name conflict resolution", **fields)
            return
        self._context.log("error", "minority in name conflict resolution, quitting", **fields)
        name = self._context.settings.name
        self._context.out.append(Stop(text=f"another member has the name {name!r}, and the others side with it"))


def _read(payload: bytes) -> ConflictResponse | None:
    try:
        answer = decode(payload)
    except (InvalidRequest, TooLarge):
        return None  # no answer: it does not count, on either side
    return answer if isinstance(answer, ConflictResponse) else None


def _response(member: Member) -> ConflictResponse:
    # Versions of a node are least, highest, spoken of the lower layer, then of the upper one, as in the response.
    least, highest, spoken, upper_least, upper_highest, upper_spoken = member.versions
    return ConflictResponse(
        name=member.name,
        host=member.address.host,
        port=member.address.port,
        tags=member.tags,
        status=member.status,
        protocol_min=least,
        protocol_max=highest,
        protocol_current=spoken,
        delegate_min=upper_least,
        delegate_max=upper_highest,
        delegate_current=upper_spoken,
    )
