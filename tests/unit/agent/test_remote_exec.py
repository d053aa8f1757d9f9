"""Remote execution: what is run, what is refused, and that nothing outlives its bounds."""

import base64
import json
import os
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from agent import remote_exec
from agent.events import EventRing, pack_event
from agent.remote_exec import RemoteExecutor, folder_of, job_of
from base import codec
from base.errors import InvalidRequest
from structs.event import EVENT_PREFIX, UserEvent
from structs.kv import KVApplyReply, KVEntry, KVGetReply
from structs.query import Consistency, QueryMeta

SESSION = "00000000-0000-4000-8000-000000000001"
FOLDER = f"_rexec/{SESSION}/"
EVENT = UserEvent(
    event_id="00000000-0000-4000-8000-0000000000aa",
    name="_rexec",
    payload=json.dumps({"Prefix": "_rexec", "Session": SESSION}).encode(),
)


class Servers:
    """Keys of one session, as the servers keep them."""

    def __init__(self, job: dict[str, Any] | None) -> None:
        self.job = job
        self.session = SESSION
        self.keys: dict[str, bytes] = {}
        self.lives = True
        self.ended = trio.Event()

    def call(self, method: str, request: Any, reply: Any) -> Any:
        codec.encode(request)
        if method == "KVS.Get":
            assert request.options.consistency is Consistency.CONSISTENT
            entry = KVEntry(key=request.key, value=json.dumps(self.job).encode(), session=self.session)
            return KVGetReply(entry=entry if self.job is not None else None, meta=QueryMeta())
        if not self.lives:
            return KVApplyReply(ok=False)
        assert (request.command.session, request.command.verb) == (SESSION, "lock")
        name = request.command.key.removeprefix(f"{FOLDER}n1/")
        self.keys[name] = request.command.value
        if name == "exit":
            self.ended.set()
        return KVApplyReply(ok=True)

    @property
    def output(self) -> bytes:
        return b"".join(self.keys[name] for name in sorted(self.keys) if name.startswith("out/"))


@asynccontextmanager
async def executor(servers: Servers, **options: Any) -> Any:
    runner = RemoteExecutor(delegate=servers, node="n1", token="", **options)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        yield runner
        nursery.cancel_scope.cancel()


async def run(job: dict[str, Any], **options: Any) -> Servers:
    servers = Servers(job)
    async with executor(servers, **options) as runner:
        runner.offer(EVENT)
        with trio.fail_after(30):
            await servers.ended.wait()
    return servers


async def test_a_command_is_acknowledged_run_by_a_shell_and_its_code_told() -> None:
    servers = await run({"Command": "echo out; echo err >&2; exit 3", "Wait": 10**9})
    assert servers.keys["ack"] == b""
    assert servers.output == b"out\nerr\n"
    assert servers.keys["exit"] == b"3"


async def test_arguments_are_run_as_they_are_and_scripts_from_a_file() -> None:
    assert (await run({"Args": ["printf", "%s", "$HOME; x"]})).output == b"$HOME; x"
    script = base64.b64encode(b"#!/bin/sh\necho from a script").decode()
    assert (await run({"Script": script})).output == b"from a script\n"


async def test_what_cannot_be_started_says_so() -> None:
    servers = await run({"Args": ["/nonexistent/program"]})
    assert servers.keys["exit"] == b"255"
    assert b"cannot be started" in servers.output


async def test_output_comes_in_pieces_and_silence_as_signs_of_life() -> None:
    servers = await run({"Command": "head -c 10000 /dev/zero; sleep 1", "Wait": 3 * 10**8})
    pieces = [servers.keys[name] for name in sorted(servers.keys) if name.startswith("out/")]
    assert [len(piece) for piece in pieces[:3]] == [4096, 4096, 1808]
    assert b"" in pieces[3:]
    assert servers.keys["exit"] == b"0"


async def test_a_job_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    servers = await run({"Command": f"sleep 600 & echo $! > {mark}; wait", "Wait": 10**8}, time_s_max=1.0)
    assert servers.keys["exit"] == b"137"
    assert servers.output.endswith(b"killed: its time is over\n")
    await gone(int(mark.read_text()))


async def test_a_job_that_prints_too_much_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_exec, "OUTPUT_BYTES_MAX", 20_000)
    servers = await run({"Command": "yes"})
    assert servers.keys["exit"] == b"137"
    assert len(servers.output) < 40_000


async def test_a_job_ends_with_its_session_and_with_the_agent(tmp_path: Path) -> None:
    for how in ("session", "agent"):
        mark = tmp_path / how
        servers = Servers({"Command": f"echo $$ > {mark}; exec sleep 600", "Wait": 10**8})
        async with executor(servers) as runner:
            runner.offer(EVENT)
            await until(lambda mark=mark: mark.exists() and mark.read_text().strip())  # type: ignore[misc]
            if how == "session":
                servers.lives = False
                await gone(int(mark.read_text()))
        await gone(int(mark.read_text()))
        assert "exit" not in servers.keys


async def gone(pid: int) -> None:
    def is_gone() -> bool:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    await until(is_gone)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.01)


async def test_a_job_that_its_session_does_not_hold_is_not_run() -> None:
    servers = Servers({"Command": "true"})
    servers.session = "another"
    async with executor(servers) as runner:
        runner.offer(EVENT)
        await trio.testing.wait_all_tasks_blocked()
    assert servers.keys == {}


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b'{"Session": "x", "Prefix": "_rexec"}', json.dumps({"Session": SESSION, "Prefix": "/"}).encode()],
)
def test_events_that_name_no_job_are_refused(payload: bytes) -> None:
    with pytest.raises(InvalidRequest):
        folder_of(payload)


@pytest.mark.parametrize(
    "value",
    [b"{}", b"nothing", b'{"Command": 1}', b'{"Args": [1]}', b'{"Script": "%"}', b'{"Args": "ls"}', b"x" * (1 << 19)],
)
def test_jobs_that_make_no_sense_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        job_of(FOLDER, SESSION, value)


def test_nothing_is_told_of_such_events_unless_somebody_asked() -> None:
    ring = EventRing(node_name="n1")
    taken: list[UserEvent] = []

    def arrive(event: UserEvent) -> None:
        assert ring.receive(7, f"{EVENT_PREFIX}{event.name}", pack_event(event)) is None

    arrive(EVENT)
    ring.on_execution = taken.append
    arrive(EVENT)
    arrive(EVENT)
    arrive(replace(EVENT, event_id="00000000-0000-4000-8000-0000000000bb", node_filter="^n2$"))
    assert [event.event_id for event in taken] == [EVENT.event_id]
    assert ring.events() == []


async def test_too_many_jobs_at_once_are_dropped() -> None:
    runner = RemoteExecutor(delegate=Servers(None), node="n1", token="")  # type: ignore[arg-type]
    for _ in range(remote_exec.JOBS_WAITING_MAX + 5):
        runner.offer(EVENT)
    assert runner._receive.statistics().current_buffer_used == remote_exec.JOBS_WAITING_MAX


@pytest.mark.parametrize(
    ("payload", "job"),
    [
        (EVENT.payload, {"Command": "echo x", "Wait": 10**400}),
        (EVENT.payload, {"Command": "\ud800"}),
        (json.dumps({"Prefix": "\ud800", "Session": SESSION}).encode(), None),
    ],
)
async def test_an_odd_job_does_not_end_the_agent(payload: bytes, job: dict[str, Any] | None) -> None:
    servers = Servers(job)
    async with executor(servers) as runner:
        runner.offer(replace(EVENT, payload=payload))
        await trio.testing.wait_all_tasks_blocked(0.1)
        servers.job, servers.ended = {"Command": "echo next"}, trio.Event()
        runner.offer(EVENT)
        with trio.fail_after(30):
            await servers.ended.wait()


async def test_processes_of_another_user_are_left_behind_and_the_agent_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refused)
    servers = await run({"Command": "exit 4"})
    assert servers.keys["exit"] == b"4"
