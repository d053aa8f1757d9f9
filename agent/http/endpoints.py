"""Importing this registers every route: one module a noun."""

from agent.http import (
    agent,
    agent_checks,
    agent_services,
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
    "agent_checks",
    "agent_services",
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
