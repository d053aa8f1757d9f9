"""A blocking query as an iterator: one answer at once, then one for each change."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from base.errors import MeshError
from mesh.errors import may_repeat
from mesh.query import DEFAULT_READ, Answer, Read
from structs.kv import KVEntry

if TYPE_CHECKING:
    from mesh.client import Client

T = TypeVar("T")
PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 30.0
"""Between attempts while the agent or its servers are away; doubled from the least to the most."""


def watch(client: "Client", ask: Callable[[Read], Answer[T]], read: Read = DEFAULT_READ) -> Iterator[Answer[T]]:
    """Yield the first answer of `ask`, and then one whenever its index has moved. Ends when the client is closed.

    An index that goes back (servers restored from an archive) starts from the beginning, as does one below 1. Errors
    that pass are waited out; others are raised.
    """
    index = 0
    yielded = -1
    pause_s = PAUSE_S_MIN
    while True:
        try:
            answer = ask(
                Read(consistency=read.consistency, index=index, wait_s=read.wait_s, datacenter=read.datacenter)
            )
        except MeshError as error:
            if not may_repeat(error, is_read=True):
                raise
            if client.pause(pause_s):
                return
            pause_s = min(pause_s * 2, PAUSE_S_MAX)
            continue
        pause_s = PAUSE_S_MIN
        if answer.index != yielded:
            yielded = answer.index
            yield answer
        index = next_index(index, answer.index)


def next_index(asked: int, answered: int) -> int:
    """The index for the next blocking read: 0 where it went back, otherwise at least 1."""
    return 0 if answered < asked else max(answered, 1)


def watch_key(client: "Client", key: str, read: Read = DEFAULT_READ) -> Iterator[Answer[KVEntry | None]]:
    """Yield the entry of one key, None while it does not exist, and again at each change."""
    return watch(client, lambda options: client.kv.read(key, options), read)
