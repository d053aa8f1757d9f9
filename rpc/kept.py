"""Sans-IO: how much received data may be held of which nobody could make a message yet.

One session has a bound, and all that are served together have one: whoever may connect could else hold a part of a
request on each of many sessions, for ever.
"""

from typing import Final

KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all streams of one session: one reply of the largest size, or 128 of the largest values. A stream that needs
more is reset."""
KEPT_BYTES_ALL_MAX: Final = 256 * 1024 * 1024
"""Of all sessions together."""
KEPT_BYTES_FREE: Final = 256 * 1024
"""What one session may keep whatever the others do."""


class Kept:
    """The account of all sessions that share it."""

    __slots__ = ("bytes_count",)

    def __init__(self) -> None:
        self.bytes_count = 0

    def is_too_much(self, own_bytes: int) -> bool:
        """Whether a session that has so many bytes of it keeps too much."""
        if own_bytes > KEPT_BYTES_FREE and self.bytes_count > KEPT_BYTES_ALL_MAX:
            return True
        return own_bytes > KEPT_BYTES_MAX
