"""Puts many keys into a cluster quickly: transactions of many writes on a few connections."""

import base64
import json

import trio

from jepsen.http_client import HTTPConnection

OPERATIONS_A_TRANSACTION = 64
CONNECTIONS = 16


async def fill(address: str, *, prefix: str, count: int, value_bytes: int) -> float:
    """Write keys `<prefix>0` to `<prefix><count - 1>` and return the seconds it took."""
    began_s = trio.current_time()
    turns = iter(range(0, count, OPERATIONS_A_TRANSACTION))

    async def write_some() -> None:
        async with HTTPConnection(address) as connection:
            for start in turns:  # shared by all writers: each takes the next stretch
                numbers = range(start, min(start + OPERATIONS_A_TRANSACTION, count))
                body = json.dumps([_operation(f"{prefix}{number}", number, value_bytes) for number in numbers])
                reply = await connection.request("PUT", "/v1/txn", body.encode(), timeout_s=60.0)
                assert reply.status == 200, (reply.status, reply.body[:200])

    async with trio.open_nursery() as nursery:
        for _ in range(min(CONNECTIONS, count)):
            nursery.start_soon(write_some)
    return trio.current_time() - began_s


def _operation(key: str, number: int, value_bytes: int) -> dict[str, dict[str, str]]:
    value = f"{number:0{value_bytes}d}".encode()
    return {"KV": {"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode()}}
