"""A blocking query as an iterator."""

from collections.abc import Callable

import pytest

from base.errors import InvalidRequest, MeshError, NoLeader
from mesh import watch_state
from mesh.client import Client
from mesh.query import Answer, Read
from mesh.watch import next_index, watch


def answering(*steps: tuple[int, str] | MeshError) -> tuple[Callable[[Read], Answer[str]], list[int]]:
    """A read that gives these answers, and the indexes it was asked with."""
    asked: list[int] = []
    left = list(steps)

    def ask(read: Read) -> Answer[str]:
        asked.append(read.index)
        step = left.pop(0)
        if isinstance(step, MeshError):
            raise step
        return Answer(value=step[1], index=step[0], known_leader=True, last_contact_s=0.0)

    return ask, asked


def client() -> Client:
    return Client("127.0.0.1:1", environment={})


def test_each_change_is_yielded_once_and_time_outs_are_not() -> None:
    ask, asked = answering((5, "a"), (5, "a"), (7, "b"), (8, "c"))
    found = watch(client(), ask)
    assert [next(found).value for _ in range(3)] == ["a", "b", "c"]
    assert asked == [0, 5, 5, 7]


def test_an_index_that_goes_back_starts_again_and_nothing_is_yielded_twice() -> None:
    ask, asked = answering((9, "a"), (4, "b"), (4, "b"), (6, "c"))
    found = watch(client(), ask)
    assert [next(found).value for _ in range(3)] == ["a", "b", "c"]
    assert asked == [0, 9, 0, 4]


def test_an_index_below_one_never_makes_a_busy_loop() -> None:
    assert next_index(0, 0) == 1
    assert next_index(3, 2) == 0
    assert next_index(3, 3) == 3


def test_errors_that_pass_are_waited_out_and_others_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_state, "PAUSE_S_MIN", 0.001)
    monkeypatch.setattr(watch_state, "QUIET_PAUSE_S_MIN", 0.001)
    ask, asked = answering((5, "a"), NoLeader(), (6, "b"), InvalidRequest("no"))
    found = watch(client(), ask)
    assert [next(found).value, next(found).value] == ["a", "b"]
    assert asked == [0, 5, 5]
    with pytest.raises(InvalidRequest):
        next(found)


def test_closing_the_client_ends_the_iteration() -> None:
    ask, _ = answering(NoLeader())
    owner = client()
    owner.close()
    assert list(watch(owner, ask)) == []
