"""What a wrapped server finds in its environment; called by the harness at each start."""

import os
from pathlib import Path
from typing import Protocol

from jepsen.subject.clock_library import build
from jepsen.subject.disk import LOSSY_VARIABLE
from jepsen.subject.page import PAGE_VARIABLE, Page

PAGE_NAME = "page"
PRELOAD_VARIABLE = "LD_PRELOAD"


class Launched(Protocol):
    """What is needed of `jepsen.cluster.Node`."""

    @property
    def folder(self) -> Path:
        """The node's own folder, which exists."""
        ...


def page_of(node: Launched) -> Page:
    """Map the control page of a node, making it if it has none yet."""
    return Page.create(node.folder / PAGE_NAME)


def environment(node: Launched) -> dict[str, str]:
    """Return what the wrapper and the clock library need; makes the page. The caller's own variables win.

    Without a compiler there is no clock library; faults that need it say so (`machine.ABILITIES`).
    """
    node.folder.mkdir(parents=True, exist_ok=True)
    page_of(node).close()
    found = {PAGE_VARIABLE: str((node.folder / PAGE_NAME).absolute()), LOSSY_VARIABLE: "1"}
    library = build(node.folder.parent)
    if library is not None:
        found[PRELOAD_VARIABLE] = " ".join(filter(None, [str(library), os.environ.get(PRELOAD_VARIABLE)]))
    return found
