"""Archives of the whole state, streamed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from mesh.query import DEFAULT_READ, Read
from mesh.transport import CHUNK_BYTES, ByteStream

if TYPE_CHECKING:
    from mesh.client import Client

Progress = Callable[[int], None]
"""Told how many bytes went by since the last time."""


class Snapshot:
    """`client.snapshot`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    @contextmanager
    def save(self, read: Read = DEFAULT_READ) -> Iterator[ByteStream]:
        """Iterate over the bytes of an archive. It is complete only if the iteration ended without an error."""
        with self._client.download("/v1/snapshot", read) as stream:
            yield stream

    def restore(self, archive: BinaryIO, bytes_count: int, progress: Progress = lambda _: None) -> None:
        """Replace the state of the whole cluster by an archive of `bytes_count` bytes."""

        def chunks() -> Iterator[bytes]:
            while chunk := archive.read(CHUNK_BYTES):
                progress(len(chunk))
                yield chunk

        self._client.upload("/v1/snapshot", chunks(), bytes_count)
