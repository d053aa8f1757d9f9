"""What this machine lets a harness do. Each ability is really tried, in namespaces that are thrown away.

`python -m jepsen.machine` prints it. Trying takes namespaces of a whole process, so `detect` runs this file as a child.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from jepsen.network.kernel import (
    NotPossible,
    enter_network_namespace,
    in_network_namespace,
    ip,
    new_network_namespace,
    path_of,
    run,
    unshare,
)
from jepsen.network.namespaces import try_filter

ABILITIES: Final = {
    "links": "user-space links between nodes",
    "namespaces": "nodes in network namespaces of their own, joined by a bridge",
    "packet-filter": "dropping packets inside such a namespace (nf_tables)",
    "packet-queue": "holding packets back inside such a namespace (nfnetlink_queue)",
    "netem": "delay by the kernel's own queue discipline; only told, nothing here needs it",
    "tmpfs": "mounting a small file system in memory",
    "compiler": "building the library that shifts clocks",
    "strace": "failing chosen system calls of a process",
}
"""Name -> what for. In the order in which people read them."""

TRIAL_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 2.0
CLONE_NEWNS: Final = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What can be done here."""

    abilities: frozenset[str]
    missing: dict[str, str]
    """Ability -> why not, in a sentence."""
    facts: dict[str, str]


def detect() -> Machine:
    """Try everything. Takes well under a second, leaves nothing behind, never raises for what is not there."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jepsen.machine", "--json"],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            timeout=TRIAL_TIMEOUT_S,
            check=True,
        )
        return msgspec.json.decode(done.stdout, type=Machine)
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        why = f"The trial of this machine's abilities failed: {error}."
        return Machine(abilities=frozenset(), missing=dict.fromkeys(ABILITIES, why), facts=facts())


def facts() -> dict[str, str]:
    """The machine in a few words."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "processors": str(os.cpu_count()),
        "memory": f"{pages * page_bytes // 2**20} MiB",
        "user": "root" if os.geteuid() == 0 else "not root",
    }


def _try_links() -> None:
    if sys.platform != "linux":
        raise NotPossible("Only on Linux is all of 127.0.0.0/8 local, and only there /proc tells who dials.")


def _try_namespaces() -> None:
    """From here on this process is in a namespace of its own, which the next trials use."""
    if shutil.which("nsenter") is None:
        raise NotPossible("nsenter (Debian package util-linux) is not installed.")
    enter_network_namespace()
    namespace = new_network_namespace()
    ip(
        "link add try type bridge",
        f"link add try-1 type veth peer name eth0 netns {path_of(namespace)}",
        "link set try-1 master try up",
    )
    in_network_namespace(namespace, lambda: ip("addr add 10.77.0.11/24 dev eth0", "link set eth0 up"))
    run(["nsenter", f"--net={path_of(namespace)}", "--", "true"])
    os.close(namespace)


def _try_packet_filter() -> None:
    try_filter(queue=False)


def _try_packet_queue() -> None:
    try_filter(queue=True)


def _try_netem() -> None:
    run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])


def _try_tmpfs() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    unshare(CLONE_NEWNS)

    def mount(kind: bytes | None, folder: str, flags: int, data: bytes | None) -> None:
        if libc.mount(kind, folder.encode(), kind, ctypes.c_ulong(flags), data) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    mount(None, "/", MS_REC | MS_PRIVATE, None)  # else the rest of the machine would see the next one
    with tempfile.TemporaryDirectory() as folder:
        mount(b"tmpfs", folder, 0, b"size=64k")
        try:
            (Path(folder) / "try").write_bytes(b"x")
        finally:
            libc.umount2(folder.encode(), 0)


def _try_compiler() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "try.c", Path(folder) / "try.so"
        source.write_text("#include <time.h>\nint try(void) { return sizeof(struct timespec); }\n", encoding="ascii")
        run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)])
        ctypes.CDLL(str(library))


def _try_strace() -> None:
    run(["strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"])


_TRIALS: Final[dict[str, Callable[[], None]]] = {
    "links": _try_links,
    "compiler": _try_compiler,
    "strace": _try_strace,
    "namespaces": _try_namespaces,
    "packet-filter": _try_packet_filter,
    "packet-queue": _try_packet_queue,
    "netem": _try_netem,
    "tmpfs": _try_tmpfs,
}
"""In this order: `namespaces` moves this process."""
_INSIDE: Final = frozenset({"packet-filter", "packet-queue", "netem"})
"""Tried only in a namespace of our own: elsewhere they would touch the machine's own network."""


def _try_all() -> Machine:
    missing: dict[str, str] = {}
    known = facts()
    for ability, trial in _TRIALS.items():
        try:
            if ability in _INSIDE and "namespaces" in missing:
                raise NotPossible("There is no network namespace of our own to have it in.")
            trial()
        except NotPossible as error:
            missing[ability] = str(error)
        except OSError as error:
            missing[ability] = f"The kernel refuses: {error.strerror}."
    return Machine(abilities=frozenset(_TRIALS) - frozenset(missing), missing=missing, facts=known)


def _main() -> None:
    machine = _try_all()
    if "--json" in sys.argv:
        sys.stdout.buffer.write(msgspec.json.encode(machine))
        return
    for ability, what in ABILITIES.items():
        mark = "yes" if ability in machine.abilities else "no "
        print(f"{mark} {ability:14} {what}")
        if ability in machine.missing:
            print(f"    {machine.missing[ability]}")


if __name__ == "__main__":
    _main()
