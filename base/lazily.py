"""Modules that are imported when they are first needed: who needs none of them starts sooner and stays smaller."""

import importlib
import sys
from types import ModuleType

import trio


async def imported(name: str) -> ModuleType:
    """Return a module, imported in a thread the first time, which may take a tenth of a second. Raises ImportError."""
    found = sys.modules.get(name)
    if found is None or getattr(found.__spec__, "_initializing", False):  # another task may be at it
        found = await trio.to_thread.run_sync(importlib.import_module, name)
    return found
