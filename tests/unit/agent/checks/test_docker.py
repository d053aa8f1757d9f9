"""Check kind docker: against a double of the engine's exec endpoints and, where one answers, a real engine."""

import json
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.checks import docker
from agent.checks.interface import Result
from agent.checks.output import Tail
from base.errors import Unreachable
from tests.unit.agent.checks.servers import SETTINGS, read_request, serving, spec


def frame(data: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def reply(status: str, value: object) -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Engine:
    """Knows one container, `web`; every program in it writes `output` and ends with `code`."""

    def __init__(self, output: bytes = b"", code: object = 0, *, hangs: bool = False) -> None:
        self.output = output
        self.code = code
        self.hangs = hangs
        self.calls: list[tuple[str, object]] = []

    async def handle(self, stream: trio.abc.Stream) -> None:
        request = await read_request(stream)
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        size = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), 0)
        while len(body) < size:
            body += await stream.receive_some()
        call = " ".join(head.decode().split(" ")[:2])
        self.calls.append((call, json.loads(body) if body else None))
        if call == "POST /containers/web/exec":
            await stream.send_all(reply("201 Created", {"Id": "e1"}))
        elif call == "POST /exec/e1/start":
            head_text = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
            await stream.send_all(head_text + self.output)
            if self.hangs:
                await trio.sleep_forever()
            await stream.aclose()
        elif call == "GET /exec/e1/json":
            await stream.send_all(reply("200 OK", {"ExitCode": self.code, "Running": False}))
        else:
            await stream.send_all(reply("404 Not Found", {"message": "No such container: gone"}))


async def run(engine: Engine, container: str = "web", timeout_s: float = 30.0) -> Result:
    async with serving(engine.handle) as address:
        settings = replace(SETTINGS, docker_host=f"tcp://{address}")
        checked = spec(docker_container_id=container, args=["/bin/check", "-v"])
        return await docker.run(checked, settings, timeout_s)


@pytest.mark.parametrize(("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical"), (137, "critical")])
async def test_the_exit_code_decides(code: int, status: str) -> None:
    engine = Engine(frame(b"out\n") + frame(b"err\n", 2), code)
    assert await run(engine) == Result(status, "out\nerr\n")
    made = {"AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Tty": False, "Cmd": ["/bin/check", "-v"]}
    assert engine.calls == [
        ("POST /containers/web/exec", made),
        ("POST /exec/e1/start", {"Detach": False, "Tty": False}),
        ("GET /exec/e1/json", None),
    ]


async def test_a_container_that_is_not_there() -> None:
    result = await run(Engine(), "gone")
    assert result.status == "critical"
    assert "404" in result.output
    assert "No such container: gone" in result.output


async def test_names_cannot_leave_their_place_in_the_path() -> None:
    engine = Engine()
    await run(engine, "../web/exec?x=")
    assert engine.calls[0][0] == "POST /containers/..%2Fweb%2Fexec%3Fx%3D/exec"


async def test_one_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    result = await run(Engine(frame(b"begun"), hangs=True), timeout_s=30.0)
    assert result == Result("critical", "Timed out (30s) running check\n\nbegun")


async def test_a_flood_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "OUTPUT_BYTES_MAX", 256 * 1024)
    result = await run(Engine(frame(b"x" * 1024 * 1024)))
    assert result.status == "critical"
    assert "more than 262144 bytes" in result.output


async def test_long_output_keeps_its_end() -> None:
    result = await run(Engine(frame(b"a" * 5000) + frame(b"end")))
    assert result.output.startswith("Captured 4096 of 5003 bytes\n...\naaa")
    assert result.output.endswith("aend")


@pytest.mark.parametrize("code", [None, True, "0"])
async def test_an_engine_that_does_not_say_how_it_ended(code: object) -> None:
    result = await run(Engine(b"", code))
    assert (result.status, result.output) == ("critical", "docker: the engine does not say how the program ended")


async def test_no_engine_is_critical_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    settings = replace(SETTINGS, docker_host=f"unix://{path}")
    result = await docker.run(spec(docker_container_id="web", args=["x"]), settings, 5.0)
    assert result.status == "critical"
    assert result.output.startswith(f"docker: no engine at unix://{path}: ")
    with pytest.raises(Unreachable, match="neither unix:// nor tcp://"):
        docker.Engine("ssh://somewhere")


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "docker.sock")
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(path)
    listening.listen()
    engine = Engine(frame(b"hi"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, engine.handle, [trio.SocketListener(listening)])
        settings = replace(SETTINGS, docker_host=f"unix://{path}")
        result = await docker.run(spec(docker_container_id="web", args=["x"]), settings, 30.0)
        nursery.cancel_scope.cancel()
    assert result == Result("passing", "hi")


@given(st.lists(st.binary(max_size=20)), st.data())
def test_frames_whatever_their_borders(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(frame(payload) for payload in payloads)
    tail = Tail(1000)
    frames = docker.Frames(tail)
    position = 0
    while position < len(whole):
        size = data.draw(st.integers(1, 30))
        frames.feed(whole[position : position + size])
        position += size
    assert tail.count == sum(map(len, payloads))
    assert tail.text() == b"".join(payloads).decode("utf-8", "replace")


async def engine_complaint() -> str:
    """Why there is no engine to test against at DOCKER_HOST or the usual socket, "" where one answers."""
    try:
        with trio.fail_after(10):
            version = await docker.Engine("").call("GET", "/version")
    except (Unreachable, trio.TooSlowError) as error:
        return f"no container engine answers: {error}"
    print(f"container engine {version.get('Version')}")
    return ""


def test_against_a_real_engine() -> None:
    """An unknown container, which needs no image: the engine's own words must come through."""
    complaint = trio.run(engine_complaint)
    if complaint:
        print(complaint)
        pytest.skip(complaint)
    checked = spec(docker_container_id="no-such-container-of-mesh", args=["true"])
    result = trio.run(docker.run, checked, SETTINGS, 30.0)
    assert result.status == "critical"
    assert "no such container" in result.output.lower()
