"""Check kind docker: a program inside a container, run through the engine's exec API. Source: agent specification,
section 4.

The engine has no call that ends such a program: one that takes too long goes on in its container, while its check is
critical and the connection closed.
"""

import os
from collections.abc import Callable
from urllib.parse import quote

import httpx
import trio

from agent.checks.body import read_body
from agent.checks.dial import reason_of
from agent.checks.interface import CheckSettings, Result
from agent.checks.output import Tail, output_bytes_max, timed_out_text
from base.errors import InvalidRequest, Unreachable
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec
from structs.json_codec import decode_json

HOST_DEFAULT = "unix:///var/run/docker.sock"
ANSWER_BYTES_MAX = 1024 * 1024
OUTPUT_BYTES_MAX = 16 * 1024 * 1024
"""More output is not read: the program has ended for us, and is not passing."""
OUTPUT_PIECES_MAX = 1 << 20
"""The engine is no stranger, and passes on every line by itself."""
FRAME_HEAD_BYTES = 8
_STATUS = {0: CheckStatus.PASSING, 1: CheckStatus.WARNING}


class Frames:
    """Sans-IO: takes the engine's frames apart (stream number, three zeros, length, payload)."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._head = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece, whatever its borders; the payload goes to the tail at once."""
        position = 0
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                self._tail.feed(piece)
                self._left -= len(piece)
                position += len(piece)
            else:
                wanted = FRAME_HEAD_BYTES - len(self._head)
                piece = data[position : position + wanted]
                self._head += piece
                position += len(piece)
                if len(self._head) == FRAME_HEAD_BYTES:
                    self._left = int.from_bytes(self._head[4:], "big")
                    self._head.clear()


class Engine:
    """The container engine at one address; raises Unreachable for whatever goes wrong."""

    def __init__(self, host: str) -> None:
        """`host`: unix://PATH or tcp://HOST:PORT; "": as the environment says. Raises Unreachable for others."""
        host = host or os.environ.get("DOCKER_HOST", "") or HOST_DEFAULT
        self._host = host
        scheme, _, rest = host.partition("://")
        if scheme not in ("unix", "tcp", "http") or not rest:
            raise Unreachable(f"docker: the engine's address {host!r} is neither unix:// nor tcp://")
        self._socket_path = rest if scheme == "unix" else None
        self._base = "http://docker" if scheme == "unix" else f"http://{rest}"

    async def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """Return the JSON object that the engine answers."""
        data = bytearray()
        await self._exchange(method, path, body, data.extend, ANSWER_BYTES_MAX)
        try:
            answer = decode_json(bytes(data))
        except InvalidRequest as error:
            raise Unreachable(f"docker: {method} {path}: {error}") from error
        if not isinstance(answer, dict):
            raise Unreachable(f"docker: {method} {path}: the answer is no object")
        return answer

    async def stream(self, path: str, body: dict[str, object], tail: Tail) -> None:
        """Feed `tail` with what a program writes, until it has ended."""
        await self._exchange("POST", path, body, Frames(tail).feed, OUTPUT_BYTES_MAX)

    async def _exchange(
        self, method: str, path: str, body: dict[str, object] | None, take: Callable[[bytes], None], most: int
    ) -> None:
        transport = httpx.AsyncHTTPTransport(uds=self._socket_path, verify=False, trust_env=False)
        try:
            async with (
                httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client,  # noqa: S113
                client.stream(method, self._base + path, json=body) as response,
            ):
                if response.status_code >= httpx.codes.BAD_REQUEST:
                    raise Unreachable(f"docker: {method} {path}: {response.status_code} {await _text_of(response)}")
                if not await read_body(response, take, most, pieces_max=OUTPUT_PIECES_MAX):
                    raise Unreachable(f"docker: {method} {path}: more than {most} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unreachable(f"docker: no engine at {self._host}: {reason_of(error)}") from error


async def _text_of(response: httpx.Response) -> str:
    tail = Tail(512)
    await read_body(response, tail.feed, ANSWER_BYTES_MAX)
    return tail.text().strip()


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Run the program in its container once."""
    tail = Tail(output_bytes_max(spec, settings))
    with trio.move_on_after(timeout_s):
        try:
            return await _run(spec, settings, tail)
        except Unreachable as error:
            return Result(CheckStatus.CRITICAL, str(error))
    return Result(CheckStatus.CRITICAL, timed_out_text(timeout_s, tail))


async def _run(spec: CheckSpec, settings: CheckSettings, tail: Tail) -> Result:
    engine = Engine(settings.docker_host)
    wanted: dict[str, object] = {
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Cmd": list(spec.args),
    }
    made = await engine.call("POST", f"/containers/{quote(spec.docker_container_id, safe='')}/exec", wanted)
    path = f"/exec/{quote(str(made.get('Id', '')), safe='')}"
    await engine.stream(f"{path}/start", {"Detach": False, "Tty": False}, tail)
    code = (await engine.call("GET", f"{path}/json")).get("ExitCode")
    if not isinstance(code, int) or isinstance(code, bool):
        raise Unreachable("docker: the engine does not say how the program ended")
    return Result(_STATUS.get(code, CheckStatus.CRITICAL), tail.program_text())
