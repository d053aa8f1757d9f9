"""H4: the library cuts a follower's log on every append that overlaps it, acknowledged entries included."""

import pytest

from base.errors import InvariantBroken
from server.raft.timings import Guards
from tests.fakes.group import Group, append

ENTRIES_COUNT = 10


def follower_with_entries(guards: Guards) -> tuple[Group, int, int]:
    """`b` has acknowledged ten entries to `a`; returns the index and term of the first of them."""
    group = Group(guards=guards)
    group.elect("a")
    first_index = group["a"].last_index + 1
    group.propose("a", *(b"%d" % number for number in range(ENTRIES_COUNT)))
    group.step(3)
    assert group["a"].match_index("b") == first_index + ENTRIES_COUNT - 1
    return group, first_index, group["a"].term


def resend_first_half(group: Group, first_index: int, term: int) -> None:
    """The same leader's message arrives a second time, cut in two by the batch size, and the second half is lost."""
    journal = group.members["b"].journal
    start = first_index - journal.first_index
    entries = journal.entries[start : start + ENTRIES_COUNT // 2]
    previous = journal.entries[start - 1]
    group.deliver("a", "b", append(term=term, prev=previous[1:], entries=entries))
    group.round("b")


def test_what_was_acknowledged_survives_a_resent_append() -> None:
    group, first_index, term = follower_with_entries(Guards())
    resend_first_half(group, first_index, term)
    assert group["b"].last_index == first_index + ENTRIES_COUNT - 1


def test_without_the_guard_a_resent_append_takes_back_what_was_acknowledged() -> None:
    group, first_index, term = follower_with_entries(Guards(h4_trim_appends=False))
    resend_first_half(group, first_index, term)
    assert group["b"].last_index < group["a"].match_index("b")


def test_an_unverified_tail_is_neither_cut_nor_acknowledged_nor_committed() -> None:
    """A tail of an old term may be wrong: a heartbeat that ends before it says nothing of it."""
    group = Group()
    group.elect("a")
    core, journal = group["b"], group.members["b"].journal
    verified = journal.entries[-1]
    journal.entries.append((b"\x00stale", verified[1] + 1, core.term))
    group.crash("b")
    group.members["b"].memory.entries = list(journal.entries)
    group.members["b"].memory.term = core.term
    group.start("b")
    sender = group["b"]
    message = append(term=core.term + 1, prev=verified[1:], entries=[], commit=verified[1] + 1)
    group.log.clear()
    group.deliver("c", "b", message)
    group.round("b")
    assert sender.last_index == verified[1] + 1
    assert sender.commit_index <= verified[1]
    replies = [sent for origin, receiver, sent in group.log if (origin, receiver) == ("b", "c")]
    assert replies[-1][5:] == [verified[1] + 1, False, True]


def test_what_an_earlier_leader_verified_says_nothing_about_the_next() -> None:
    group, first_index, term = follower_with_entries(Guards())
    core, previous = group["b"], group.members["b"].journal.entries[first_index - 2]
    assert core.commit_index < core.last_index
    group.log.clear()
    group.deliver("c", "b", append(term=term + 1, prev=previous[1:], entries=[]))
    group.round("b")
    replies = [sent for sender, receiver, sent in group.log if (sender, receiver) == ("b", "c")]
    assert replies[-1][5:] == [previous[1] + 1, False, True]


def test_a_conflicting_tail_is_cut_from_the_conflict_on() -> None:
    group = Group()
    group.elect("a")
    core, journal = group["b"], group.members["b"].journal
    last, term = journal.entries[-1], core.term
    journal.entries += [(b"\x00wrong", last[1] + 1, term), (b"\x00worse", last[1] + 2, term)]
    right = (b"\x00right", last[1] + 1, term + 1)
    group.deliver("c", "b", append(term=term + 1, prev=last[1:], entries=[right]))
    group.round("b")
    assert journal.entries[-1] == right


def test_a_leader_that_contradicts_a_committed_entry_stops_the_server() -> None:
    group = Group()
    group.elect("a")
    core = group["b"]
    assert core.commit_index > 2
    message = append(term=core.term + 1, prev=(1, 0), entries=[(b"\x00no", 2, core.term + 1)])
    group.deliver("c", "b", message)
    with pytest.raises(InvariantBroken, match="overwrites a committed entry"):
        group.round("b")


def test_the_leader_never_goes_back_behind_what_a_follower_acknowledged() -> None:
    """A follower that restarted has forgotten what it verified: a late wish of its former self must not count."""
    group, first_index, term = follower_with_entries(Guards())
    leader = group["a"]
    group.deliver("b", "a", [2, term, group.now_s, group.now_s, 0, first_index, True, False])
    group.members["a"].inbox, late = [], group.members["a"].inbox
    sender, epoch, message = late[-1]
    leader.receive(sender, epoch, message, group.now_s)
    group.log.clear()
    group.now_s += 1.0
    group.round("a")
    appended = [sent for _, receiver, sent in group.log if receiver == "b"]
    assert appended
    assert all(message[5] >= leader.match_index("b") for message in appended)
