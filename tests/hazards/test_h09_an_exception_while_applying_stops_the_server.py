"""H9: the library retries an entry whose handler raised for ever, and forgets who waited for it."""

import pytest

from base.errors import InvariantBroken
from tests.fakes.group import Group


class Defect(Exception):
    """A defect in a handler."""


def test_it_leaves_the_core_at_once_and_is_not_tried_again() -> None:
    group = Group()
    group.elect("a")
    tried: list[int] = []

    def broken(index: int, term: int, command: bytes) -> object:
        tried.append(index)
        raise Defect

    group.members["a"].applier.apply = broken  # type: ignore[method-assign]
    group.propose("a", b"x")
    with pytest.raises(Defect):
        group.run(1.0)
    assert len(tried) == 1


def test_an_entry_of_an_unknown_type_stops_the_server() -> None:
    group = Group(1)
    group.run_until(lambda: group.leaders == ["a"] and group["a"].ready)
    core = group["a"]
    group.members["a"].journal.add(b"\x07what", core.last_index + 1, core.term)
    with pytest.raises(InvariantBroken, match="unknown type"):
        group.run(1.0)
