"""Namespaces of this process and its threads, as Python 3.11 does not offer them. Source: unshare(2), setns(2)."""

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
IP_TIMEOUT_S: Final = 10

Result = TypeVar("Result")


class NotPossible(Exception):
    """This machine, or this user, cannot have it; the text is a sentence."""


def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise NotPossible("Network namespaces exist on Linux only.")
    return ctypes.CDLL(None, use_errno=True)


def _check(code: int) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Put the calling thread into fresh namespaces; raises OSError."""
    _check(_libc().unshare(ctypes.c_int(flags)))


def enter_network_namespace() -> None:
    """Put this whole process, and what it starts, into a fresh network namespace of its own, with loopback only.

    Without privileges, a user namespace in which we have them comes around it; then every file we may touch still is
    ours. Nothing of this has a name: it goes when the last process in it ends, however that ends. Must be called while
    this process has one thread, since namespaces belong to threads. Raises NotPossible.
    """
    if threading.active_count() != 1:
        raise NotPossible("A process can change its network namespace only before it starts threads.")
    try:
        unshare(CLONE_NEWNET)
    except OSError:
        _enter_user_namespace()
    ip("link set lo up")


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    except OSError as error:
        raise NotPossible(f"A network namespace needs root, or user namespaces open to everybody: {error}.") from error


def new_network_namespace() -> int:
    """Make one that nobody is in, and return the descriptor that keeps it alive; raises OSError."""

    def make() -> int:
        unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def in_network_namespace(namespace: int, function: Callable[[], Result]) -> Result:
    """Call `function` inside: sockets that it makes, and processes that it starts, stay there. Raises what it does."""

    def enter_and_call() -> Result:
        _check(_libc().setns(ctypes.c_int(namespace), ctypes.c_int(CLONE_NEWNET)))
        return function()

    return _in_thread(enter_and_call)


def _in_thread(function: Callable[[], Result]) -> Result:
    """Call `function` in a thread that ends with it, so that nobody else inherits its namespaces."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=call, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def path_of(descriptor: int) -> str:
    """A path under which processes that we start find this descriptor of ours."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def netlink_socket(protocol: int) -> socket.socket:
    """A socket to the kernel, in the namespace of the calling thread."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


def ip(*commands: str) -> None:
    """Run commands of ip(8) in the namespace of the calling thread; raises NotPossible, naming what it said."""
    run(["ip", "-batch", "-"], "\n".join(commands))


def run(command: Sequence[str], text: str = "") -> None:
    """Run a short command; raises NotPossible."""
    try:
        done = subprocess.run(  # noqa: S603  fixed commands of this package
            command, input=text, capture_output=True, text=True, timeout=IP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPossible(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()).rstrip(".") or f"exit code {done.returncode}"
        raise NotPossible(f"`{' '.join(command)}` failed: {said}.")
