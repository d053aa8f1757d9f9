"""Answers made once of what many ask for: bodies are kept by the reply they were made of.

Servers, and what remembers their replies (agent/remembered.py), hand out the same list again as long as nothing in it
has changed. So the list itself is the key, together with what was done to it on the way: filtered, only passing.
Headers are made anew, and where they too are the same, so is the whole answer, whose bytes are then composed once
(agent/http/response.py).

Large bodies are made in a worker thread, once for all who wait for them.
"""

from collections.abc import Awaitable, Callable, Hashable, Sized
from typing import Any, Final, TypeVar

import trio

from agent.http.response import JSON_TYPE, Response, discovery_headers
from base.keeping import Kept
from structs.query import QueryMeta

P = TypeVar("P", bound=Sized)
BODIES_COUNT_MAX: Final = 256
BYTES_MAX: Final = 32 * 1024 * 1024
"""Of bodies; what they were made of is kept with them and takes a few times as much."""
INLINE_ITEMS_MAX: Final = 512
"""More items than this keep a thread busy for over ten milliseconds, so it isn't the event loop's."""
Place = tuple[int, Hashable]


class _Kept:
    __slots__ = ("part", "response")

    def __init__(self, part: Any, response: Response) -> None:
        self.part = part  # kept, so that no other list gets its identity
        self.response = response


class _Making:
    __slots__ = ("body", "done")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.body: bytes | None = None


class Answers:
    """The kept answers of one listener."""

    def __init__(self, *, count_max: int = BODIES_COUNT_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._kept: Kept[Place, _Kept] = Kept(count_max=count_max, bytes_max=bytes_max)
        self._making: dict[Place, _Making] = {}

    def answer(
        self, part: P, way: Hashable, meta: QueryMeta, make: Callable[[P], bytes]
    ) -> Response | Awaitable[Response]:
        """Return the answer to a discovery read: `make(part)` as its body.

        `part` is the list or map of a reply, `way` names everything else that the body depends on.
        """
        place = (id(part), way)
        kept = self._kept.get(place)
        if kept is not None and kept.part is part:
            headers = discovery_headers(meta)
            if kept.response.headers != headers:
                kept.response = Response(200, kept.response.body, JSON_TYPE, headers)
            return kept.response
        if len(part) > INLINE_ITEMS_MAX:
            return self._answer_later(place, part, meta, make)
        return self._keep(place, part, make(part), meta)

    def _keep(self, place: Place, part: Any, body: bytes, meta: QueryMeta) -> Response:
        response = Response(200, body, JSON_TYPE, discovery_headers(meta))
        self._kept.put(place, _Kept(part, response), len(body))
        return response

    async def _answer_later(self, place: Place, part: P, meta: QueryMeta, make: Callable[[P], bytes]) -> Response:
        making = self._making.get(place)
        while making is not None:
            await making.done.wait()
            if making.body is not None:
                return self._found_or_kept(place, part, making.body, meta)
            making = self._making.get(place)  # whoever was at it has hung up
        making = self._making[place] = _Making()
        try:
            making.body = await trio.to_thread.run_sync(make, part)
        finally:
            del self._making[place]
            making.done.set()
        return self._found_or_kept(place, part, making.body, meta)

    def _found_or_kept(self, place: Place, part: Any, body: bytes, meta: QueryMeta) -> Response:
        kept = self._kept.get(place)
        if kept is not None and kept.response.body is body and kept.response.headers == discovery_headers(meta):
            return kept.response
        return self._keep(place, part, body, meta)
