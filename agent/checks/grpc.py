"""Check kind grpc: the standard health service (grpc.health.v1.Health/Check) on one new connection.

Its request and its reply have one field each, so they are written and read here without a protobuf library: a service
name (field 1, text), and a status (field 1, number), of which 1 is SERVING.
"""

import trio

from agent.checks.dial import connected, tls_context
from agent.checks.http2 import GRPC_HEAD_BYTES, HTTP2Connection
from agent.checks.interface import CheckSettings, Result
from agent.checks.output import output_bytes_max
from base.errors import Unreachable
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec

PATH = "/grpc.health.v1.Health/Check"
SERVING = 1
UNHEALTHY_TEXT = "gRPC application didn't report service healthy"
_VARINT_BYTES_MAX = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STATUS_FIELD = 1
_CODES = {
    "4": "DeadlineExceeded",
    "5": "NotFound",
    "7": "PermissionDenied",
    "12": "Unimplemented",
    "14": "Unavailable",
    "16": "Unauthenticated",
}


def split_target(target: str) -> tuple[str, str]:
    """Return host:port and the service that is asked for, "" for all, of `host:port[/service]`."""
    address, _, service = target.partition("/")
    return address, service


def encode_request(service: str) -> bytes:
    """Return a HealthCheckRequest."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def decode_status(message: bytes) -> int:
    """Return the status in a HealthCheckResponse, 0 where it is unset; raises ValueError for anything else."""
    status = position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _read_varint(message, position)
            status = value if field == _STATUS_FIELD else status
        elif wire == _BYTES:
            size, position = _read_varint(message, position)
            position += size
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
    if position > len(message):
        raise ValueError("cut off")
    return status


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = 0
    for count, byte in enumerate(data[position : position + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return number, position + count + 1
    raise ValueError("cut off")


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Ask once."""
    with trio.move_on_after(timeout_s):
        try:
            return Result(*await _ask(spec, settings, timeout_s))
        except (Unreachable, ValueError) as error:
            return Result(CheckStatus.CRITICAL, f"rpc error: code = Unavailable desc = {error}")
    return Result(CheckStatus.CRITICAL, "rpc error: code = DeadlineExceeded desc = context deadline exceeded")


async def _ask(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> tuple[str, str]:
    address, service = split_target(spec.grpc)
    context = tls_context(spec, settings, "h2") if spec.grpc_use_tls else None
    async with connected(address, timeout_s, context, spec.tls_server_name) as stream:
        headers = [
            (":method", "POST"),
            (":scheme", "https" if context is not None else "http"),
            (":path", PATH),
            (":authority", spec.tls_server_name or address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "Consul Health Check"),
        ]
        found, data = await HTTP2Connection(stream).call(headers, encode_request(service))
    code = found.get("grpc-status")
    if code is None:
        raise Unreachable(f"no gRPC: HTTP status {found.get(':status', 'unknown')} without a gRPC status")
    if code != "0":
        text = found.get("grpc-message", "")[: output_bytes_max(spec, settings)]
        return CheckStatus.CRITICAL, f"rpc error: code = {_CODES.get(code, f'Code({code})')} desc = {text}"
    if len(data) < GRPC_HEAD_BYTES or data[0] != 0:
        raise Unreachable("no gRPC message in the answer")
    if (
        decode_status(data[GRPC_HEAD_BYTES : GRPC_HEAD_BYTES + int.from_bytes(data[1:GRPC_HEAD_BYTES], "big")])
        == SERVING
    ):
        return CheckStatus.PASSING, f"gRPC check {spec.grpc}: success"
    return CheckStatus.CRITICAL, UNHEALTHY_TEXT
