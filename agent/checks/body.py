"""Reading the body of an HTTP answer up to a limit."""

from collections.abc import Callable

import httpx


async def read_body(response: httpx.Response, take: Callable[[bytes], None], bytes_max: int) -> bool:
    """Hand the body to `take` in pieces as they arrive; returns whether it was all of it.

    Once `bytes_max` have come (one piece more at most) the connection is closed. The iterator is then run to its end
    all the same, which is near: left alone, it would be the garbage collector that ends it. Raises httpx.HTTPError.
    """
    count = 0
    try:
        async for piece in response.aiter_raw(chunk_size=None):
            if count < bytes_max:
                count += len(piece)
                take(piece)
                if count >= bytes_max:
                    await response.aclose()
    except httpx.HTTPError:
        if count < bytes_max:
            raise
    return count < bytes_max
