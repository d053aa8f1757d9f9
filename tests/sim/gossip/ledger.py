"""What is written down while a crowd runs: who suspects whom, who takes whom for failed, and when."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gossip.instructions import Log, MembersChanged
from gossip.probe import NO_ANSWER
from jepsen.report.series import quantile
from tests.sim.gossip_world import SimMember

SHARES = (0.5, 0.99, 1.0)
"""Of the living: when so many of them know."""


class Death(msgspec.Struct, kw_only=True):
    """A member that was killed, and how it became known; times are seconds after it."""

    name: str
    at_s: float
    suspected_s: float | None = None
    """The first probe that ended without an answer."""
    known_s: dict[str, float] = {}
    """Who took it for failed when."""

    def known_by(self, share: float, living: Iterable[str]) -> float | None:
        """Return when this share of the living knew, None if they never did."""
        times_s = sorted(self.known_s[name] for name in living if name in self.known_s)
        wanted_count = max(1, -int(-share * len(list(living)) // 1))
        return times_s[wanted_count - 1] if len(times_s) >= wanted_count else None


class Ledger:
    """See the module. `is_slow` says of a name whether the member was made slow."""

    def __init__(self, slow: frozenset[str] = frozenset()) -> None:
        self.slow = slow
        self.deaths: dict[str, Death] = {}
        self.holders: dict[str, set[str]] = {}
        """A living member that is taken for failed -> by whom."""
        self.suspicions: list[tuple[float, str, str]] = []
        """Time, who probed, and the living member that did not answer."""
        self.incidents: list[tuple[float, str, str]] = []
        """Time, who was the first to take it for failed, and the living member."""
        self.mistakes_count = 0
        """A living member failed for another: one for each who believed it."""
        self.joined: dict[str, dict[str, float]] = {}
        """Newcomer -> who took it in when."""

    # What happens

    def killed(self, now_s: float, name: str) -> None:
        """From now on it is right to take it for failed."""
        early = self.holders.pop(name, set())
        self.deaths[name] = Death(name=name, at_s=now_s, known_s=dict.fromkeys(sorted(early), 0.0))

    def logged(self, now_s: float, member: SimMember, log: Log) -> None:
        """Take a line of a member's log."""
        if log.text != NO_ANSWER:
            return
        about = log.fields["node"]
        death = self.deaths.get(about)
        if death is None:
            self.suspicions.append((now_s, member.name, about))
        elif death.suspected_s is None:
            death.suspected_s = now_s - death.at_s

    def changed(self, now_s: float, member: SimMember, change: MembersChanged) -> None:
        """Take what a member tells its application."""
        for about in change.members:
            if change.kind == "failed":
                self._failed(now_s, member.name, about.name)
            elif change.kind == "join":
                self.holders.get(about.name, set()).discard(member.name)
                if about.name in self.joined:
                    self.joined[about.name].setdefault(member.name, now_s)

    def _failed(self, now_s: float, viewer: str, name: str) -> None:
        death = self.deaths.get(name)
        if death is not None:
            death.known_s.setdefault(viewer, now_s - death.at_s)
            return
        holders = self.holders.setdefault(name, set())
        if not holders:
            self.incidents.append((now_s, viewer, name))
        holders.add(viewer)
        self.mistakes_count += 1

    # What it amounts to

    @property
    def wrong_count(self) -> int:
        """How many pairs there are of which the one takes the other, which is alive, for failed."""
        return sum(map(len, self.holders.values()))

    def detection(self, living: Sequence[str]) -> dict[str, Any]:
        """Return quantiles of the times from deaths to suspicion, to the first verdict, and to shares of the living."""
        deaths = list(self.deaths.values())
        rows: dict[str, list[float | None]] = {"suspected": [each.suspected_s for each in deaths]}
        rows["declared"] = [min(each.known_s.values(), default=None) for each in deaths]
        for share in SHARES:
            rows[f"known by {share * 100:g} %"] = [each.known_by(share, living) for each in deaths]
        return {"deaths": len(deaths), **{name: spread(times) for name, times in rows.items()}}

    def mistakes(self, nodes_count: int, seconds: float) -> dict[str, Any]:
        """Return how often living members were suspected and taken for failed, and in how many node-hours."""
        return {
            "node-hours": nodes_count * seconds / 3600,
            "suspicions of healthy": sum(about not in self.slow for *_, about in self.suspicions),
            "suspicions of slow": sum(about in self.slow for *_, about in self.suspicions),
            "false deaths of healthy": sum(about not in self.slow for *_, about in self.incidents),
            "false deaths of slow": sum(about in self.slow for *_, about in self.incidents),
            "mistaken views": self.mistakes_count,
        }


def spread(times: Iterable[float | None]) -> dict[str, Any]:
    """Return median, p99, the most, how many are missing, and all in order, in seconds."""
    given = list(times)
    known = sorted(each for each in given if each is not None)
    if not known:
        return {"missing": len(given)}
    return {
        "p50": round(quantile(known, 0.5), 3),
        "p99": round(quantile(known, 0.99), 3),
        "max": round(known[-1], 3),
        "missing": len(given) - len(known),
        "all": [round(each, 3) for each in known],
    }
