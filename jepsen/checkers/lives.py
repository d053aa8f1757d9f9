"""What clients know for certain of the life of each session. No checker by itself: `lock` and `session` ask it.

An end is possible from the moment in which somebody began to destroy the session, or to make one of its checks fail;
or when its TTL has passed since a moment at which it was certainly renewed. Servers wait for twice the TTL; that is
not promised, so it is not counted on.
"""

from collections.abc import Iterable, Mapping

from jepsen.checkers.models import FOREVER_NS, STALE
from jepsen.history import Operation, Outcome

RATE = 0.9
"""Servers measure with clocks of their own, which may be slower or faster than ours by so much."""
SECOND_NS = 1_000_000_000


def end_of(operation: Operation) -> int:
    """When an operation had taken effect at the latest: for ever, if its outcome is unknown."""
    return FOREVER_NS if operation.outcome is Outcome.UNKNOWN else operation.ended_ns


def may_have_happened(operation: Operation) -> bool:
    """Whether it did, or nobody knows."""
    return operation.outcome is not Outcome.FAILED


def is_current(operation: Operation) -> bool:
    """Whether an answer shows a moment between its two ends. In the end all replicas have caught up."""
    return operation.outcome is Outcome.OK and (operation.mode != STALE or operation.phase == "final")


class Life:
    """One session."""

    def __init__(self, created: Operation) -> None:
        self.session = str(created.output["session"])
        self.created = created
        self.ttl_ns = int(created.input["ttl_s"] * SECOND_NS)
        self.delay_ns = int(created.input["delay_s"] * SECOND_NS)
        self.behavior = str(created.input.get("behavior", "release"))
        self.check = str(created.input.get("check", ""))
        self.renewals = [created]
        """Acknowledged, the creation among them."""
        self.attempts = [created]
        """Renewals that may have happened."""
        self.enders: list[Operation] = []
        """What may have ended it, but for its TTL."""

    @property
    def earliest_end_ns(self) -> int:
        """Before this moment it has certainly not ended."""
        asked_ns = min((each.began_ns for each in self.enders), default=FOREVER_NS)
        return min(asked_ns, max(each.began_ns for each in self.renewals) + int(self.ttl_ns * RATE))

    @property
    def ended_by(self) -> Operation | None:
        """What was acknowledged first of that which certainly ended it; None: nothing was."""
        certain = [each for each in self.enders if each.outcome is Outcome.OK and each.began_ns > self.created.ended_ns]
        return min(certain, key=end_of, default=None)

    @property
    def free_from_ns(self) -> int:
        """Before this moment nobody else may take what it lost with its end."""
        return self.earliest_end_ns + int(self.delay_ns * RATE)


def lives_of(operations: Iterable[Operation]) -> Mapping[str, Life]:
    """Return the sessions whose creation was acknowledged, by id."""
    lives: dict[str, Life] = {}
    others: list[Operation] = []
    failings: dict[str, list[Operation]] = {}
    for each in operations:
        if each.function == "create" and each.outcome is Outcome.OK:
            life = Life(each)
            lives[life.session] = life
        elif each.function in ("renew", "destroy") and may_have_happened(each):
            others.append(each)
        elif each.function == "set_check" and each.input["status"] == "critical" and may_have_happened(each):
            failings.setdefault(each.input["check"], []).append(each)
    for each in others:
        found = lives.get(each.input["session"])
        if found is None:
            continue
        if each.function == "destroy":
            found.enders.append(each)
            continue
        if each.outcome is Outcome.UNKNOWN or each.output["alive"]:
            found.attempts.append(each)
        if each.outcome is Outcome.OK and each.output["alive"]:
            found.renewals.append(each)
    for life in lives.values():
        fallen = failings.get(life.check, []) if life.check else []
        life.enders += [each for each in fallen if end_of(each) >= life.created.began_ns]
    return lives
