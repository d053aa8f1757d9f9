"""Importing this registers every route: one module a noun."""

from agent.http import (
    agent,
    autopilot,
    catalog,
    coordinate,
    event,
    health,
    internal_ui,
    keyring,
    kv,
    operator,
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
    "internal_ui",
    "keyring",
    "kv",
    "operator",
    "snapshot",
    "status",
    "txn",
]
