"""Check kind udp: an empty datagram that the other host does not refuse. Silence counts as success, as nothing more
can be known of a service that does not answer empty datagrams."""

import socket

import trio

from agent.checks.interface import CheckSettings, Result
from base.network import split_address
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Send one datagram and wait for an answer, a refusal or the end of the time."""
    del settings
    is_sent = False
    with trio.move_on_after(timeout_s):
        try:
            host, port = split_address(spec.udp)
            family, _, _, _, address = (await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
            with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
                await sock.connect(address)
                await sock.send(b"")
                is_sent = True
                await sock.recv(1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return Result(CheckStatus.CRITICAL, f"dial udp {spec.udp}: {reason}")
    if not is_sent:
        return Result(CheckStatus.CRITICAL, f"dial udp {spec.udp}: i/o timeout")
    return Result(CheckStatus.PASSING, f"UDP connect {spec.udp}: Success")
