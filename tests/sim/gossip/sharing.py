"""What thousands of simulated members read and write alike is read and written once.

A message is decoded by each of its receivers, and the record of a member is encoded by each sender of a table, mostly
from and to the same bytes. Records and bytes are immutable, so members that live in one process may share them: what
travels and what is made of it stay the same, only the simulator's time for it does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from gossip.fields import to_bytes
from gossip.messages import Message, decode
from gossip.push_pull import PushPull, decode_push_pull, encode_push_pull

MESSAGES_SHARED_MAX = 1 << 14
RECORDS_SHARED_MAX = 1 << 15
TABLES_SHARED_MAX = 1 << 10
"""Tables under way: those of some seconds."""


@contextmanager
def shared_decoding() -> Iterator[None]:
    """Let members share what they read, for as long as this lasts."""
    shared_decode = lru_cache(MESSAGES_SHARED_MAX)(decode)
    tables: dict[bytes, PushPull] = {}

    def decode_message(data: bytes | memoryview) -> Message:
        return shared_decode(bytes(data))

    def encode_table(table: PushPull) -> bytes:
        message = encode_push_pull(table)
        if len(tables) >= TABLES_SHARED_MAX:
            tables.clear()
        tables[message] = table
        return message

    def decode_table(message: bytes) -> PushPull:
        table = tables.pop(message, None)
        return decode_push_pull(message) if table is None else table

    shared: dict[str, Any] = {
        "gossip.swim.decode": decode_message,
        "gossip.exchanges.encode_push_pull": encode_table,
        "gossip.exchanges.decode_push_pull": decode_table,
        "gossip.push_pull.to_bytes": lru_cache(RECORDS_SHARED_MAX)(to_bytes),
    }
    patches = [patch(name, function) for name, function in shared.items()]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
