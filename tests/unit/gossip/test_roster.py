"""Why somebody is gone: intents against what the layer below says. Source: wire format, section 8.1."""

from gossip.instructions import (
    Address,
    Finished,
    ForceLeaveWanted,
    JoinResult,
    JoinWanted,
    LeaveWanted,
    Log,
    MembersChanged,
    Status,
    TagsChanged,
    WriteSnapshot,
)
from gossip.intents import RECENT_COUNT_MAX, RECENT_S
from gossip.layers import State as NodeState
from gossip.serf_messages import EventSlot, JoinIntent, LeaveIntent, SlotEvent, State, decode, encode
from tests.fakes.lower_layer import UpperWorld


def kinds(world: UpperWorld) -> list[tuple[str, list[str]]]:
    """What the application was told of members."""
    changes = [(change.kind, [member.name for member in change.members]) for change in world.seen(MembersChanged)]
    world.out.clear()
    return changes


def status(world: UpperWorld, name: str) -> Status:
    return next(member.status for member in world.serf.roster.members() if member.name == name)


def test_who_announced_it_has_left_and_who_did_not_has_failed() -> None:
    world = UpperWorld("a", "b")
    world.hear(LeaveIntent(lamport_time=5, node="a"))
    assert status(world, "a") is Status.LEAVING
    world.die("a")
    world.die("b")
    assert kinds(world) == [("leave", ["a"]), ("failed", ["b"])]
    assert (status(world, "a"), status(world, "b")) == (Status.LEFT, Status.FAILED)


def test_an_intent_of_before_its_member_is_kept_for_it() -> None:
    world = UpperWorld()
    world.hear(LeaveIntent(lamport_time=5, node="a"))
    assert world.passed_on() == [LeaveIntent(lamport_time=5, node="a")]
    world.join("a")
    assert status(world, "a") is Status.LEAVING
    world.hear(JoinIntent(lamport_time=5, node="a"))
    assert status(world, "a") is Status.LEAVING
    world.hear(JoinIntent(lamport_time=6, node="a"))
    assert status(world, "a") is Status.ALIVE


def test_a_kept_intent_is_forgotten_after_a_while() -> None:
    world = UpperWorld()
    world.hear(LeaveIntent(lamport_time=5, node="a"))
    world.later(RECENT_S + 20)
    world.join("a")
    assert status(world, "a") is Status.ALIVE


def test_who_still_is_there_long_after_a_farewell_has_not_left() -> None:
    world = UpperWorld("a")
    world.hear(LeaveIntent(lamport_time=5, node="a"))
    world.later(55)
    assert status(world, "a") is Status.LEAVING
    world.later(25)
    assert status(world, "a") is Status.ALIVE
    world.die("a")
    assert status(world, "a") is Status.FAILED


def test_intents_that_are_not_newer_say_nothing_and_go_no_further() -> None:
    world = UpperWorld("a")
    world.hear(JoinIntent(lamport_time=5, node="a"))
    assert len(world.passed_on()) == 1
    world = UpperWorld("a")
    world.hear(JoinIntent(lamport_time=5, node="a"))
    world.hear(LeaveIntent(lamport_time=5, node="a"))
    world.hear(LeaveIntent(lamport_time=4, node="a"))
    assert world.passed_on() == [JoinIntent(lamport_time=5, node="a")]
    assert status(world, "a") is Status.ALIVE


def test_a_flood_of_unknown_names_is_neither_kept_nor_passed_on() -> None:
    world = UpperWorld()
    for number in range(RECENT_COUNT_MAX + 500):
        world.hear(JoinIntent(lamport_time=2, node=f"nobody-{number}"))
    assert world.serf.roster.recent.of(f"nobody-{RECENT_COUNT_MAX - 1}") is not None
    assert world.serf.roster.recent.of(f"nobody-{RECENT_COUNT_MAX}") is None
    assert world.serf.statistics()["intent_queue"] == 4096


def test_who_is_said_to_leave_but_stays_says_so() -> None:
    world = UpperWorld("a")
    world.hear(LeaveIntent(lamport_time=50, node="me"))
    assert world.passed_on() == [JoinIntent(lamport_time=51, node="me")]
    assert status(world, "me") is Status.ALIVE


def test_who_is_said_to_leave_at_the_time_of_its_own_last_word_objects_once() -> None:
    world = UpperWorld("a")
    world.hear(LeaveIntent(lamport_time=7, node="me"))
    world.hear(LeaveIntent(lamport_time=8, node="me"))
    world.hear(LeaveIntent(lamport_time=8, node="me"))
    assert world.passed_on() == [JoinIntent(lamport_time=time, node="me") for time in (9, 8)]
    assert status(world, "me") is Status.ALIVE


def test_a_member_that_comes_back_is_alive_again() -> None:
    world = UpperWorld("a")
    world.die("a")
    node = world.lower.nodes["a"]
    node.state = NodeState.ALIVE
    world.serf.joined(world.now_s, node)
    assert kinds(world) == [("failed", ["a"]), ("join", ["a"])]
    assert world.serf.statistics()["failed"] == 0


def test_members_that_come_together_are_told_together() -> None:
    world = UpperWorld()
    world.join("a")
    world.join("b")
    assert kinds(world) == [("join", ["a", "b"])]


def test_the_list_of_members_is_made_once() -> None:
    world = UpperWorld("b", "a")
    members = world.serf.roster.members()
    assert [member.name for member in members] == ["a", "b", "me"]
    assert world.serf.roster.members() is members
    world.join("c")
    assert world.serf.roster.members() is not members


# Force-leave


def test_force_leave_turns_failed_into_left_everywhere() -> None:
    world = UpperWorld("a", "b")
    world.die("a")
    world.serf.force_leave(ForceLeaveWanted(at_s=world.now_s, operation=1, name="a"))
    assert world.seen(Finished) == [Finished(operation=1, result=True)]
    assert kinds(world) == [("failed", ["a"]), ("leave", ["a"])]
    assert [type(message) for message in world.passed_on()] == [LeaveIntent]
    assert world.serf.statistics()["left"] == 1


def test_force_leave_with_prune_forgets_at_once() -> None:
    world = UpperWorld("a", "b")
    world.die("a")
    world.out.clear()
    world.serf.force_leave(ForceLeaveWanted(at_s=world.now_s, operation=1, name="a", prune=True))
    assert kinds(world) == [("leave", ["a"]), ("reap", ["a"])]
    assert "a" not in world.lower.nodes


def test_force_leave_of_nobody_is_told_so() -> None:
    world = UpperWorld("a")
    world.serf.force_leave(ForceLeaveWanted(at_s=world.now_s, operation=1, name="nobody"))
    assert world.seen(Finished) == [Finished(operation=1, result=False)]
    assert world.passed_on() == []


def test_force_leave_cannot_remove_ourselves() -> None:
    world = UpperWorld("a")
    world.serf.force_leave(ForceLeaveWanted(at_s=world.now_s, operation=1, name="me", prune=True))
    assert status(world, "me") is Status.ALIVE
    assert [type(message) for message in world.passed_on()] == [JoinIntent]


# Forgetting


def test_the_failed_and_the_left_are_forgotten_in_time() -> None:
    world = UpperWorld("a", "b")
    world.hear(LeaveIntent(lamport_time=5, node="b"))
    world.die("a")
    world.die("b")
    kinds(world)
    world.later(24 * 3600.0 - 30)
    assert kinds(world) == []
    world.later(60)
    assert kinds(world) == [("reap", ["b"])]
    world.later(48 * 3600.0 - 90)
    assert kinds(world) == []
    world.later(90)
    assert kinds(world) == [("reap", ["a"])]
    assert [member.name for member in world.serf.roster.members()] == ["me"]


def test_the_failed_are_looked_for_as_often_as_many_have_failed() -> None:
    world = UpperWorld("a", "b", "c", "d")
    world.die("a")
    world.later(3000.0)
    few_count = len(world.lower.exchanges)
    assert 10 <= few_count <= 45, "one of four living ones: a quarter of a hundred tries"
    assert {to for to, _ in world.lower.exchanges} == {Address("127.0.0.2", 8301)}
    world.die("b")
    world.die("c")
    world.later(3000.0)
    assert len(world.lower.exchanges) - few_count >= 95


# Leaving


def test_a_leaver_says_that_it_goes_then_that_it_is_gone() -> None:
    world = UpperWorld("a")
    world.serf.leave(LeaveWanted(at_s=world.now_s, operation=1))
    world.serf.leave(LeaveWanted(at_s=world.now_s, operation=2))
    assert any("leave\n" in write.text for write in world.seen(WriteSnapshot)), "first of all in the file"
    assert status(world, "me") is Status.LEAVING
    assert not world.lower.left
    for _ in range(4):
        assert [type(message) for message in world.passed_on()] == [LeaveIntent]
    assert world.passed_on() == []
    (done,) = world.lower.left
    assert not world.seen(Finished)
    done(world.now_s)
    assert [finished.operation for finished in world.seen(Finished)] == [1, 2]
    world.serf.leave(LeaveWanted(at_s=world.now_s, operation=3))
    assert world.seen(Finished)[-1].operation == 3


def test_a_leaver_whose_words_are_not_heard_goes_all_the_same() -> None:
    world = UpperWorld("a")
    world.serf.leave(LeaveWanted(at_s=world.now_s, operation=1))
    world.later(4.9)
    assert not world.lower.left
    world.later(0.2)
    assert len(world.lower.left) == 1
    assert "timeout while waiting for graceful leave" in [log.text for log in world.seen(Log)]


def test_a_lone_leaver_waits_for_nobody() -> None:
    world = UpperWorld()
    world.serf.leave(LeaveWanted(at_s=world.now_s, operation=1))
    assert len(world.lower.left) == 1


def test_a_leaver_is_not_kept_by_what_it_hears() -> None:
    world = UpperWorld("a")
    world.serf.leave(LeaveWanted(at_s=world.now_s, operation=1))
    world.hear(LeaveIntent(lamport_time=50, node="me"))
    assert not any(isinstance(message, JoinIntent) for message in world.passed_on())
    world.serf.join(JoinWanted(at_s=world.now_s, operation=2, addresses=[Address("127.0.0.2", 1)]))
    assert world.seen(Finished)[-1].result.errors == {"127.0.0.2:1": "this member is leaving"}


# Joining


def test_a_join_asks_few_at_a_time_and_counts_who_took_us_in() -> None:
    world = UpperWorld()
    addresses = [Address(f"127.0.1.{number}", 8301) for number in range(6)]
    world.serf.join(JoinWanted(at_s=world.now_s, operation=1, addresses=[*addresses, addresses[0]]))
    assert len(world.lower.exchanges) == 4
    world.lower.exchanges[0][1](world.now_s, "no answer")
    assert world.passed_on() == []
    for _, done in world.lower.exchanges[1:]:
        done(world.now_s, "")
    world.lower.exchanges[5][1](world.now_s, "")
    assert world.seen(Finished) == [
        Finished(operation=1, result=JoinResult(contacted_count=5, errors={"127.0.1.0:8301": "no answer"}))
    ]
    assert world.passed_on() == [JoinIntent(lamport_time=1, node="me")], "once, however many answered"


def test_a_join_to_nobody_is_over_at_once() -> None:
    world = UpperWorld()
    world.serf.join(JoinWanted(at_s=world.now_s, operation=1, addresses=[]))
    assert world.seen(Finished) == [Finished(operation=1, result=JoinResult(contacted_count=0, errors={}))]


# Back into an earlier cluster

SNAPSHOT = "alive: me 127.0.0.1:8301\nalive: a 127.0.1.1:8301\nalive: b 127.0.1.2:8301\nclock: 9\n"


def restarted() -> UpperWorld:
    world = UpperWorld()
    world.serf.restore(SNAPSHOT)
    world.serf.start(world.now_s)
    return world


def test_members_of_before_are_tried_one_by_one_until_one_answers() -> None:
    world = restarted()
    world.lower.exchanges[0][1](world.now_s, "no answer")
    world.later(1.0)
    (first, _), (second, done) = world.lower.exchanges
    assert {first.host, second.host} == {"127.0.1.1", "127.0.1.2"}
    done(world.now_s, "")
    assert world.passed_on() == [JoinIntent(lamport_time=10, node="me")]
    world.later(300.0)
    assert len(world.lower.exchanges) == 2
    assert "not-alive: a" in "".join(write.text for write in world.seen(WriteSnapshot)), "nobody knows it any more"


def test_who_is_alone_goes_on_trying_but_seldom() -> None:
    world = restarted()
    for _ in range(10):
        world.lower.exchanges[-1][1](world.now_s, "no answer")
        world.later(30.0)
    assert len(world.lower.exchanges) == 11
    assert [log.text for log in world.seen(Log) if log.level == "warn"] == [
        "none of the members known before could be reached"
    ]
    world.join("c")
    world.lower.exchanges[-1][1](world.now_s, "no answer")
    world.later(300.0)
    assert len(world.lower.exchanges) == 11, "no longer alone"


def test_trying_members_of_before_does_not_hold_up_a_join() -> None:
    world = restarted()
    world.serf.join(JoinWanted(at_s=world.now_s, operation=1, addresses=[Address("127.0.2.1", 8301)]))
    assert len(world.lower.exchanges) == 2
    world.lower.exchanges[1][1](world.now_s, "")
    assert world.seen(Finished)[0].result.contacted_count == 1


# The state in a push/pull


def test_the_state_tells_clocks_intents_and_who_left() -> None:
    world = UpperWorld("a", "b")
    world.hear(JoinIntent(lamport_time=4, node="b"))
    world.hear(LeaveIntent(lamport_time=7, node="a"))
    world.die("a")
    state = decode(world.serf.local_state(world.now_s, join=False))
    assert isinstance(state, State)
    assert state.lamport_time == 8
    assert state.status_times == {"me": 0, "a": 7, "b": 4}
    assert state.left_members == ["a"]
    assert (state.event_time, state.query_time, state.events) == (1, 1, [])


def test_who_is_about_to_leave_does_so_also_for_those_whom_a_table_reaches_first() -> None:
    world, other = UpperWorld("a"), UpperWorld("a")
    intent = LeaveIntent(lamport_time=7, node="a")
    world.hear(intent)
    other.serf.merge_state(other.now_s, world.serf.local_state(world.now_s, join=False), join=False)
    other.hear(intent)
    assert status(other, "a") is Status.LEAVING


def test_a_foreign_table_that_tells_of_a_join_where_there_was_a_farewell_does_not_hide_it() -> None:
    world = UpperWorld("a")
    world.serf.merge_state(world.now_s, encode(State(status_times={"a": 7})), join=False)
    assert status(world, "a") is Status.ALIVE
    world.hear(LeaveIntent(lamport_time=6, node="a"))
    assert status(world, "a") is Status.ALIVE
    world.hear(LeaveIntent(lamport_time=7, node="a"))
    assert status(world, "a") is Status.LEAVING
    world.passed_on()
    world.serf.merge_state(world.now_s, encode(State(status_times={"a": 7})), join=False)
    assert status(world, "a") is Status.LEAVING
    world.hear(JoinIntent(lamport_time=8, node="a"))
    world.hear(LeaveIntent(lamport_time=8, node="a"))
    assert status(world, "a") is Status.ALIVE, "it said so itself"
    world.serf.merge_state(world.now_s, encode(State(status_times={"a": 9})), join=False)
    world.hear(JoinIntent(lamport_time=9, node="a"))
    world.hear(LeaveIntent(lamport_time=9, node="a"))
    assert status(world, "a") is Status.ALIVE, "it said so, too"


def test_an_old_list_of_those_who_left_does_not_undo_a_return_that_a_table_told_of() -> None:
    world = UpperWorld("a")
    world.serf.merge_state(world.now_s, encode(State(status_times={"a": 8})), join=False)
    world.serf.merge_state(world.now_s, encode(State(status_times={"a": 7}, left_members=["a"])), join=False)
    assert status(world, "a") is Status.ALIVE


def test_a_merge_takes_clocks_intents_and_events() -> None:
    world = UpperWorld("a", "b")
    world.die("a")
    other = State(
        lamport_time=30,
        status_times={"a": 7, "b": 9, "unknown": 3},
        left_members=["a"],
        event_time=20,
        events=[None, EventSlot(lamport_time=19, events=[SlotEvent(name="e", payload=b"p")]), None],
        query_time=10,
    )
    world.serf.merge_state(world.now_s, encode(other), join=False)
    assert status(world, "a") is Status.LEFT
    statistics = world.serf.statistics()
    assert (statistics["member_time"], statistics["event_time"], statistics["query_time"]) == (30, 20, 10)
    assert world.serf.roster.known["a"].status_time == 8, "one more than it said"
    assert world.serf.roster.known["b"].status_time == 9
    assert world.passed_on() == [], "what came by a merge is not passed on"


def test_a_state_that_lies_about_us_is_answered() -> None:
    world = UpperWorld("a")
    world.serf.merge_state(world.now_s, encode(State(left_members=["me"], status_times={"me": 9})), join=False)
    assert world.passed_on() == [JoinIntent(lamport_time=11, node="me")]


def test_garbage_is_no_state() -> None:
    world = UpperWorld("a")
    for garbage in (b"", b"\x02", b"\x02\xc0", b"\x02\x81", b"\x00\x80", b"\xff" * 40, encode(JoinIntent())):
        world.serf.merge_state(world.now_s, garbage, join=True)
        world.serf.user_message(world.now_s, Address("127.0.0.2", 1), garbage)
    world.serf.merge_state(
        world.now_s, encode(State(lamport_time=(1 << 63) - 1, status_times={"a": 1 << 62})), join=True
    )
    assert world.serf.statistics()["member_time"] == 1
    assert status(world, "a") is Status.ALIVE


# Tags


def test_tags_too_large_are_refused_with_a_clear_word() -> None:
    world = UpperWorld("a")
    world.serf.change_tags(TagsChanged(at_s=world.now_s, tags={"role": "node"}))
    before = world.lower.local.meta
    world.serf.change_tags(TagsChanged(at_s=world.now_s, tags={"role": "x" * 600}))
    assert world.lower.local.meta == before
    (log,) = world.seen(Log)
    assert log.fields["why"] == "Encoded length of tags exceeds limit of 512 bytes"
