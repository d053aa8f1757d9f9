"""/v1/agent/monitor: the log as it is written. Source: HTTP API, section 1; modern deltas, section 12 (`logjson`)."""

from collections.abc import Awaitable

from acl.access import AGENT_READ
from agent.http.registry import RequestContext, route
from agent.http.response import STREAMED, TEXT_TYPE, Response, text_response
from agent.http.streaming import follow, stream_rule
from base.log import SINK, Level, Tap

MONITORS_MAX = 32
"""At once. Each costs a connection and some hundred lines; at level DEBUG, all requests are written for it."""
LOOK_S = 0.2
"""How often new lines are sent: they leave in groups, so a busy log costs few packets."""
LEVELS = {"TRACE": Level.TRACE, "DEBUG": Level.DEBUG, "INFO": Level.INFO, "WARN": Level.WARN, "ERR": Level.ERR}
LEVELS["ERROR"] = Level.ERR
TOO_MANY_TEXT = "Too many monitors of this agent's log"


@route("/v1/agent/monitor", "GET", access=AGENT_READ, is_write=False, rule_of=stream_rule)
def monitor(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the log, first up to 512 lines of the past, then each line as it is written, without an end.

    `loglevel`: TRACE, DEBUG, INFO (the default), WARN or ERR, whatever the agent's own level is; what the agent
    itself does not write is not kept for later. `logjson`: one JSON object a line. A client that does not keep up
    misses lines and is told how many. 429 where 32 follow already.
    """
    wanted = context.query.get("loglevel")
    level = LEVELS.get(wanted.upper() or "INFO")
    if level is None:
        return text_response(400, f"Unknown log level: {wanted}")
    context.is_blocking = True
    return _monitor(context, level, as_json=context.query.has("logjson"))


async def _monitor(context: RequestContext, level: Level, *, as_json: bool) -> Response:
    if SINK.taps_count >= MONITORS_MAX:  # asked where it is taken: others may begin between a request and its task
        return text_response(429, TOO_MANY_TEXT)
    tap = SINK.follow(level)
    try:
        head = Response(200, b"", TEXT_TYPE, b"X-Content-Type-Options: nosniff\r\n")
        await follow(context, head, lambda: _text_of(tap, as_json=as_json), pause_s=LOOK_S)
    finally:
        SINK.unfollow(tap)
    return STREAMED


def _text_of(tap: Tap, *, as_json: bool) -> bytes:
    """Return what is new, each line with its end."""
    lines, missed_count = tap.take()
    texts = [line.text(as_json=as_json) for line in lines]
    if missed_count:
        texts.append(SINK.line(Level.WARN, "agent", "monitor: lines missed", count=missed_count).text(as_json=as_json))
    return "".join(f"{text}\n" for text in texts).encode("utf-8", "backslashreplace")
