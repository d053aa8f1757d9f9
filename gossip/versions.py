"""Sans-IO: who can be in one pool with whom, by the versions they speak. Source: wire format, section 4.2.

Asked of whole tables before they are merged, and of each single newcomer: one that came in by a packet of its own and
does not go together with somebody would spoil every later comparison of tables.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Protocol

from gossip.instructions import Versions
from gossip.layers import State


class Speaker(Protocol):
    """Who speaks: a record of our table or of another's."""

    @property
    def name(self) -> str:
        """The member's name."""
        ...

    @property
    def state(self) -> State:
        """Only who is alive sets bounds for the others."""
        ...

    @property
    def versions(self) -> Versions | None:
        """None: nobody said, so it is left out."""
        ...


def versions_complaint(others: Iterable[Speaker], ours: Iterable[Speaker]) -> str:
    """Return why two tables do not go together, "" if they do: everybody must speak what all the living understand."""
    names: dict[Versions, str] = {}
    living: dict[Versions, None] = {}
    for each in chain(others, ours):
        versions = each.versions
        if versions is not None:
            names.setdefault(versions, each.name)
            if each.state == State.ALIVE:
                living[versions] = None
    for kind, first in (("protocol", 0), ("delegate protocol", 3)):
        least = max((versions[first] for versions in living), default=0)
        most = min((versions[first + 1] for versions in living), default=0)
        for versions, name in names.items():
            if not least <= versions[first + 2] <= most:
                return f"Node '{name}' {kind} version ({versions[first + 2]}) is incompatible: [{least}, {most}]"
    return ""
