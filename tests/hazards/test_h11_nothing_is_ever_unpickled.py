"""H11: the library pickles commands, membership changes and messages, so whoever can write to it can run code."""

import pickle
from typing import Any

import pysyncobj.syncobj
import pytest

from base import codec
from base.errors import InvalidRequest, InvariantBroken
from server.raft import membership
from tests.fakes.group import Group, append


class Exploit:
    """Runs when unpickled."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Exploit, "ran", True))


def test_the_codec_of_the_library_is_gone() -> None:
    with pytest.raises(InvariantBroken):
        pysyncobj.syncobj.pickle.loads(pickle.dumps(1))
    with pytest.raises(InvariantBroken):
        pysyncobj.syncobj.pickle.dumps(1)


def test_pickled_bytes_on_the_wire_are_a_malformed_message() -> None:
    with pytest.raises(InvalidRequest):
        codec.unpack(pickle.dumps(Exploit()))
    assert not Exploit.ran


def test_a_pickled_membership_entry_stops_the_server_and_runs_nothing() -> None:
    group = Group()
    group.elect("a")
    last = group.members["b"].journal.entries[-1]
    command = bytes([membership.MEMBERSHIP]) + pickle.dumps(["add", "evil", Exploit()])
    group.deliver("a", "b", append(term=last[2], prev=last[1:], entries=[(command, last[1] + 1, last[2])]))
    with pytest.raises(InvariantBroken):
        group.round("b")
    assert not Exploit.ran


def test_a_pickled_command_is_only_bytes_to_the_state_machine() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", pickle.dumps(Exploit()))
    group.run(0.3)
    assert group.commands("c") == [pickle.dumps(Exploit())]
    assert not Exploit.ran
