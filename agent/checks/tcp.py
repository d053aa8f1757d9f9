"""Check kind tcp: can a connection be made, and where asked for, a TLS handshake."""

import trio

from agent.checks.dial import connected, tls_context
from agent.checks.interface import CheckSettings, Result
from base.errors import Unreachable
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Connect once."""
    with trio.move_on_after(timeout_s):
        try:
            context = tls_context(spec, settings) if spec.tcp_use_tls else None
            async with connected(spec.tcp, timeout_s, context, spec.tls_server_name):
                return Result(CheckStatus.PASSING, f"TCP connect {spec.tcp}: Success")
        except Unreachable as error:
            return Result(CheckStatus.CRITICAL, str(error))
    return Result(CheckStatus.CRITICAL, f"dial tcp {spec.tcp}: i/o timeout")
