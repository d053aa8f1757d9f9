"""Sans-IO: what is said of members, and what follows: states, suspicions, refutation. Source: wire format, section 5.

A claim carries the incarnation of whom it is about, and only that member itself ever raises it: a claim about an older
incarnation than the recorded one is out of date and changes nothing, whatever it says.

A dead member's name at another address. The compatible version ignores such claims until the record is dropped, which
takes a turn of the probe order: seconds among five members, more than an hour among five thousand. Here the name can be
taken over once its record has been dead for `dead_node_reclaim_s`, or at once if the member itself said that it goes,
but only with a *higher* incarnation than the recorded one. The newcomer gets there by itself: in its join it reads that
its name is dead, and refutes. This is safe next to members that do not reclaim: they go on ignoring the claim, log it
and accept it later, when they have dropped the record; what they say of the old address has the old incarnation, which
changes nothing here; and should the old owner come back after all, both raise a conflict as they would have without.
A replayed claim of the old owner is too old.

Incarnations that cannot be. Nothing can refute a claim about the highest number there is, so one forged or damaged
packet would lock a member out for good. Each step of an incarnation is a refutation or a change of meta data, so a
claim that is INCARNATION_LEAP_MAX ahead of the record is not believed, about others or about ourselves. Foreign members
that do believe it declare the victim dead, drop it a while later, and then accept it at its real incarnation.
"""

from gossip.awareness import Awareness
from gossip.broadcast import Sent
from gossip.config import TAGS_BYTES_MAX
from gossip.fields import U32_MAX
from gossip.instructions import VERSIONS, Address
from gossip.layers import Node, State
from gossip.messages import Alive, Dead, Suspect
from gossip.outbox import Outbox
from gossip.suspicion import Suspicion, limits_of
from gossip.timers import Timers
from gossip.versions import versions_complaint

INCARNATION_LEAP_MAX = 1 << 20
"""Twelve days of a refutation each second; of the 4,096 such leaps to the end, an honest cluster makes none."""


class Rumours:
    """Applies claims to the table and passes on what was new. `leaving` silences every refutation."""

    def __init__(self, outbox: Outbox, timers: Timers, awareness: Awareness) -> None:
        self._outbox = outbox
        self._members = outbox.members
        self._local = outbox.members.local
        self._timers = timers
        self._awareness = awareness
        self._suspicions: dict[str, Suspicion] = {}
        self.leaving = False
        self.suspicions_total = 0
        self.refutations_total = 0

    @property
    def suspects_count(self) -> int:
        """How many are suspected now."""
        return len(self._suspicions)

    # Claims

    def alive(self, now_s: float, claim: Alive) -> None:
        """Take "it is there"."""
        known = self._members.nodes.get(claim.node)
        if known is self._local and self.leaving:
            return
        address = Address(claim.host, claim.port or self._outbox.settings.port)
        if known is not None and known.address == address:
            if known is self._local:
                self._alive_ourselves(now_s, claim)
                return
            if claim.incarnation <= known.incarnation:
                return
        complaint = self._complaint(known, claim)
        if complaint:
            self._outbox.complain(now_s, "alive", f"an alive message is ignored: {complaint}", node=claim.node)
            return
        said = Node(
            name=claim.node,
            address=address,
            meta=claim.meta,
            incarnation=claim.incarnation,
            state=State.ALIVE,
            changed_s=now_s,
            versions=claim.versions,
        )
        refusal = self._strange_versions(said) or self._outbox.upper.alive_refused(said)
        if refusal is not None:
            self._outbox.complain(now_s, "refused", f"an alive message is refused: {refusal}", node=claim.node)
        elif known is None:
            self._newcomer(now_s, said)
        elif known.address == address or self._may_take_over(now_s, known, claim.incarnation):
            self._revive(now_s, known, said)
        else:
            self._outbox.upper.conflicted(now_s, known, said)

    def suspect(self, now_s: float, claim: Suspect) -> None:
        """Take "it does not answer me"."""
        node = self._known(now_s, claim)
        if node is None:
            return
        suspicion = self._suspicions.get(node.name)
        if suspicion is not None:
            if suspicion.confirm(claim.sender):
                self._outbox.broadcast(now_s, node.name, claim)
                self._set_timer(node, suspicion)
        elif node is self._local:
            if self.leaving:
                return  # others list us as dead in their tables, which comes here: refuting would bring us back
            self._refute(now_s, claim.incarnation, f"suspected by {claim.sender}")
        elif node.state is State.ALIVE:
            self._outbox.broadcast(now_s, node.name, claim)
            self._suspect(now_s, node, claim)

    def dead(self, now_s: float, claim: Dead) -> None:
        """Take "it is gone"."""
        node = self._known(now_s, claim)
        if node is None:
            return
        if node is self._local and not self.leaving:
            self._refute(now_s, claim.incarnation, f"declared dead by {claim.sender or 'nobody'}")
            return
        self._bury(now_s, node, claim)

    # What we say of ourselves

    def announce(self, now_s: float) -> None:
        """Tell everybody that we are there, as our record says."""
        self._pass_on(now_s, self._local)

    def farewell(self, now_s: float, sent: Sent) -> None:
        """Go: we are dead from now on, and everybody is told; then `sent` is called."""
        self.leaving = True
        claim = Dead(incarnation=self._local.incarnation, node=self._local.name, sender="")
        self._bury(now_s, self._local, claim, sent)

    def raise_incarnation(self) -> bool:
        """Take the next incarnation for a change of ours; false if there is none."""
        if self._local.incarnation >= U32_MAX:
            return False
        self._local.incarnation += 1
        return True

    def postpone(self, gap_s: float) -> None:
        """Let no suspicion run out for a time in which nobody could have been heard."""
        for name, suspicion in self._suspicions.items():
            suspicion.postpone(gap_s)
            self._set_timer(self._members.nodes[name], suspicion)

    # Consequences

    def _known(self, now_s: float, claim: Suspect | Dead) -> Node | None:
        """Return whom an accusation is about, None if it cannot mean anything."""
        node = self._members.nodes.get(claim.node)
        if node is None or claim.incarnation < node.incarnation:
            return None
        if claim.incarnation > node.incarnation + INCARNATION_LEAP_MAX:
            text = "an accusation is ignored: its incarnation cannot be"
            self._outbox.complain(now_s, "leap", text, node=claim.node, incarnation=claim.incarnation)
            return None
        return node

    def _complaint(self, known: Node | None, claim: Alive) -> str:
        """Return why an alive claim cannot be taken, whatever is known; "" if it can."""
        if not claim.node:
            return "it has no name"
        if not claim.host:
            return "it has no address"
        if len(claim.meta) > TAGS_BYTES_MAX:
            return f"{len(claim.meta)} bytes of meta data"
        if not self._members.has_room(claim.node, claim.meta):
            return f"there are {len(self._members)} members already"
        recorded = known.incarnation if known is not None else U32_MAX - 2 * INCARNATION_LEAP_MAX
        if claim.incarnation > recorded + INCARNATION_LEAP_MAX:
            return f"incarnation {claim.incarnation} cannot be"
        return ""

    def _strange_versions(self, said: Node) -> str:
        """Return why a node does not go together with those that are known, "" if it does, as nearly all do."""
        if said.versions == VERSIONS:
            return ""
        others = (node for node in self._members.nodes.values() if node.name != said.name)
        return versions_complaint([said], others)

    def _alive_ourselves(self, now_s: float, claim: Alive) -> None:
        """Somebody repeats what we said, or an earlier life of ours did."""
        local = self._local
        same = claim.meta == local.meta and claim.versions == local.versions
        if claim.incarnation < local.incarnation or (claim.incarnation == local.incarnation and same):
            return
        self._refute(now_s, claim.incarnation, "described as we are no more")

    def _newcomer(self, now_s: float, said: Node) -> None:
        self._members.add(said)
        self._pass_on(now_s, said)
        self._outbox.upper.joined(now_s, said)

    def _may_take_over(self, now_s: float, known: Node, incarnation: int) -> bool:
        """Whether a dead member's name may go to another address."""
        reclaim_s = self._outbox.settings.timing.dead_node_reclaim_s
        if known is self._local or known.state is not State.DEAD or incarnation <= known.incarnation or not reclaim_s:
            return False
        return known.name in self._members.farewells or now_s - known.changed_s > reclaim_s

    def _revive(self, now_s: float, known: Node, said: Node) -> None:
        """Put the news into the record; the node is alive, whatever it was."""
        if known.address != said.address:
            places = {"from": _text(known.address), "to": _text(said.address)}
            self._outbox.log("info", "a dead member's name is taken over", node=known.name, **places)
        self._acquit(known)
        was_dead, was_meta = known.state is State.DEAD, known.meta
        known.address, known.versions = said.address, said.versions
        self._members.describe(known, said.meta)
        known.incarnation = said.incarnation
        self._members.change(known, State.ALIVE, now_s)
        self._pass_on(now_s, known)
        if was_dead:
            self._outbox.upper.joined(now_s, known)
        elif was_meta != known.meta:
            self._outbox.upper.updated(now_s, known)

    def _pass_on(self, now_s: float, node: Node) -> None:
        """Queue what the record of a living node says."""
        message = Alive(
            incarnation=node.incarnation,
            node=node.name,
            host=node.address.host,
            port=node.address.port,
            meta=node.meta,
            versions=node.versions,
        )
        self._outbox.broadcast(now_s, node.name, message)

    def _suspect(self, now_s: float, node: Node, claim: Suspect) -> None:
        self.suspicions_total += 1
        node.incarnation = claim.incarnation
        self._members.change(node, State.SUSPECT, now_s)
        settings = self._outbox.settings
        limits = limits_of(settings.timing, len(self._members), lifeguard=settings.lifeguard)
        suspicion = self._suspicions[node.name] = Suspicion(now_s, claim.sender, limits)
        self._set_timer(node, suspicion)

    def _set_timer(self, node: Node, suspicion: Suspicion) -> None:
        self._timers.set(("suspicion", node.name), suspicion.deadline_s, lambda now_s: self._expire(now_s, node))

    def _expire(self, now_s: float, node: Node) -> None:
        """A suspicion ran out: that was the suspect's time to say something."""
        confirmations_count = self._suspicions[node.name].confirmations_count
        self._outbox.log("info", "a suspect is dead", node=node.name, confirmations_count=confirmations_count)
        self._bury(now_s, node, Dead(incarnation=node.incarnation, node=node.name, sender=self._local.name))

    def _acquit(self, node: Node) -> None:
        if self._suspicions.pop(node.name, None) is not None:
            self._timers.cancel(("suspicion", node.name))

    def _bury(self, now_s: float, node: Node, claim: Dead, sent: Sent | None = None) -> None:
        self._acquit(node)
        if claim.sender in ("", node.name):
            self._members.farewells[node.name] = None
        if node.state is State.DEAD:
            return
        self._outbox.broadcast(now_s, node.name, claim, sent)
        node.incarnation = claim.incarnation
        self._members.change(node, State.DEAD, now_s)
        self._outbox.upper.left(now_s, node)

    def _refute(self, now_s: float, accused: int, why: str) -> None:
        """Say that we are there, with an incarnation above the accused one."""
        local = self._local
        incarnation = max(local.incarnation, accused) + 1
        if accused > local.incarnation + INCARNATION_LEAP_MAX or incarnation > U32_MAX:
            text = "a claim about ourselves cannot be refuted: its incarnation cannot be"
            self._outbox.complain(now_s, "unrefuted", text, incarnation=accused)
            return
        local.incarnation = incarnation
        self.refutations_total += 1
        self._awareness.add(1)
        self._outbox.complain(now_s, "refuted", f"refuted: we were {why}", incarnation=incarnation)
        self._pass_on(now_s, local)


def _text(address: Address) -> str:
    return f"{address.host}:{address.port}"
