"""Sans-IO: join and leave intents about members that are not known yet. Source: wire format, section 8.1.

Intents travel by themselves, so one may arrive before its member does; it is kept for a while, the newest per name.
"""

from typing import NamedTuple

RECENT_S = 300.0
"""How long an intent waits for its member: by then a push/pull has brought it, or there is none."""
RECENT_COUNT_MAX = 8192
"""More names than may plausibly join at once. Beyond it news are not remembered, hence not passed on either: what is
not remembered would seem new each time it comes, and would travel for ever."""


class Recent(NamedTuple):
    """The newest intent about one unknown name."""

    leave: bool
    time: int
    heard_s: float


class RecentIntents:
    """The newest intents about unknown names."""

    def __init__(self) -> None:
        self._by_name: dict[str, Recent] = {}

    def remember(self, now_s: float, name: str, time: int, *, leave: bool) -> bool:
        """Keep an intent; False if it is not newer than what is known of `name`, or there is no room."""
        known = self._by_name.get(name)
        if known is not None and time <= known.time:
            return False
        if known is None and len(self._by_name) >= RECENT_COUNT_MAX:
            return False
        self._by_name[name] = Recent(leave, time, now_s)
        return True

    def of(self, name: str) -> Recent | None:
        """Return the newest intent about `name`."""
        return self._by_name.get(name)

    def purge(self, now_s: float) -> None:
        """Forget what has waited too long."""
        self._by_name = {name: recent for name, recent in self._by_name.items() if now_s - recent.heard_s < RECENT_S}
