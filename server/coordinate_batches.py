"""Sans-IO. Positions on their way into the log: collected for a while, newest per node, no more than fit.

Source: HTTP API, section 9; gossip specification, section 9.
"""

from structs.coordinate import CoordinateBatch, NodeCoordinate

BATCH_COUNT_MAX = 128
"""Positions in one entry of the log: some 12 KiB."""
BATCHES_MAX = 5
"""Entries in one period. Nodes send the more seldom the more there are, so that only a fault exceeds this."""
COLLECTED_MAX = BATCH_COUNT_MAX * BATCHES_MAX


class CoordinateCollector:
    """What the leader was told since it last wrote positions down."""

    def __init__(self) -> None:
        self._updates: dict[tuple[str, str], NodeCoordinate] = {}
        self._dropped_count = 0

    def add(self, update: NodeCoordinate) -> None:
        """Take one position. Where there is no room for another node it is dropped: the next one comes soon."""
        place = (update.node, update.segment)
        if place in self._updates or len(self._updates) < COLLECTED_MAX:
            self._updates[place] = update
        else:
            self._dropped_count += 1

    def take(self) -> tuple[list[CoordinateBatch], int]:
        """Return what was collected, in order of arrival, and how many were dropped, and start afresh."""
        updates, dropped_count = list(self._updates.values()), self._dropped_count
        self.clear()
        starts = range(0, len(updates), BATCH_COUNT_MAX)
        return [CoordinateBatch(updates=updates[start : start + BATCH_COUNT_MAX]) for start in starts], dropped_count

    def clear(self) -> None:
        """Forget everything."""
        self._updates.clear()
        self._dropped_count = 0
