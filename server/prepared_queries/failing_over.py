"""Asks other datacenters, one after the other, until one has a healthy instance. Carries out what failover.py plans."""

import trio
from msgspec.structs import replace

from base import codec
from base.errors import MeshError
from base.log import get_logger
from server.endpoints.registry import METHODS
from server.prepared_queries.failover import plan, share_s
from server.services import Services
from structs.prepared_query import ExecuteRemoteRequest, ExecuteReply, ExecuteRequest, PreparedQuery

REMOTE_METHOD = "PreparedQuery.ExecuteRemote"

_log = get_logger("prepared_queries")


async def fail_over(
    services: Services, query: PreparedQuery, request: ExecuteRequest, empty: ExecuteReply
) -> ExecuteReply:
    """Return the first answer that has instances, else `empty`, both with how many datacenters were asked.

    All of them together take no longer than a call is held for: whoever asked waits little longer than that.
    """
    own = services.config.datacenter
    known = services.router.datacenters(services.wan_position(), services.wan_positions())
    datacenters = plan(query.service.failover, [name for name in known if name != own])
    deadline_s = trio.current_time() + services.config.rpc_hold_timeout_s
    for position, datacenter in enumerate(datacenters):
        left_s = share_s(deadline_s - trio.current_time(), len(datacenters) - position)
        reply = await _asked(services, datacenter, query, request, left_s)
        if reply is not None and reply.instances:
            return replace(reply, failovers=position + 1, meta=empty.meta)
    return replace(empty, failovers=len(datacenters))


async def _asked(
    services: Services, datacenter: str, query: PreparedQuery, request: ExecuteRequest, timeout_s: float
) -> ExecuteReply | None:
    """Return what a datacenter answers, None where it does not."""
    remote = ExecuteRemoteRequest(
        query=query,
        limit=request.limit,
        connect=request.connect,
        options=replace(request.options, datacenter=datacenter),
    )
    error_text = "no answer in time"
    with trio.move_on_after(max(0.0, timeout_s)):
        try:
            body = await services.elsewhere.call(datacenter, METHODS[REMOTE_METHOD], remote, None)
            return codec.decode(ExecuteReply, body)
        except MeshError as error:
            error_text = str(error)
    _log.warn("a prepared query was not answered elsewhere", datacenter=datacenter, error=error_text)
    return None
