"""The control page of one server: a small file, mapped by the harness, the wrapped server and the clock library.

Whoever changes a field changes it for all of them at once, and what a killed server counted can still be read. All
fields are signed 64-bit integers in the machine's order; each is written by one side only, so no lock is needed.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, overload

PAGE_BYTES: Final = 4096
PAGE_VARIABLE: Final = "MESH_SUBJECT_PAGE"
"""Environment variable with the file's path; the clock library reads it, too."""
QUOTA_ENDLESS: Final = -1
_NUMBER = struct.Struct("=q")


class Field:
    """One number of the page, as an attribute. Fields lie in the order in which they are written down."""

    def __init__(self, initial: int = 0) -> None:
        self.initial = initial
        self.offset_bytes = -1
        self.name = ""

    def __set_name__(self, owner: "type[Page]", name: str) -> None:
        self.name = name
        self.offset_bytes = len(owner.fields) * _NUMBER.size
        owner.fields = (*owner.fields, self)

    @overload
    def __get__(self, page: None, owner: object) -> "Field": ...
    @overload
    def __get__(self, page: "Page", owner: object) -> int: ...
    def __get__(self, page: "Page | None", owner: object) -> "int | Field":
        if page is None:
            return self
        value: int = _NUMBER.unpack_from(page.map, self.offset_bytes)[0]
        return value

    def __set__(self, page: "Page", value: int) -> None:
        _NUMBER.pack_into(page.map, self.offset_bytes, value)


class Page:
    """See the module's docstring."""

    fields: tuple[Field, ...] = ()

    # Written by the harness.

    sync_delay_us = Field()
    """Every sync begins so much later."""
    fail_next_sync = Field()
    """So many of the next syncs fail; the server counts it down."""
    quota_bytes = Field(QUOTA_ENDLESS)
    """So many bytes can still be written before the disk is full; the server counts it down."""
    wall_offset_ns = Field()
    """Added to the wall clock."""
    rate_ppb = Field()
    """The boot clock goes faster by so many parts in 10^9; may be negative."""

    # Written by the server's process.

    started_count = Field()
    unsynced_bytes = Field()
    """Written and not synced: they die with the process. After a kill: what it lost."""
    unsynced_names = Field()
    """Changes of names that were not synced, likewise."""
    syncs_count = Field()
    syncs_delayed = Field()
    syncs_failed = Field()
    writes_refused = Field()
    """For want of space."""
    bytes_leaked = Field()
    """Bytes that reached the disk without a sync, as they do on a real one."""

    # Written by the clock library.

    clock_reads = Field()
    """Readings that were changed."""
    boot_ahead_ns = Field()
    """How far the boot clock of this process was ahead of the machine's when it was last read."""

    def __init__(self, path: Path) -> None:
        """Map an existing page; raises OSError."""
        self.path = path
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), PAGE_BYTES)

    @classmethod
    def create(cls, path: Path) -> "Page":
        """Make the page, or map the one that is there: what it holds stays."""
        if not path.exists():
            content = b"".join(_NUMBER.pack(field.initial) for field in cls.fields)
            path.write_bytes(content.ljust(PAGE_BYTES, b"\0"))
        return cls(path)

    def heal_disk(self) -> None:
        """The disk is well from now on."""
        for field in (Page.sync_delay_us, Page.fail_next_sync, Page.quota_bytes):
            field.__set__(self, field.initial)

    def heal_clocks(self) -> None:
        """The clocks go right from now on. What the boot clock has gained or lost stays: it never goes back."""
        for field in (Page.wall_offset_ns, Page.rate_ppb):
            field.__set__(self, field.initial)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """All fields with their values."""
        return ((field.name, field.__get__(self, Page)) for field in self.fields)

    def close(self) -> None:
        """Unmap."""
        self.map.close()
