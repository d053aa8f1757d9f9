"""`mesh snapshot save | restore | inspect`. Source: command-line specification, snapshot."""

import os

from base.errors import InvalidRequest, MeshError
from mesh.archive import ArchiveMeta, verify
from mesh.cli.context import Context
from mesh.cli.output import pairs

PRIVATE = 0o600
"""An archive holds every secret of the cluster."""


def save(context: Context) -> int:
    """Stream an archive to FILE.unverified, verify it, and only then give it its name."""
    path = context.argument("FILE")
    partial = f"{path}.unverified"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            with (
                context.client.snapshot.save(context.read()) as stream,
                context.output.progress("Saving", None, unit_is_bytes=True) as advance,
            ):
                for chunk in stream:
                    file.write(chunk)
                    advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        meta = _verified(partial)
        os.replace(partial, path)
    except MeshError as error:
        _remove(partial)
        context.output.error(f"Error saving snapshot: {error}")
        return 1
    except OSError as error:
        _remove(partial)
        context.output.error(f"Error saving snapshot: {error.filename or path}: {error.strerror}")
        return 1
    context.output.line(f"Saved and verified snapshot to index {meta.index}")
    return 0


def restore(context: Context) -> int:
    """Verify an archive here, then send it."""
    path = context.argument("FILE")
    try:
        _verified(path)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            with context.output.progress("Restoring", size, unit_is_bytes=True) as advance:
                context.client.snapshot.restore(file, size, advance)
    except OSError as error:
        context.output.error(f"Error opening snapshot file: {path}: {error.strerror}")
        return 1
    except MeshError as error:
        context.output.error(f"Error restoring snapshot: {error}")
        return 1
    context.output.line("Restored snapshot")
    return 0


def inspect(context: Context) -> int:
    """Verify an archive and print its meta data."""
    path = context.argument("FILE")
    try:
        meta = _verified(path)
    except OSError as error:
        context.output.error(f"Error opening snapshot file: {path}: {error.strerror}")
        return 1
    except InvalidRequest as error:
        context.output.error(f"Error verifying snapshot: {error}")
        return 1
    rows = [
        ("ID", meta.archive_id),
        ("Size", str(meta.size_bytes)),
        ("Index", str(meta.index)),
        ("Term", str(meta.term)),
        ("Version", str(meta.version)),
    ]
    for line in pairs(rows):
        context.output.line(line)
    return 0


def _verified(path: str) -> ArchiveMeta:
    with open(path, "rb") as file:
        return verify(file)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
