"""Watches against the agent's own API, with real programs and HTTP servers as handlers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from agent import watches as watches_module
from agent.http.inside import InsideAnswer, InsideClient
from agent.http.settings import HTTPSettings
from agent.watch_plan import WatchDefinition, parse_watch
from agent.watches import Watches, handle
from base.errors import NoLeader
from tests.fakes.http_server import http_site
from tests.unit.agent.checks.servers import read_request, serving


class Scripted:
    """Answers in order, then waits for ever; keeps what was asked."""

    def __init__(self, *answers: InsideAnswer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, float]] = []

    async def get(self, target: str, *, token: str = "") -> InsideAnswer:
        self.asked.append((target, token, trio.current_time()))
        await trio.sleep(1)
        if not self.answers:
            await trio.sleep_forever()
        return self.answers.pop(0)


@asynccontextmanager
async def running(watches: Watches) -> AsyncGenerator[None, None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(watches.run)
        yield
        nursery.cancel_scope.cancel()


def nodes(**more: Any) -> WatchDefinition:
    return parse_watch({"type": "nodes", **(more or {"args": ["x"]})})


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """What a double of the handlers was given."""
    found: list[tuple[int, bytes]] = []

    async def handle(definition: WatchDefinition, index: int, result: bytes) -> None:
        found.append((index, result))

    monkeypatch.setattr(watches_module, "handle", handle)
    return found


async def test_the_loop(autojump_clock: trio.testing.MockClock, handled: list[tuple[int, bytes]]) -> None:
    reader = Scripted(
        InsideAnswer(200, 4, b"[1]"),
        InsideAnswer(500, 0, b"No cluster leader"),
        InsideAnswer(500, 0, b"No cluster leader"),
        InsideAnswer(200, 4, b"[1]"),
        InsideAnswer(200, 5, b"[2]"),
        InsideAnswer(200, 2, b"[2]"),
    )
    async with running(Watches(reader, [nodes(args=["x"], token="secret")])):
        await trio.sleep(100)
    assert handled == [(4, b"[1]\n"), (5, b"[2]\n")]
    assert [target.partition("?")[2] for target, _, _ in reader.asked] == [
        "", "index=4", "index=4", "index=4", "index=4", "index=5", "",
    ]  # fmt: skip
    assert {token for _, token, _ in reader.asked} == {"secret"}
    assert reader.asked[2][2] - reader.asked[1][2] == pytest.approx(1 + 5)
    assert reader.asked[3][2] - reader.asked[2][2] == pytest.approx(1 + 20)


async def test_a_reload_keeps_what_is_still_there(
    autojump_clock: trio.testing.MockClock, handled: list[tuple[int, bytes]]
) -> None:
    reader = Scripted(*(InsideAnswer(200, 1, b"[%d]" % number) for number in range(2)))
    kept, gone, new = nodes(args=["kept"]), nodes(args=["gone"]), nodes(args=["new"])
    watches = Watches(reader, [kept, gone])
    async with running(watches):
        await trio.sleep(10)
        asked = len(reader.asked)
        tasks = trio.lowlevel.current_statistics().tasks_living
        reader.answers.append(InsideAnswer(200, 1, b"[2]"))
        watches.replace([new, kept])
        await trio.sleep(10)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(handled) == 3
        assert len(reader.asked) == asked + 2  # the new one's, and none of the one that stayed
        watches.replace([])
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == tasks - 2


async def test_a_handler_with_a_defect_ends_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def broken(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    monkeypatch.setattr(watches_module, "handle", broken)
    reader = Scripted(InsideAnswer(200, 1, b"[1]"), InsideAnswer(200, 2, b"[2]"))
    async with running(Watches(reader, [nodes()])):
        await trio.sleep(10)
    assert calls == 2


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_a_program_gets_the_result_and_its_index(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = f"(echo $CONSUL_INDEX; cat) > {out}"
    await handle(nodes(args=["/bin/sh", "-c", line]), 17, b'[{"Node":"a"}]\n')
    assert text_of(out) == '17\n[{"Node":"a"}]\n'
    await handle(nodes(handler=line), 18, b"[]\n")
    assert text_of(out) == "18\n[]\n"


async def test_programs_that_fail_flood_or_are_not_there_are_only_logged(tmp_path: Path) -> None:
    await handle(nodes(handler="exit 3"), 1, b"x" * 1_000_000)
    await handle(nodes(handler="head -c 3000000 /dev/zero"), 1, b"[]")
    await handle(nodes(args=["/nonexistent"]), 1, b"[]")
    out = tmp_path / "out"
    await handle(nodes(handler=f"echo done > {out}"), 1, b"[]")
    assert text_of(out) == "done\n"


async def test_a_program_that_hangs_is_ended_and_never_runs_twice_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "HANDLER_S_MAX", 1.0)
    out = tmp_path / "out"

    class Changing:
        index = 0

        async def get(self, target: str, *, token: str = "") -> InsideAnswer:
            await trio.lowlevel.checkpoint()
            self.index += 1
            return InsideAnswer(200, self.index, b"[%d]" % self.index)

    line = f"echo begin >> {out}; sleep 1000; echo end >> {out}"
    async with running(Watches(Changing(), [nodes(handler=line)])):
        with trio.fail_after(60):
            while text_of(out).count("begin") < 2:
                await trio.sleep(0.05)
    assert "end" not in text_of(out)


async def test_a_request_gets_the_result_and_its_index() -> None:
    requests: list[bytes] = []

    async def site(stream: trio.abc.Stream) -> None:
        request = await read_request(stream)
        while not request.endswith(b"[7]\n"):
            request += await stream.receive_some()
        requests.append(request)
        await stream.send_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    async with serving(site) as address:
        config = {"path": f"http://{address}/hook", "method": "PUT", "header": {"X-Own": ["a", "b"]}}
        await handle(nodes(handler_type="http", http_handler_config=config), 42, b"[7]\n")
    head = requests[0].partition(b"\r\n\r\n")[0].decode()
    assert head.startswith("PUT /hook HTTP/1.1\r\n")
    for line in ("X-Consul-Index: 42", "Content-Type: application/json", "X-Own: a", "X-Own: b"):
        assert line in head.split("\r\n")


async def test_a_request_that_is_not_answered_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with serving(silent) as address:
        config = {"path": f"http://{address}/", "timeout": "3s"}
        began_s = trio.current_time()
        await handle(nodes(handler_type="http", http_handler_config=config), 1, b"[]")
        assert trio.current_time() - began_s == pytest.approx(3.0)
    await handle(nodes(handler_type="http", http_handler_config={"path": "http://127.0.0.1:1/"}), 1, b"[]")


async def test_what_is_read_inside_is_what_clients_get() -> None:
    async with http_site() as site:
        client = InsideClient(HTTPSettings(block_endpoints=("/v1/kv",)), site.delegate, site.agent)
        await site.ask("PUT", "/v1/kv/a%20b", b"<x>")
        _, headers, body = await site.ask("GET", "/v1/kv/a%20b?token=secret")
        _, asked = site.delegate.calls[-1]
        answer = await client.get("/v1/kv/a%20b?", token="secret")
        assert answer == InsideAnswer(200, int(headers["x-consul-index"]), body)
        assert site.delegate.calls[-1] == ("KVS.Get", asked)
        site.delegate.error = NoLeader()
        assert await client.get("/v1/kv/a") == InsideAnswer(500, 0, b"No cluster leader")
        assert (await client.get("/v1/nothing")).status == 404


async def test_an_answer_that_makes_no_sense_ends_no_other_watch(
    autojump_clock: trio.testing.MockClock, handled: list[tuple[int, bytes]]
) -> None:
    key = parse_watch({"type": "key", "key": "k", "args": ["x"]})
    reader = Scripted(InsideAnswer(200, 4, b"[]"), InsideAnswer(200, 4, b"no JSON"), InsideAnswer(200, 5, b"[7]"))
    async with running(Watches(reader, [key])):
        await trio.sleep(60)
    assert handled == [(5, b"7\n")]
