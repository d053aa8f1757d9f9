"""A blocking query as an iterator: one answer at once, then one for each change.

    for answer in watch(client, lambda read: client.health.service("web", passing=True, read=read)):
        use(answer.value)

    async for answer in watch_in_trio(client, lambda read: client.health.service("web", passing=True, read=read)):
        use(answer.value)

An answer equal to the last one is not told again, whatever its index. Errors that pass are waited out, with back-off
and jitter; others are raised. The iteration ends when the client is closed. `mesh/watch_state.py` decides.
"""

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from base.errors import MeshError
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.watch_state import WatchState, next_index
from structs.kv import KVEntry

if TYPE_CHECKING:
    from mesh.client import Client
    from mesh.trio_client import TrioClient

__all__ = ["TrioWatch", "next_index", "watch", "watch_in_trio", "watch_key", "watch_key_in_trio"]
T = TypeVar("T")


def watch(client: "Client", ask: Callable[[Read], Answer[T]], read: Read = DEFAULT_READ) -> Iterator[Answer[T]]:
    """Yield the first answer of `ask`, and then one whenever it is another; `read` says how it is asked."""
    state: WatchState[T] = WatchState(read, random.Random())
    while not (state.pause_s and client.pause(state.pause_s)):
        began_s = time.monotonic()
        try:
            answer = ask(state.next_read())
        except MeshError as error:
            state.failed(error)
            continue
        if state.answered(answer, took_s=time.monotonic() - began_s):
            yield answer


class TrioWatch(Generic[T]):
    """What `watch_in_trio` returns: an async iterator that needs no closing."""

    def __init__(self, client: "TrioClient", ask: Callable[[Read], Awaitable[Answer[T]]], read: Read) -> None:
        self._client = client
        self._ask = ask
        self._state: WatchState[T] = WatchState(read, random.Random())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Answer[T]:
        state = self._state
        while not (state.pause_s and await self._client.pause(state.pause_s)):
            began_s = time.monotonic()
            try:
                answer = await self._ask(state.next_read())
            except MeshError as error:
                state.failed(error)
                continue
            if state.answered(answer, took_s=time.monotonic() - began_s):
                return answer
        raise StopAsyncIteration


def watch_in_trio(
    client: "TrioClient", ask: Callable[[Read], Awaitable[Answer[T]]], read: Read = DEFAULT_READ
) -> TrioWatch[T]:
    """Return the same as `watch`, for `async for`."""
    return TrioWatch(client, ask, read)


def watch_key(client: "Client", key: str, read: Read = DEFAULT_READ) -> Iterator[Answer[KVEntry | None]]:
    """Yield the entry of one key, None while it does not exist, and again at each change."""
    return watch(client, lambda options: client.kv.read(key, options), read)


def watch_key_in_trio(client: "TrioClient", key: str, read: Read = DEFAULT_READ) -> TrioWatch[KVEntry | None]:
    """Return the same for `async for`."""
    return watch_in_trio(client, lambda options: client.kv.read(key, options), read)
