"""Runs what somebody in the cluster asks for by an event; off unless `disable_remote_exec = false`.

Whoever may fire events and lock keys under `_rexec/` then runs programs as the user of this agent: that is its purpose.
The event names a session; the job is a key that this session has locked, read with the proof that it is current, and
what comes of it is written beside it as long as the session lives. Source: command-line specification, exec.

Bounds: jobs at a time and waiting, bytes of a job and of its output, its time. A job ends with its whole process group:
when its time is over, its output too much, its session gone, or the agent stops.
"""

import base64
import binascii
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from agent.http.registry import Delegate
from base.codec import Record
from base.errors import InvalidRequest, InvariantBroken, MeshError
from base.log import get_logger, trace_of
from structs.event import UserEvent
from structs.kv import KVApplyReply, KVApplyRequest, KVCommand, KVGetReply, KVGetRequest, KVVerb
from structs.query import Consistency, QueryOptions, WriteOptions

JOBS_MAX = 2
"""At a time. They are run beside everything that the host is for."""
JOBS_WAITING_MAX = 16
JOB_BYTES_MAX = 256 * 1024
OUTPUT_BYTES_MAX = 1024 * 1024
"""Each piece of it is an entry of the log."""
TIME_S_MAX = 3600.0
PIECE_BYTES = 4096
FLUSH_S = 0.5
"""Output that stopped coming is sent after so long."""
WAIT_S_MIN, WAIT_S_DEFAULT, WAIT_S_MAX = 0.1, 2.0, 60.0
"""Between two signs of life, as the job wants them."""
CLOSE_S = 1.0
"""Left to whoever else has the job's output open, after the job itself has ended."""
REAP_S = 5.0
"""How long a killed process is waited for; one that could not be killed is left to the kernel."""
EXIT_NOT_RUN = 255
EXIT_KILLED = 137
PREFIX_CHARACTERS_MAX = 256
NANOSECONDS = 1_000_000_000

_session = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE).fullmatch
_log = get_logger("agent")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: `arguments` as they are, or a `script`, or `command` by a shell."""

    folder: str
    """Where answers go, with its slash."""
    session: str
    command: str = ""
    arguments: tuple[str, ...] = ()
    script: bytes = b""
    wait_s: float = WAIT_S_DEFAULT


def folder_of(payload: bytes) -> tuple[str, str]:
    """Return the folder and the session that an event names; raises InvalidRequest."""
    body = _decoded(payload)
    prefix, session = body.get("Prefix"), body.get("Session")
    if not isinstance(prefix, str) or not prefix.strip("/") or len(prefix) > PREFIX_CHARACTERS_MAX:
        raise InvalidRequest("the prefix of the job is none")
    if not isinstance(session, str) or not _session(session):
        raise InvalidRequest("the session of the job is none")
    return f"{prefix.rstrip('/')}/{session}/", session


def job_of(folder: str, session: str, value: bytes) -> Job:
    """Return the job in the value of a key; raises InvalidRequest."""
    if len(value) > JOB_BYTES_MAX:
        raise InvalidRequest(f"the job is larger than {JOB_BYTES_MAX} bytes")
    body = _decoded(value)
    command, arguments = body.get("Command") or "", body.get("Args") or []
    script, wait = body.get("Script") or "", body.get("Wait") or 0
    if not isinstance(command, str) or not isinstance(script, str) or not isinstance(arguments, list):
        raise InvalidRequest("the job has fields of other types")
    if not all(isinstance(word, str) and "\0" not in word for word in (command, *arguments)):
        raise InvalidRequest("the job has words that are none")
    try:
        program = base64.b64decode(script, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest(f"the script is not base64: {error}") from error
    if not command and not arguments and not program:
        raise InvalidRequest("the job is empty")
    is_given = isinstance(wait, int) and wait > 0
    seconds = min(wait, WAIT_S_MAX * NANOSECONDS) / NANOSECONDS if is_given else WAIT_S_DEFAULT
    return Job(
        folder=folder,
        session=session,
        command=command,
        arguments=tuple(arguments),
        script=program,
        wait_s=max(seconds, WAIT_S_MIN),
    )


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidRequest("not a JSON object")
    return body


class RemoteExecutor:
    """`offer` is told of events; `run` owns all tasks."""

    def __init__(self, *, delegate: Delegate, node: str, token: str, time_s_max: float = TIME_S_MAX) -> None:
        self._delegate = delegate
        self._node = node
        self._token = token
        self._time_s_max = time_s_max
        self._send, self._receive = trio.open_memory_channel[UserEvent](JOBS_WAITING_MAX)

    def offer(self, event: UserEvent) -> None:
        """Take an event that is meant for this agent; too many are dropped."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            _log.warn("remote execution refused", reason="too many jobs", id=event.event_id)

    async def run(self) -> None:
        """Run jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(JOBS_MAX):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for event in self._receive:
            try:
                folder, session = folder_of(event.payload)
                job = await self._fetched(folder, session)
                await self._carry_out(job)
            except InvariantBroken:
                raise
            except (MeshError, OSError) as error:
                _log.warn("remote execution failed", id=event.event_id, reason=str(error))
            except Exception as error:  # the border: what others ask for must not end the agent
                _log.error("remote execution met a defect", id=event.event_id, error=repr(error), trace=trace_of(error))

    async def _fetched(self, folder: str, session: str) -> Job:
        """Return the job, read with the proof that the leader leads; raises InvalidRequest where there is none."""
        request = KVGetRequest(
            key=f"{folder}job", options=QueryOptions(consistency=Consistency.CONSISTENT, token=self._token)
        )
        reply: KVGetReply = await self._call("KVS.Get", request, KVGetReply)
        entry = reply.entry
        if entry is None or entry.session != session:
            raise InvalidRequest("there is no such job, or its session does not hold it")
        return job_of(folder, session, entry.value)

    async def _carry_out(self, job: Job) -> None:
        if not await self._write(job, "ack", b""):
            return
        _log.info("remote execution", folder=job.folder, command=job.command or " ".join(job.arguments) or "script")
        with tempfile.TemporaryDirectory(prefix="mesh-exec-", ignore_cleanup_errors=True) as place:
            try:
                words = _words(job, place)
                process = await trio.lowlevel.open_process(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                await self._write(job, "out/00000", f"cannot be started: {error}\n".encode())
                await self._write(job, "exit", str(EXIT_NOT_RUN).encode())
                return
            async with _group_of(process):
                code = await self._followed(job, process)
        await self._write(job, "exit", str(code).encode())

    async def _followed(self, job: Job, process: trio.Process) -> int:
        """Send on what it prints until it ends, and return its code; EXIT_KILLED where it was made to end."""
        assert process.stdout is not None
        pieces = _Pieces()
        over = trio.CancelScope(deadline=trio.current_time() + self._time_s_max)
        complaint = "its time is over"
        with over:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pieces.read_from, process.stdout)
                nursery.start_soon(pieces.close_after, process)
                while (piece := await pieces.next(job.wait_s)) is not None:
                    if not await self._write(job, f"out/{pieces.sent_count:05x}", piece):
                        complaint = ""  # nobody is there to hear it
                        over.cancel()
                    pieces.sent_count += 1
                    if pieces.is_too_much:
                        complaint = f"it printed more than {OUTPUT_BYTES_MAX} bytes"
                        over.cancel()
                nursery.cancel_scope.cancel()
            while not await _has_ended(process, job.wait_s):  # it closed its output, and goes on
                if not await self._write(job, f"out/{pieces.sent_count:05x}", b""):
                    complaint = ""
                    over.cancel()
                pieces.sent_count += 1
        if not over.cancelled_caught:
            return process.returncode if process.returncode is not None and process.returncode >= 0 else EXIT_KILLED
        if complaint:
            await self._write(job, f"out/{pieces.sent_count:05x}", f"killed: {complaint}\n".encode())
        return EXIT_KILLED

    async def _write(self, job: Job, name: str, value: bytes) -> bool:
        """Write one answer, locked by the session; returns whether that is still there."""
        command = KVCommand(verb=KVVerb.LOCK, key=f"{job.folder}{self._node}/{name}", value=value, session=job.session)
        request = KVApplyRequest(command=command, options=WriteOptions(token=self._token))
        try:
            reply: KVApplyReply = await self._call("KVS.Apply", request, KVApplyReply)
        except MeshError as error:
            _log.debug("answer of remote execution not written", name=name, error=str(error))
            return False
        return reply.ok

    async def _call(self, method: str, request: Record, kind: type[Any]) -> Any:
        reply = self._delegate.call(method, request, kind)
        return reply if isinstance(reply, kind) else await reply


def _words(job: Job, place: str) -> list[str]:
    if job.script:
        path = os.path.join(place, "script")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(descriptor, "wb") as file:
            file.write(job.script)
        return [path] if job.script.startswith(b"#!") else ["/bin/sh", path]
    if job.arguments:
        return list(job.arguments)
    return ["/bin/sh", "-c", job.command]


async def _has_ended(process: trio.Process, patience_s: float) -> bool:
    with trio.move_on_after(patience_s):
        await process.wait()
    return process.returncode is not None


@asynccontextmanager
async def _group_of(process: trio.Process) -> AsyncGenerator[None, None]:
    """End the process group when the block ends, whatever is left of it."""
    try:
        yield
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            _log.debug("remote execution left nothing behind", pid=process.pid)
        except PermissionError:  # as after sudo
            _log.warn("remote execution left processes of another user behind", pid=process.pid)
        with trio.move_on_after(REAP_S) as scope:  # after a SIGKILL it is a moment
            scope.shield = True
            await process.wait()


class _Pieces:
    """Output in pieces of some size, sent when full or when nothing came for a while."""

    def __init__(self) -> None:
        self.sent_count = 0
        self._send, self._receive = trio.open_memory_channel[bytes](1)
        self._buffer = bytearray()
        self._bytes_total = 0
        self._closed = False

    @property
    def is_too_much(self) -> bool:
        """Whether more was printed than is passed on."""
        return self._bytes_total > OUTPUT_BYTES_MAX

    async def read_from(self, stream: trio.abc.ReceiveStream) -> None:
        """Read until the end of the output."""
        async with self._send:
            try:
                while data := await stream.receive_some(PIECE_BYTES):
                    await self._send.send(bytes(data))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                return

    async def close_after(self, process: trio.Process) -> None:
        """Wait for the end of the program; whoever else has its output open gets a moment more."""
        await process.wait()
        await trio.sleep(CLOSE_S)
        if process.stdout is not None:
            await process.stdout.aclose()

    async def next(self, wait_s: float) -> bytes | None:
        """Return the next piece, b"" where nothing was printed for `wait_s`, None at the end."""
        idle_s = 0.0
        while len(self._buffer) < PIECE_BYTES and not self._closed:
            data = None
            with trio.move_on_after(min(FLUSH_S, wait_s)) as patience:
                try:
                    data = await self._receive.receive()
                except trio.EndOfChannel:
                    self._closed = True
            if data is not None:
                self._buffer += data
                self._bytes_total += len(data)
                if self.is_too_much:
                    break
            elif patience.cancelled_caught:
                idle_s += min(FLUSH_S, wait_s)
                if self._buffer or idle_s >= wait_s:
                    break
        if not self._buffer and self._closed:
            return None
        piece = bytes(self._buffer[:PIECE_BYTES])
        del self._buffer[:PIECE_BYTES]
        return piece
