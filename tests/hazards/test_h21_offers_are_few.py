"""H21: while a follower needs a snapshot, the library's sender spins and floods it with empty messages."""

from server.raft import envelope as wire
from tests.fakes.group import Group

DURATION_S = 3.0


def test_a_follower_that_needs_a_snapshot_gets_about_one_message_a_heartbeat() -> None:
    group = Group()
    group.elect("a")
    group.isolate("c")
    group.propose("a", *(b"%d" % number for number in range(20)))
    group.run(0.5)
    group.take_snapshot("a")
    group.heal()
    group.run(0.5)
    group.log.clear()
    for _ in range(round(DURATION_S / 0.05)):
        group.propose("a", b"more")
        group.run(0.05)
    offers = [message for _, receiver, message in group.log if receiver == "c" and message[0] == wire.OFFER]
    assert 0 < len(offers) <= 2 * DURATION_S / group.timings.heartbeat_s + 2


def test_the_newest_complete_snapshot_is_offered_while_the_next_is_being_written() -> None:
    group = Group()
    group.elect("a")
    group.isolate("c")
    group.propose("a", b"1", b"2")
    group.run(0.3)
    first = group.take_snapshot("a")
    group.propose("a", b"3")
    group.run(0.3)
    group.heal()
    group.run(0.5)
    assert [(fetch.from_id, fetch.index) for fetch in group.members["c"].fetches] == [("a", first.index)]
