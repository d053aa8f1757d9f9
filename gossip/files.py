"""The two files of a pool: whom we knew (snapshot), and the keys (keyring).

The snapshot only saves a detour at the next start, so it is appended without a sync, and what cannot be read or written
is a line in the log. The keyring is written whole, synced and renamed, since without it a member is locked out. A disk
that has failed once is tried anew with the next change: each write is whole by itself.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from base.disk import Disk, write_atomically
from base.errors import ConfigInvalid, DiskFailed, InvalidRequest
from base.log import get_logger
from gossip import instructions as ins
from gossip.keyring import Keyring, dump_keyring, load_keyring

FILE_MODE: Final = 0o600
SNAPSHOT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Read at most; it is rewritten long before that."""

_log = get_logger("gossip")


class GossipFiles:
    """Paths may be None: nothing is kept."""

    def __init__(self, make_disk: Callable[[], Disk], *, snapshot: Path | None, keyring: Path | None) -> None:
        """Make the folders; raises DiskFailed. `make_disk` returns a disk on which nothing has failed yet."""
        self._make_disk = make_disk
        disk = self._disk = make_disk()
        self._snapshot = snapshot
        self._keyring = keyring
        self._failing: set[Path] = set()
        """Files whose last write failed."""
        for path in (snapshot, keyring):
            if path is not None:
                disk.make_folder(path.parent)

    def read_snapshot(self) -> str:
        """Return what is left of the snapshot, "" if there is none."""
        if self._snapshot is None:
            return ""
        try:
            with self._snapshot.open("rb") as file:
                return file.read(SNAPSHOT_BYTES_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""
        except OSError as error:
            _log.warn("members of before are not known", file=str(self._snapshot), error=error.strerror or str(error))
            return ""

    def read_keyring(self, configured: bytes | None) -> Keyring | None:
        """Return the keys in force: those of the file, or `configured`, which then starts the file; None for none.

        Raises ConfigInvalid for a file that cannot be read as a list of keys.
        """
        path = self._keyring
        if path is None or not self._disk.exists(path):
            if configured is None:
                return None
            if path is not None:
                self._write_keys(Keyring([configured]))
            return Keyring([configured])
        try:
            keyring = load_keyring(self._disk.read(path).decode("utf-8", "replace"))
        except InvalidRequest as error:
            raise ConfigInvalid(f"{path}: {error}") from error
        if configured is not None and configured not in keyring.keys:
            _log.warn("the key in the configuration is not in the keyring file, which counts", file=str(path))
        return keyring

    def write(self, batch: Sequence[ins.Instruction]) -> None:
        """Carry out WriteSnapshot and WriteKeyring in their order. Of failures in a row the first is logged."""
        for instruction in batch:
            if isinstance(instruction, ins.WriteSnapshot) and self._snapshot is not None:
                self._attempt(self._snapshot, partial(self._write_snapshot, self._snapshot, instruction))
            elif isinstance(instruction, ins.WriteKeyring) and self._keyring is not None:
                self._attempt(self._keyring, partial(self._write_keys, Keyring(instruction.keys)))

    def _attempt(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, DiskFailed) as error:
            self._disk = self._make_disk()
            if path not in self._failing:
                self._failing.add(path)
                _log.error("cannot write a file of gossip", file=str(path), error=str(error))
        else:
            if path in self._failing:
                self._failing.discard(path)
                _log.info("a file of gossip is written again", file=str(path))

    def _write_snapshot(self, path: Path, instruction: ins.WriteSnapshot) -> None:
        data = instruction.text.encode("utf-8", "surrogateescape")
        if instruction.replace:
            compact = path.with_name(path.name + ".compact")
            self._append(compact, data, os.O_TRUNC)
            os.replace(compact, path)
        else:
            self._append(path, data, os.O_APPEND)

    @staticmethod
    def _append(path: Path, data: bytes, flag: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag, FILE_MODE)
        try:
            before_bytes = os.fstat(descriptor).st_size
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            except OSError:
                with suppress(OSError):  # half a line would look whole with another behind it
                    os.ftruncate(descriptor, before_bytes)
                raise
        finally:
            os.close(descriptor)

    def _write_keys(self, keyring: Keyring) -> None:
        if self._keyring is not None:
            write_atomically(self._disk, self._keyring, dump_keyring(keyring).encode("ascii"))
