"""Answers that go on until the client leaves: the log, and metrics as they come."""

from collections.abc import Callable

import trio

from agent.http.reader import BodyRule
from agent.http.registry import RequestContext
from agent.http.response import Response
from agent.http.settings import HTTPSettings

PIECE_BYTES_MAX = 64 * 1024
"""What is sent at once; a client that does not take it within the write deadline is given up."""


def stream_rule(_: HTTPSettings) -> BodyRule:
    """The connection hands out an exchange for requests without a limit of their body; nobody reads such a body."""
    return BodyRule(None, "")


async def follow(context: RequestContext, head: Response, take: Callable[[], bytes], *, pause_s: float) -> None:
    """Send what `take` returns, and look again after `pause_s`, until the client hangs up (which cancels).

    The head leaves at once, so that the client sees that it is being served.
    """
    exchange = context.exchange
    await exchange.begin_answer(head)
    while True:
        piece = take()
        if not piece:
            exchange.stay()
            await trio.sleep(pause_s)
        for start in range(0, len(piece), PIECE_BYTES_MAX):
            await exchange.send_piece(piece[start : start + PIECE_BYTES_MAX])
