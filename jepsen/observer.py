"""Asks each node twice a second what it takes itself for: role, term, indexes."""

from collections.abc import Callable
from typing import Any

import trio

from jepsen.client import STRANGE
from jepsen.history import Observation
from jepsen.http_client import HTTPConnection, NotAnswered, NotSent

INTERVAL_S = 0.5
TIMEOUT_S = 1.0


async def observe(name: str, address: str, *, record: Callable[[Observation], None], now_ns: Callable[[], int]) -> None:
    """Record what one node says, until cancelled."""
    async with HTTPConnection(address) as connection:
        while True:
            at_ns = now_ns()
            facts: dict[str, Any]
            try:
                reply = await connection.request("GET", "/v1/agent/self", timeout_s=TIMEOUT_S)
                facts = facts_of(reply.json()) if reply.status == 200 else {"state": f"answers {reply.status}"}
            except (NotSent, NotAnswered):
                facts = {"state": "down"}
            except STRANGE:
                facts = {"state": "answers nonsense"}
            record(Observation(node=name, at_ns=at_ns, facts=facts))
            await trio.sleep(INTERVAL_S)


def facts_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The facts in an answer of /v1/agent/self: `state` (leader, follower, candidate, client), id, term, indexes."""
    raft = answer.get("Stats", {}).get("raft")
    told_id = answer.get("Config", {}).get("NodeID")
    known = {"id": told_id} if told_id else {}
    if raft is None:
        return {"state": "client", **known}
    return {
        **known,
        "state": raft["state"].lower(),
        "term": int(raft["term"]),
        "commit": int(raft["commit_index"]),
        "applied": int(raft["applied_index"]),
        "last": int(raft["last_log_index"]),
        "snapshot": int(raft.get("last_snapshot_index", 0)),
    }
