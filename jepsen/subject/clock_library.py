"""Compiles the clock library (`clock.c`) once for each run, where there is a C compiler."""

import os
import shutil
import subprocess
from pathlib import Path

from jepsen.subject.page import PAGE_BYTES, Page

SOURCE = Path(__file__).with_name("clock.c")
LIBRARY_NAME = "clock.so"
COMPILE_TIMEOUT_S = 30.0


class CompilerFailed(Exception):
    """The compiler is there and refused; the text is what it said."""


def build(folder: Path) -> Path | None:
    """Return the library in `folder`, compiled if it is not there; None without a compiler. Raises CompilerFailed."""
    library = folder.absolute() / LIBRARY_NAME
    if library.exists():
        return library
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    unfinished = library.with_suffix(f".{os.getpid()}.tmp")
    done = subprocess.run(  # noqa: S603  the machine's own compiler, our own source
        [compiler, "-O2", "-shared", "-fPIC", *_definitions(), "-o", str(unfinished), str(SOURCE), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMPILE_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise CompilerFailed(done.stderr)
    unfinished.replace(library)
    return library


def _definitions() -> list[str]:
    offsets = {
        "PAGE_BYTES": PAGE_BYTES,
        "WALL_OFFSET_OFFSET": Page.wall_offset_ns.offset_bytes,
        "RATE_PPB_OFFSET": Page.rate_ppb.offset_bytes,
        "CLOCK_READS_OFFSET": Page.clock_reads.offset_bytes,
        "BOOT_AHEAD_OFFSET": Page.boot_ahead_ns.offset_bytes,
    }
    return [f"-D{name}={value}" for name, value in offsets.items()]
