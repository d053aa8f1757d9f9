"""H19: the library sends a follower everything it lacks at once, however slowly that follower takes it."""

from server.raft import envelope as wire
from server.raft.timings import APPEND_BATCH_BYTES
from tests.fakes.group import Group

COMMAND_BYTES = 1024 * 1024


def appends_to(group: Group, server_id: str) -> list[list[bytes]]:
    """The commands of each append to that server since the log was cleared."""
    sent = [message for _, receiver, message in group.log if receiver == server_id and message[0] == wire.APPEND]
    return [[entry[0] for entry in message[8]] for message in sent]


def test_a_closed_window_stops_entries_and_an_open_one_lets_them_go_on() -> None:
    group = Group()
    group.elect("a")
    group["a"].set_window_open("c", False)
    group.log.clear()
    group.propose("a", b"x")
    group.run(0.3)
    assert appends_to(group, "c") == []
    assert group.commands("a") == [b"x"]
    group["a"].set_window_open("c", True)
    group.run(0.3)
    assert group.commands("c") == [b"x"]


def test_one_tick_sends_one_follower_at_most_one_batch() -> None:
    group = Group()
    group.elect("a")
    group["a"].set_window_open("c", False)
    for _ in range(12):
        group.propose("a", bytes(COMMAND_BYTES))
        group.step()
    group["a"].set_window_open("c", True)
    group.log.clear()
    group.round("a")
    batches = appends_to(group, "c")
    assert len(batches) == 1
    assert sum(map(len, batches[0])) <= APPEND_BATCH_BYTES + COMMAND_BYTES
    assert group["a"].next_wake_s(group.now_s) <= group.now_s  # there is more: the next round begins at once
    group.run(0.3)
    assert len(group.commands("c")) == 12
