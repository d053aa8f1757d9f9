"""The order of an answer whose reader asked for what is nearest to a node. Source: HTTP API, sections 2, 3 and 9."""

from collections.abc import Callable
from typing import TypeVar

from fsm.store import coordinate
from fsm.store.names import key
from fsm.store.store import View
from structs.catalog import QuerySource
from structs.coordinate import SegmentCoordinates, nearest_first
from structs.query import QueryOptions

T = TypeVar("T")
MANY_COUNT = 256
"""From so many items on, reading the whole table once is cheaper than one look-up after the other."""


def sorted_near(
    view: View, source: QuerySource, options: QueryOptions, items: list[T], node_of: Callable[[T], str]
) -> list[T]:
    """Return `items` by their nodes' distance from `source`, or as they are where that is not known.

    Distances are known within one datacenter only: that of the source must be the one that was asked.
    """
    if not source.node or (source.datacenter and options.datacenter and source.datacenter != options.datacenter):
        return items
    origin = coordinate.segments_of_node(view, source.node)
    if not origin:
        return items

    if len(items) < MANY_COUNT:
        return nearest_first(items, node_of, origin, lambda name: coordinate.segments_of_node(view, name))
    places = coordinate.segments_by_node(view)
    nowhere: SegmentCoordinates = {}
    return nearest_first(items, node_of, origin, lambda name: places.get(key(name), nowhere))
