"""Versions: ours, and the one of the API that clients are told they speak with."""

VERSION = "0.1.0"
"""Of this program; the same as in pyproject.toml (a test compares them)."""
API_VERSION = "1.9.0"
"""What clients that ask for a version are told: the foreign release whose KV, status and operator API this is.

Clients decide by it which requests they may send, so it may not be newer than what is served."""
PROTOCOL = 2
PROTOCOL_MIN = 2
PROTOCOL_MAX = 3
