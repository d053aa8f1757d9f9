"""`mesh agent`: becomes mesh-agent or, where the flags say so, mesh-server."""

import os
import sys

from mesh.cli.context import Context

SERVER_FLAGS = frozenset({"server", "dev", "bootstrap", "bootstrap-expect"})
"""Flags that only a server has. Where a file says `server`, mesh-agent hands over by itself."""


def agent(context: Context) -> int:
    """Replace this process; does not return."""
    words = context.given.arguments
    names = {
        word.lstrip("-").partition("=")[0]
        for word in words
        if word.startswith("-") and word.partition("=")[2] not in ("false", "0", "f")
    }
    module = "server.main" if names & SERVER_FLAGS else "agent.main"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *words])  # noqa: S606
