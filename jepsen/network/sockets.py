"""Which process owns the far end of a connection on this machine, as the kernel's tables tell it."""

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

ADDRESS_COLUMN, REMOTE_COLUMN, INODE_COLUMN = 1, 2, 9
"""Columns of /proc/net/tcp (proc(5))."""


def _hexadecimal(address: tuple[str, int]) -> str:
    # The kernel prints the address as one number in the machine's own byte order.
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def inode_of(local: tuple[str, int], remote: tuple[str, int], table: str) -> str:
    """The inode of the IPv4 socket with these ends in the text of /proc/net/tcp; "" if there is none any more."""
    wanted_local, wanted_remote = _hexadecimal(local), _hexadecimal(remote)
    for line in table.splitlines():
        if wanted_local not in line:
            continue
        columns = line.split()
        if columns[ADDRESS_COLUMN] == wanted_local and columns[REMOTE_COLUMN] == wanted_remote:
            return columns[INODE_COLUMN] if columns[INODE_COLUMN] != "0" else ""
    return ""


def has_socket(pid: int, inode: str) -> bool:
    """Whether the process has this socket open; False if it is gone or not ours to see."""
    wanted = f"socket:[{inode}]"
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            if os.readlink(f"{folder}/{descriptor}") == wanted:
                return True
        except OSError:
            continue  # closed between listing and reading
    return False


def owner_of(local: tuple[str, int], remote: tuple[str, int], pids: Mapping[str, int]) -> str | None:
    """The name whose process holds the socket that is bound to `local` and connected to `remote`; None if nobody's."""
    inode = inode_of(local, remote, Path("/proc/net/tcp").read_text(encoding="ascii"))
    if not inode:
        return None
    return next((name for name, pid in pids.items() if has_socket(pid, inode)), None)
