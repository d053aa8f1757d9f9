"""Importing this registers every route: one module a noun."""

from agent.http import agent, kv, operator, snapshot, status, txn

__all__ = ["agent", "kv", "operator", "snapshot", "status", "txn"]
