"""Tasks in a nursery that others end."""

from collections.abc import Awaitable, Callable

import trio


def started_in(nursery: trio.Nursery | None, function: Callable[..., Awaitable[object]], *arguments: object) -> bool:
    """Start a task; return False if the nursery has ended.

    That it has ended is known to its owner only a moment after its last task: who comes in between would get an error
    that looks like a defect, though nothing is wrong but the hour.
    """
    if nursery is None:
        return False
    try:
        nursery.start_soon(function, *arguments)
    except RuntimeError:  # "Nursery is closed to new arrivals"
        return False
    return True
