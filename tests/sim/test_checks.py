"""Each check convicts what it is there for: a check that never fires proves nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from server.raft.core import Core
from structs.cluster import Peer
from tests.sim.checks import Checker, ReadStart, Violation


@dataclass
class StubCore:
    """What checks ask of a core."""

    term: int = 3
    commit_index: int = 5
    applied_index: int = 5
    last_index: int = 9
    is_leader: bool = False
    matches: dict[str, int] = field(default_factory=dict)

    def configuration(self) -> list[Peer]:
        return [Peer(server_id=server_id, name=server_id, address="") for server_id in self.matches]

    def match_index(self, server_id: str) -> int:
        return self.matches[server_id]


@dataclass
class StubLog:
    """A log from its base on, all entries of one term."""

    first_index: int = 1
    term: int = 1
    entries: list[tuple[bytes, int, int]] = field(default_factory=list)
    removals_count: int = 0

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.entries) - 1

    def __getitem__(self, position: int) -> tuple[bytes, int, int]:
        return self.entries[position]

    def term_at(self, index: int) -> int:
        return self.term


def as_core(core: StubCore) -> Core:
    return cast(Core, core)


def log(*commands: bytes, terms: tuple[int, ...] = ()) -> StubLog:
    rows = zip(commands, terms or (1,) * len(commands), strict=True)
    return StubLog(entries=[(command, index, term) for index, (command, term) in enumerate(rows, 1)])


def applied(checker: Checker, *, server_id: str = "a", index: int = 2, **changes: Any) -> None:
    row = {"term": 1, "command": b"x", "position": 1, "result": None, **changes}
    checker.applied_at(server_id, index, row["term"], row["command"], row["position"], row["result"])


def two_leaders(checker: Checker) -> None:
    for server_id in "ab":
        checker.leader(server_id, as_core(StubCore()), StubLog())


def incomplete_leader(checker: Checker) -> None:
    applied(checker, term=2)
    checker.leader("a", as_core(StubCore()), StubLog(term=1))


def two_votes(checker: Checker) -> None:
    for vote in ("a", None, "a", "b"):
        checker.voted("c", 4, vote)


def another_command(checker: Checker) -> None:
    applied(checker)
    applied(checker, server_id="b", command=b"y")


def a_command_left_out(checker: Checker) -> None:
    applied(checker)
    applied(checker, server_id="b", position=2)


def another_result(checker: Checker) -> None:
    applied(checker, result=True)
    applied(checker, server_id="b", result=False)


def another_digest(checker: Checker) -> None:
    for server_id, digest in (("a", "1"), ("b", "1"), ("c", "2")):
        checker.digest_at(server_id, 9, digest)


def commit_back(checker: Checker) -> None:
    core = StubCore()
    checker.progress("a", as_core(core))
    core.commit_index = core.applied_index = 4
    checker.progress("a", as_core(core))


def term_back(checker: Checker) -> None:
    core = StubCore()
    checker.progress("a", as_core(core))
    core.term = 2
    checker.progress("a", as_core(core))


def applied_ahead(checker: Checker) -> None:
    checker.progress("a", as_core(StubCore(applied_index=6)))


def match_back(checker: Checker) -> None:
    core = StubCore(is_leader=True, matches={"b": 7})
    checker.leader("a", as_core(core), StubLog())
    checker.progress("a", as_core(core))
    core.matches["b"] = 6
    checker.progress("a", as_core(core))


def a_leader_that_was_not_elected(checker: Checker) -> None:
    checker.leader("a", as_core(StubCore(is_leader=True)), StubLog())
    checker.progress("b", as_core(StubCore(is_leader=True)))


def an_entry_that_differs(checker: Checker) -> None:
    checker.log("a", log(b"", b"x", b"y"))
    checker.log("b", log(b"", b"x", b"z"))


def an_entry_after_another(checker: Checker) -> None:
    checker.log("a", log(b"", b"x", b"y", terms=(0, 1, 3)))
    checker.log("b", log(b"", b"x", b"y", terms=(0, 2, 3)))


def an_entry_that_comes_to_a_known_log(checker: Checker) -> None:
    known, other = log(b"", b"x"), log(b"", b"x")
    for each, command in ((known, b"y"), (other, b"z")):
        checker.log("a" if each is known else "b", each)
        each.entries.append((command, 3, 1))
        checker.log("a" if each is known else "b", each)


def an_entry_that_was_replaced(checker: Checker) -> None:
    changed = log(b"", b"x", b"y")
    checker.log("a", changed)
    changed.entries[1] = (b"z", 2, 1)
    changed.removals_count += 1
    changed.entries.append((b"w", 4, 1))
    checker.log("a", changed)


def logs_that_differ(checker: Checker) -> None:
    checker.log_matching([("a", log(b"", b"x", b"y")), ("b", log(b"", b"x", b"z"))])


def logs_that_differ_before(checker: Checker) -> None:
    checker.log_matching([("a", log(b"", b"x", b"y", terms=(0, 1, 3))), ("b", log(b"", b"z", b"y", terms=(0, 2, 3)))])


def acknowledged_twice(checker: Checker) -> None:
    acknowledge(checker)
    checker.acknowledged(1, 2, None)


def acknowledge(checker: Checker) -> None:
    checker.proposes(1, b"x")
    applied(checker)
    checker.acknowledged(1, 2, None)


def acknowledged_for_another(checker: Checker) -> None:
    checker.proposes(1, b"mine")
    applied(checker)
    checker.acknowledged(1, 2, None)


def acknowledged_with_another_result(checker: Checker) -> None:
    checker.proposes(1, b"x")
    applied(checker, result=True)
    checker.acknowledged(1, 2, False)


def stale_read(checker: Checker) -> None:
    checker.read_ends(ReadStart(position_acked=4, position_read=0), "a", 3, "default")


def read_that_goes_back(checker: Checker) -> None:
    checker.read_ends(ReadStart(position_acked=2, position_read=4), "a", 3, "default")


def not_converged(checker: Checker) -> None:
    checker.finish({"a": [b"x"], "b": []})


def lost(checker: Checker) -> None:
    acknowledge(checker)
    checker.finish({"a": [b"y"]})


def applied_twice(checker: Checker) -> None:
    checker.finish({"a": [b"x", b"x"]})


def refused_and_applied(checker: Checker) -> None:
    checker.proposes(1, b"x")
    checker.refused(1)
    checker.finish({"a": [b"x"]})


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (two_leaders, "two leaders"),
        (incomplete_leader, "incomplete leader"),
        (two_votes, "two votes"),
        (another_command, "diverged"),
        (a_command_left_out, "diverged"),
        (another_result, "other result"),
        (another_digest, "digest"),
        (commit_back, "went back"),
        (term_back, "went back"),
        (applied_ahead, "positions"),
        (match_back, "match went back"),
        (a_leader_that_was_not_elected, "two leaders"),
        (an_entry_that_differs, "log matching"),
        (an_entry_after_another, "log matching"),
        (an_entry_that_comes_to_a_known_log, "log matching"),
        (an_entry_that_was_replaced, "log matching"),
        (logs_that_differ, "log matching"),
        (logs_that_differ_before, "log matching"),
        (acknowledged_twice, "acknowledged twice"),
        (acknowledged_for_another, "other result"),
        (acknowledged_with_another_result, "other result"),
        (stale_read, "stale read"),
        (read_that_goes_back, "stale read"),
        (not_converged, "not converged"),
        (lost, "lost"),
        (applied_twice, "applied twice"),
        (refused_and_applied, "refused and applied"),
    ],
)
def test_what_is_broken_is_convicted(break_it: Callable[[Checker], None], kind: str) -> None:
    with pytest.raises(Violation) as caught:
        break_it(Checker())
    assert caught.value.kind == kind


def test_a_server_that_was_restarted_or_removed_and_added_again_may_begin_anew() -> None:
    checker = Checker()
    core = StubCore(is_leader=True, matches={"b": 7})
    checker.leader("a", as_core(core), StubLog())
    for matches in ({"b": 7}, {}, {"b": 0}):
        core.matches = matches
        checker.progress("a", as_core(core))
    checker.progress("a", as_core(StubCore(commit_index=1, applied_index=1)))
    checker.leader("a", as_core(StubCore(term=4)), StubLog())
    checker.progress("a", as_core(StubCore(term=4, is_leader=True, matches={"b": 1})))


def test_a_leader_that_late_votes_make_of_an_earlier_term_needs_not_what_a_later_one_decided() -> None:
    checker = Checker()
    checker.leader("a", as_core(StubCore(term=7)), StubLog())
    applied(checker, server_id="a", term=2)
    checker.leader("b", as_core(StubCore(term=6)), StubLog(term=1))
    with pytest.raises(Violation, match="without entry 2"):
        checker.leader("c", as_core(StubCore(term=8)), StubLog(term=1))
