"""The calls of the API about sessions, locks and the checks they hang on. They raise CallFailed and CallUnclear.

What the servers answer by saying no (a session that is gone, a check that is critical) is an answer here, no error.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from jepsen.client import HTTP, CallFailed, query_of, said_true

SHORT_TTL_S = 2
"""Where the servers let sessions be so short (`OPTIONS`)."""
LONG_TTL_S = 10
"""The least by default."""
OPTIONS = ("-hcl", 'session_ttl_min = "1s"')
NODE_ADDRESS = "127.0.0.99"
NO_SUCH_SESSION = "invalid session"
CHECK_CRITICAL = "is in critical state"
TTL_REFUSED = "must be between"


async def register_node(http: HTTP, node: str, checks: Mapping[str, str]) -> None:
    """Register a node of no agent's, with checks of the node: id -> status."""
    rows = [{"Node": node, "CheckID": each, "Name": each, "Status": status} for each, status in checks.items()]
    await put_json(http, "/v1/catalog/register", {"Node": node, "Address": NODE_ADDRESS, "Checks": rows})


async def create_session(
    http: HTTP, *, node: str, ttl_s: int, delay_s: int, behavior: str = "release", check: str = ""
) -> str | None:
    """Return the id of a new session; None where its check is critical."""
    body = {
        "Node": node,
        "TTL": f"{ttl_s}s",
        "LockDelay": f"{delay_s}s",
        "Behavior": behavior,
        "NodeChecks": [check] if check else [],
    }
    try:
        reply = await http.request("PUT", "/v1/session/create", json.dumps(body).encode(), is_write=True, passing=())
    except CallFailed as error:
        if CHECK_CRITICAL in str(error):
            return None
        raise
    return str(reply.json()["ID"])


async def shortest_ttl_s(http: HTTP, node: str) -> int:
    """Return the shortest TTL of those above that the servers take."""
    try:
        found = await create_session(http, node=node, ttl_s=SHORT_TTL_S, delay_s=0)
    except CallFailed as error:
        if TTL_REFUSED not in str(error):
            raise
        return LONG_TTL_S
    if found is not None:
        await destroy_session(http, found)
    return SHORT_TTL_S


async def renew_session(http: HTTP, session: str) -> bool:
    """Give it all its time again; False where there is none."""
    reply = await http.request("PUT", f"/v1/session/renew/{session}", is_write=True)
    return reply.status != 404 and bool(reply.json())


async def destroy_session(http: HTTP, session: str) -> None:
    """End it; it is no error if there is none."""
    said_true(await http.request("PUT", f"/v1/session/destroy/{session}", is_write=True, passing=()))


async def is_session(http: HTTP, session: str, *, mode: str) -> bool:
    """Return whether there is such a session."""
    reply = await http.request("GET", f"/v1/session/info/{session}{query_of(mode=mode)}", is_write=False)
    return reply.status != 404 and bool(reply.json())


async def sessions_of(http: HTTP, node: str, *, mode: str) -> tuple[list[str], int]:
    """Return the ids of a node's sessions, sorted, and the answer's index."""
    reply = await http.request("GET", f"/v1/session/node/{quote(node)}{query_of(mode=mode)}", is_write=False)
    return sorted(str(each["ID"]) for each in reply.json() or []), reply.index


async def acquire(http: HTTP, key: str, session: str, value: str) -> bool:
    """Take the lock of a key and write it; False: it was not given."""
    return await _locking(http, key, {"acquire": session}, value)


async def release(http: HTTP, key: str, session: str, value: str) -> bool:
    """Give the lock of a key back and write it; False: the session did not hold it."""
    return await _locking(http, key, {"release": session}, value)


async def put_json(http: HTTP, path: str, body: Any) -> None:
    """PUT a body of JSON; whatever is no error is taken for done."""
    await http.request("PUT", path, json.dumps(body).encode(), is_write=True, passing=())


async def _locking(http: HTTP, key: str, query: Mapping[str, str], value: str) -> bool:
    path = f"/v1/kv/{quote(key)}?{urlencode(query)}"
    try:
        return said_true(await http.request("PUT", path, value.encode(), is_write=True))
    except CallFailed as error:
        if NO_SUCH_SESSION in str(error):
            return False
        raise
