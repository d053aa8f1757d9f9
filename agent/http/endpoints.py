"""Importing this registers every route: one module a noun."""

from agent.http import kv

__all__ = ["kv"]
