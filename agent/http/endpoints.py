"""Importing this registers every route: one module a noun."""

from agent.http import (
    agent,
    autopilot,
    catalog,
    coordinate,
    event,
    health,
    keyring,
    kv,
    operator,
    query,
    snapshot,
    status,
    txn,
)

__all__ = [
    "agent",
    "autopilot",
    "catalog",
    "coordinate",
    "event",
    "health",
    "keyring",
    "kv",
    "operator",
    "query",
    "snapshot",
    "status",
    "txn",
]
