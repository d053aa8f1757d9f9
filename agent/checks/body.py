"""Reading the body of an HTTP answer up to a limit."""

from collections.abc import Callable

import httpx

PIECES_MAX = 4096
"""A peer may send a body in chunks of one byte, each of which costs some 50 µs."""


async def read_body(
    response: httpx.Response, take: Callable[[bytes], None], bytes_max: int, *, pieces_max: int = PIECES_MAX
) -> bool:
    """Hand the body to `take` in pieces as they arrive; returns whether it was all of it.

    Once `bytes_max` or `pieces_max` have come (one piece more at most) the connection is closed. The iterator is then
    run to its end all the same, which is near: left alone, it would be the garbage collector that ends it. Raises
    httpx.HTTPError.
    """
    count = pieces_count = 0
    is_over = False
    try:
        async for piece in response.aiter_raw(chunk_size=None):
            if not is_over:
                count += len(piece)
                pieces_count += 1
                take(piece)
                is_over = count >= bytes_max or pieces_count >= pieces_max
                if is_over:
                    await response.aclose()
    except httpx.HTTPError:
        if not is_over:
            raise
    return not is_over
