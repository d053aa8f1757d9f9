"""H13: the library sends terms, votes and acknowledgements before they are durable."""

import random

from server.raft import envelope as wire
from server.raft.core import Core
from tests.fakes.group import Group

PROMISE_NOTHING = {wire.APPEND, wire.OFFER}


def test_only_appends_and_offers_may_leave_before_the_sync() -> None:
    group = Group(3)
    seen: set[int] = set()
    rng = random.Random(1)
    original = Core.tick

    def checked(core: Core, now: float) -> object:
        outbox = original(core, now)
        assert {message[0] for _, message in outbox.entries} <= PROMISE_NOTHING
        assert not {message[0] for _, message in outbox.promises} & PROMISE_NOTHING
        seen.update(message[0] for _, message in outbox.promises)
        return outbox

    for member in group.members.values():
        assert member.core is not None
        member.core.tick = checked.__get__(member.core)  # type: ignore[method-assign]
    group.elect("a")
    for _ in range(20):
        group.propose("a", b"x")
        group.isolate(rng.choice("bc"))
        group.run(1.5)
        group.heal()
        group.run(0.5)
        if group.leaders != ["a"]:
            group.elect("a")
    wanted = {wire.VOTE_REQUEST, wire.VOTE_REPLY, wire.APPEND_REPLY, wire.PREVOTE_REQUEST, wire.PREVOTE_REPLY}
    assert wanted <= seen


def test_a_vote_that_was_not_synced_was_not_sent_and_another_may_be_given() -> None:
    group = Group(3)
    group.elect("a")
    term = group["b"].term
    last = group.members["b"].journal.entries[-1]
    group.log.clear()
    group.deliver("a", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    group.round("b", sync=False)
    assert group["b"].statistics().vote == "a"
    assert not group.log
    group.crash("b")
    group.start("b")
    group.deliver("c", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    group.round("b")
    assert group["b"].statistics().vote == "c"


def test_statistics_tell_no_term_that_a_crash_takes_back() -> None:
    group = Group(3)
    group.elect("a")
    term = group["b"].term
    last = group.members["b"].journal.entries[-1]
    group.deliver("a", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    group.round("b", sync=False)
    assert group["b"].term == term + 1
    assert group["b"].statistics().term == term
    group.round("b")
    assert group["b"].statistics().term == term + 1


def test_a_vote_that_was_sent_is_remembered_after_a_crash() -> None:
    group = Group(3)
    group.elect("a")
    term = group["b"].term
    last = group.members["b"].journal.entries[-1]
    group.deliver("a", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    group.round("b")
    group.crash("b")
    group.start("b")
    group.log.clear()
    group.deliver("c", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    group.round("b")
    assert group["b"].statistics().vote == "a"
    assert not [message for _, _, message in group.log if message[0] == wire.VOTE_REPLY]
