"""Small servers on loopback that answer checks as they are told."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from agent.checks.interface import CheckSettings
from structs.check_spec import CheckSpec

SETTINGS = CheckSettings(node_name="here")
Handler = Callable[[trio.abc.Stream], Awaitable[None]]


def spec(**more: object) -> CheckSpec:
    return CheckSpec(check_id="c", name="c", interval_s=60.0, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str, None]:
    """A TCP server on loopback; yields host:port. What breaks in a handler because the check left is nobody's error."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await handler(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.abc.Stream) -> bytes:
    """Everything up to the end of a request's head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        if not piece:
            break
        data += piece
    return data


def over_tls(handler: Handler, context: ssl.SSLContext) -> Handler:
    async def handle(stream: trio.abc.Stream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await secured.do_handshake()
        await handler(secured)

    return handle
