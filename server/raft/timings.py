"""Sans-IO: the times that consensus runs by, and how they hang together.

Source: "In Search of an Understandable Consensus Algorithm" (Ongaro, Ousterhout), sections 5.2 and 9.3:
broadcast time << election timeout << time between failures.
"""

from typing import Final

import msgspec

COMMAND_BYTES_MAX: Final = 2 * 1024 * 1024
"""One proposal. It is one log entry, so it must be written, synced and sent well inside a heartbeat."""

APPEND_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Entries in one message. The library cuts an entry of this size or more into pieces that it cannot join again
when the size is near a multiple (hazard H5), so it must stay above the largest command with its type byte."""

APPLY_BATCH_COUNT_MAX: Final = 4096
"""Entries applied in one tick: a long replay must leave room for heartbeats and votes."""

APPLY_BATCH_BYTES: Final = 512 * 1024
"""A tick applies no further entry after so many bytes of commands. Half a mebibyte of a restore takes some 7 ms; what
a leader has committed meanwhile may be 64 times that, and neither heartbeats nor the next entries may wait for it."""

PROPOSALS_WAITING_COUNT_MAX: Final = 65_536
"""Proposals between their append and their end at one server; more are refused with RateLimited."""

LEASE_FRACTION: Final = 0.9
"""Part of the minimum election timeout for which a confirmed leader may answer alone; see `lease.py`."""

assert COMMAND_BYTES_MAX + 1 < APPEND_BATCH_BYTES


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds of the monotonic clock. Defaults belong to `performance.raft_multiplier = 1`."""

    heartbeat_s: float = 0.1
    election_min_s: float = 0.6
    election_max_s: float = 1.2

    def complaint(self) -> str | None:
        """Why these times cannot work together, or None."""
        if not 0 < self.heartbeat_s * 3 < self.election_min_s < self.election_max_s:
            return f"more than three heartbeats must fit into the election timeout: {self}"
        return None

    def multiplied(self, factor: float) -> "Timings":
        """The same proportions on slower machines or networks (`performance.raft_multiplier`)."""
        return Timings(
            heartbeat_s=self.heartbeat_s * factor,
            election_min_s=self.election_min_s * factor,
            election_max_s=self.election_max_s * factor,
        )


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """The guards against the library's hazards, by their number. Only tests ever switch one off, to see the hazard."""

    h3_keep_tail: bool = True
    h4_trim_appends: bool = True
    h6_drop_stale: bool = True
    h7_prevote: bool = True
    h8_lease: bool = True
    h14_self_removal: bool = True
    h15_passive: bool = True
    h20_unverified_commit: bool = True
    h22_old_snapshot: bool = True
    h23_one_change: bool = True
    h24_higher_term: bool = True
