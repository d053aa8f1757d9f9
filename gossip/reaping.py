"""Sans-IO: upkeep: who has been gone for long is forgotten, who failed is looked for.

Source: wire format, section 8.7.
"""

from gossip.context import Context
from gossip.roster import Known, Roster
from gossip.snapshot import address_text


class Reaping:
    """Two periodic tasks."""

    def __init__(self, context: Context, roster: Roster) -> None:
        self._context = context
        self._roster = roster

    def start(self, now_s: float) -> None:
        """Begin, each task after a random part of its interval, so that members do not act all at once."""
        timing, rng = self._context.settings.timing, self._context.rng
        self._context.timers.set("reap", now_s + rng.random() * timing.reap_interval_s, self._reap)
        self._context.timers.set("reconnect", now_s + rng.random() * timing.reconnect_interval_s, self._reconnect)

    def _reap(self, now_s: float) -> None:
        timing = self._context.settings.timing
        self._context.timers.set("reap", now_s + timing.reap_interval_s, self._reap)
        self._forget_older(self._roster.failed, now_s - timing.reconnect_timeout_s)
        self._forget_older(self._roster.left, now_s - timing.tombstone_timeout_s)
        self._roster.settle(now_s)

    def _forget_older(self, gone: dict[str, Known], since_s: float) -> None:
        us = self._context.settings.name
        for name in [name for name, known in gone.items() if known.gone_s <= since_s and name != us]:
            self._roster.forget(name)

    def _reconnect(self, now_s: float) -> None:
        """Look for one failed member, the more often the more have failed: together, all look for all of them."""
        self._context.timers.set(
            "reconnect", now_s + self._context.settings.timing.reconnect_interval_s, self._reconnect
        )
        failed = self._roster.failed
        probability = len(failed) / max(1, self._roster.living_count())
        if not failed or self._roster.leaving or self._context.rng.random() >= probability:
            return
        known = self._context.rng.choice(list(failed.values()))
        name, address = known.node.name, known.node.address
        self._context.lower.push_pull(
            now_s, address, join=True, done=lambda at_s, error: self._reconnected(name, address_text(address), error)
        )

    def _reconnected(self, name: str, address: str, error: str) -> None:
        self._context.log("debug", "reconnect", member=name, address=address, why_not=error)
