"""/v1/agent/host: the machine that the agent runs on. Source: modern deltas, section 5."""

import trio

from acl.access import OPERATOR_READ
from agent.host import host_facts
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response

THREADS_MAX = 2
"""Threads that look at the machine at once; further requests wait for their turn."""
_looking = trio.CapacityLimiter(THREADS_MAX)


@route("/v1/agent/host", "GET", access=OPERATOR_READ, is_write=False)
async def host(context: RequestContext) -> Response:
    """Return memory, processors, system and disk of the machine; what cannot be found out is told in `Errors`."""
    return json_response(await trio.to_thread.run_sync(host_facts, limiter=_looking))
