"""Applies a batch of positions. Source: state store specification, section 2."""

from fsm.store import coordinate
from fsm.store.store import Batch
from structs.cluster import Empty
from structs.coordinate import CoordinateBatch

DONE = Empty()


def apply(batch: Batch, command: CoordinateBatch) -> Empty:
    """Store what can be stored of the batch; the rest is skipped."""
    coordinate.update(batch, command.updates)
    return DONE
