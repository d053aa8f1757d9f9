"""H5: the library cuts an entry of the batch size or more into pieces that cannot be joined again."""

import pytest

from base.errors import TooLarge
from server.raft.timings import APPEND_BATCH_BYTES, COMMAND_BYTES_MAX
from tests.fakes.group import Group


def test_the_largest_command_is_replicated_in_one_piece() -> None:
    group = Group()
    group.elect("a")
    command = bytes(COMMAND_BYTES_MAX)
    group.propose("a", command)
    group.run(0.2)
    assert all(group.commands(each) == [command] for each in "abc")


def test_a_larger_command_is_refused_before_it_enters_the_log() -> None:
    group = Group()
    group.elect("a")
    last_index = group["a"].last_index
    with pytest.raises(TooLarge):
        group.propose("a", bytes(COMMAND_BYTES_MAX + 1))
    group.run(0.2)
    assert group["a"].last_index == last_index


def test_no_command_with_its_type_byte_reaches_the_size_at_which_the_library_cuts() -> None:
    assert COMMAND_BYTES_MAX + 1 < APPEND_BATCH_BYTES
