"""Importing this registers every route: one module a noun."""

from agent.http import (
    acl,
    agent,
    autopilot,
    catalog,
    coordinate,
    event,
    health,
    host,
    keyring,
    kv,
    metrics,
    monitor,
    operator,
    snapshot,
    status,
    txn,
)

__all__ = [
    "acl",
    "agent",
    "autopilot",
    "catalog",
    "coordinate",
    "event",
    "health",
    "host",
    "keyring",
    "kv",
    "metrics",
    "monitor",
    "operator",
    "snapshot",
    "status",
    "txn",
]
