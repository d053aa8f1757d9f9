"""Sans-IO. Which other datacenters to ask, in which order, and how long each may take.

Source: state store specification, section 12.
"""

from structs.prepared_query import QueryFailover


def plan(failover: QueryFailover, others: list[str]) -> list[str]:
    """Return the datacenters to ask: the nearest ones, then those that the query names.

    `others` are all known ones but ours, the nearest first. Unknown ones are left out, and nobody is asked twice.
    """
    chosen = dict.fromkeys(others[: max(0, failover.nearest_n)])
    known = frozenset(others)
    for name in failover.datacenters or ():
        datacenter = name.lower()
        if datacenter in known:
            chosen.setdefault(datacenter)
    return list(chosen)


def share_s(left_s: float, remaining_count: int) -> float:
    """Return how long the next datacenter may take: half of what is left, all of it if it is the last.

    One that hangs must not take the chance of all others, nor the patience of whoever asked.
    """
    return left_s / 2 if remaining_count > 1 else left_s
