"""Check kind h2ping: an HTTP/2 connection that answers a ping."""

import trio

from agent.checks.dial import connected, tls_context
from agent.checks.http2 import HTTP2Connection
from agent.checks.interface import CheckSettings, Result
from base.errors import Unreachable
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Connect and ping once."""
    failed = f"Failed to dial to {spec.h2ping}"
    reason = "context deadline exceeded"
    with trio.move_on_after(timeout_s):
        try:
            context = tls_context(spec, settings, "h2") if spec.h2ping_use_tls else None
            async with connected(spec.h2ping, timeout_s, context, spec.tls_server_name) as stream:
                failed = "HTTP2 ping failed"
                await HTTP2Connection(stream).ping()
                return Result(CheckStatus.PASSING, "HTTP2 ping was successful")
        except Unreachable as error:
            reason = str(error)
    return Result(CheckStatus.CRITICAL, f"{failed}: {reason}")
