"""Tells a handler that listens for HTTP of a change. Source: agent specification, section 10."""

from typing import Final

import httpx
import trio

from agent.checks.body import read_body
from agent.checks.dial import reason_of, verified_or_not
from agent.checks.output import Tail
from agent.checks.transport import WaryTransport
from agent.watch_plan import HTTPHandler
from base.log import get_logger

OUTPUT_BYTES_MAX: Final = 4096
ANSWER_BYTES_MAX: Final = 64 * 1024

_log = get_logger("agent.watches")


async def ask(handler: HTTPHandler, index: int, result: bytes) -> None:
    """Send it; what comes of it goes to the log."""
    own = [(name, value) for name, values in handler.header.items() for value in values]
    headers = [*own, ("Content-Type", "application/json"), ("X-Consul-Index", str(index))]
    tail = Tail(OUTPUT_BYTES_MAX)
    with trio.move_on_after(handler.timeout_s):
        try:
            transport = WaryTransport(verified_or_not(handler.tls_skip_verify))
            async with (
                httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client,  # noqa: S113
                client.stream(handler.method, handler.path, content=result, headers=headers) as response,
            ):
                await read_body(response, tail.feed, ANSWER_BYTES_MAX)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            _log.error("watch handler could not be reached", path=handler.path, error=reason_of(error))
            return
        if response.is_success:
            _log.debug("watch handler done", path=handler.path, output=tail.text())
        else:
            _log.error("watch handler failed", path=handler.path, status=response.status_code, output=tail.text())
        return
    _log.error("watch handler did not answer in time", path=handler.path, limit_s=handler.timeout_s)
