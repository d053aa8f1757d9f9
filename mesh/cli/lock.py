"""`mesh lock`: runs a program while a lock or a place of a semaphore is held.

Source: command-line specification, lock.
"""

import signal
import threading

from base.durations import parse_duration_s
from base.errors import InvalidRequest, MeshError
from mesh.cli.child import Child, command_line, signals_to
from mesh.cli.context import Context
from mesh.lock import Holder, Lock, Semaphore

EXIT_CHILD_FAILED = 2
NOT_ACQUIRED_TEXT = "Shutdown triggered or timeout during lock acquisition"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _Shutdown(BaseException):  # no error: the user does not want to wait any more
    """A signal came before the lock did."""


def lock(context: Context) -> int:
    """Get the lock, run the program, give the lock back."""
    given = context.given
    if len(given.arguments) < 2 or not given.arguments[0].strip("/"):
        context.output.error("Key prefix and child command must be specified")
        return 1
    prefix, words = given.arguments[0].removeprefix("/"), given.arguments[1:]
    limit = given.number("n", 1)
    if limit < 1:
        context.output.error("Lock holder limit must be positive")
        return 1
    timeout_s = _seconds(given.text("timeout") or given.text("try"))
    program = command_line(words, shell=given.switch("shell") or not given.is_given("shell"))
    holder = _holder(context, prefix, limit, " ".join(words))
    _say(context, f"Setting up {'lock' if limit == 1 else 'semaphore'} at path: {prefix}")
    try:
        code = _held(context, holder, program, timeout_s)
    except MeshError as error:
        context.output.error(f"Lock acquisition failed: {error}")
        return 1
    if code is None:
        context.output.error(NOT_ACQUIRED_TEXT)
        return 1
    _tidy(context, holder)
    return code


def _holder(context: Context, prefix: str, limit: int, words: str) -> Holder:
    name = context.given.text("name") or f"Consul lock for '{words}' at '{prefix}'"
    retries = context.given.number("monitor-retry", 3)
    if limit == 1:
        key = prefix.rstrip("/") + "/.lock"
        return Lock(context.client, key, session_name=name, monitor_retries_max=retries)
    return Semaphore(context.client, prefix, limit, session_name=name, monitor_retries_max=retries)


def _seconds(text: str) -> float | None:
    """Return how long to wait, None: for ever."""
    if not text:
        return None
    try:
        found_s = parse_duration_s(text)
    except ValueError as error:
        raise InvalidRequest(f"invalid timeout: {error}") from error
    if found_s < 0:
        raise InvalidRequest("timeout must be positive")
    return found_s or None


def _held(context: Context, holder: Holder, program: list[str], timeout_s: float | None) -> int | None:
    """Return the exit code of the command, None where the lock was not got."""

    def shut_down(number: int) -> None:
        if number in ENDING:
            raise _Shutdown

    _say(context, "Attempting lock acquisition")
    try:
        with signals_to(shut_down):
            held = holder.acquire(timeout_s)
    except _Shutdown:
        return None
    if held is None:
        return None
    try:
        environment = {**context.environment, "CONSUL_LOCK_HELD": "true"}
        child = Child(program, environment, pass_stdin=context.given.switch("pass-stdin"))
    except InvalidRequest:
        holder.release()
        _tidy(context, holder)
        raise
    woken = threading.Event()
    child.on_end(woken.set)
    with signals_to(child.signal):
        while not woken.wait(0.1) and not held.lost.is_set():  # a look now and then is enough for who has lost it
            continue
        if held.lost.is_set() and child.code is None:
            context.output.error(f"Lock lost, killing child: {held.lost_reason}")
            child.end()
            holder.release()
            return 1
    _say(context, "Child terminated, releasing lock")
    failed = bool(child.code)
    if held.lost.is_set() or not holder.release():
        context.output.error(f"Lock release failed: {held.lost_reason or 'the agent does not confirm it'}")
        return 1
    return EXIT_CHILD_FAILED if failed and context.given.switch("child-exit-code") else 0


def _tidy(context: Context, holder: Holder) -> None:
    """Delete the lock if nobody wants it; that it cannot be deleted is no failure."""
    try:
        holder.remove()
    except MeshError as error:
        _say(context, f"Cleanup aborted, lock in use: {error}")
    else:
        _say(context, "Cleanup succeeded")


def _say(context: Context, text: str) -> None:
    if context.given.switch("verbose"):
        context.output.error(text)
