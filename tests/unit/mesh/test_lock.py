"""Locks, semaphores and services with threads and in trio, against an agent with keys and sessions in memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from base.errors import InvalidRequest, Refused
from mesh import lock_state
from mesh.client import Client
from mesh.lock import Lock, Semaphore
from mesh.lock_state import LOCK_FLAGS, LockConflict, LockLost, LockTimeout
from mesh.semaphore_state import SEMAPHORE_FLAGS
from mesh.trio_client import TrioClient
from mesh.trio_lock import lock_in_trio, semaphore_in_trio
from tests.fakes.http_agent import fake_agent
from tests.fakes.kv_agent import KVAgent, Threads

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_state, "RETRY_S", 0.05)


@contextmanager
def site() -> Iterator[tuple[Threads, str]]:
    served = Threads(KVAgent())
    with fake_agent(served) as agent:
        yield served, agent.address


def client(address: str) -> Client:
    return Client(address, environment={}, attempts_max=1)


def until(condition: Callable[[], object]) -> None:
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("it did not come about")


def test_a_lock_is_held_written_as_other_clients_do_and_given_back() -> None:
    with site() as (served, address), client(address) as mine:
        lock = Lock(mine, "app/.lock", value=b"me", session_name="test")
        with lock as held:
            entry = served.agent.entries["app/.lock"]
            assert (entry.session, entry.flags, entry.value) == (held.session_id, LOCK_FLAGS, b"me")
            assert (held.fencing, held.lock_index) == (entry.modify_index, 1)
            assert held.is_certain()
            row = served.agent.sessions[held.session_id].row
            assert (row["TTL"], row["Behavior"], row["Name"]) == ("15s", "release", "test")
        assert served.agent.entries["app/.lock"].session == ""
        assert served.agent.sessions == {}
        assert not held.lost.is_set()
        assert lock.remove()
        assert served.agent.entries == {}


def test_one_attempt_of_another_finds_it_taken_and_leaves_nothing() -> None:
    with site() as (served, address), client(address) as mine, client(address) as other:
        with Lock(mine, "k") as held:
            assert Lock(other, "k").acquire(timeout_s=0) is None
            with pytest.raises(Refused):
                Lock(other, "k").remove()
            assert list(served.agent.sessions) == [held.session_id]
        later = Lock(other, "k")
        got = later.acquire(timeout_s=0)
        assert got is not None
        assert got.fencing > held.fencing
        with pytest.raises(InvalidRequest):
            later.acquire()
        assert later.release()


def test_who_waits_gets_it_when_it_is_given_back() -> None:
    with site() as (_, address), client(address) as mine, client(address) as other:
        first = Lock(mine, "k")
        assert first.acquire() is not None
        got: list[Any] = []
        second = Lock(other, "k")
        thread = threading.Thread(target=lambda: got.append(second.acquire()))
        thread.start()
        first.release()
        thread.join(PATIENCE_S)
        assert got[0].is_certain()
        second.release()


def test_a_key_of_another_meaning_is_left_alone() -> None:
    with site() as (served, address), client(address) as mine:
        mine.kv.put("k", b"data")
        with pytest.raises(LockConflict, match="Existing key does not match lock use"):
            Lock(mine, "k").acquire()
        assert served.agent.entries["k"].value == b"data"
        assert served.agent.sessions == {}
        mine.kv.put("p/.lock", b"data")
        with pytest.raises(LockConflict):
            Semaphore(mine, "p", 2).acquire()


def test_a_session_that_ends_is_a_loss_that_is_told_once() -> None:
    with site() as (served, address), client(address) as mine:
        told: list[str] = []
        lock = Lock(mine, "k", on_lost=told.append)
        held = lock.acquire()
        assert held is not None
        with served.lock:
            served.agent.end(held.session_id, by_time=True)
        assert held.lost.wait(PATIENCE_S)
        until(lambda: told)
        assert told == [held.lost_reason] != [""]
        assert not held.is_certain()
        lock.release()


def test_a_client_that_reaches_nobody_loses_its_lock_with_the_time_of_its_session() -> None:
    with site() as (served, address), client(address) as mine:
        lock = Lock(mine, "k", ttl_s=0.6)
        held = lock.acquire()
        assert held is not None
        served.down = True
        assert held.lost.wait(PATIENCE_S)
        assert held.lost_reason == "the session was not renewed in time"
        assert not lock.release()


def test_renewals_keep_a_lock_far_beyond_its_time() -> None:
    with site() as (served, address), client(address) as mine:
        lock = Lock(mine, "k", ttl_s=0.6)
        held = lock.acquire()
        assert held is not None
        ends_at_s = served.agent.sessions[held.session_id].ends_at_s
        until(lambda: served.agent.now_s > ends_at_s + 0.6)
        assert held.is_certain()
        lock.release()


def test_a_semaphore_lets_in_as_many_as_it_has_places() -> None:
    with site() as (served, address), client(address) as mine:
        first, second, third = (Semaphore(mine, "p", 2) for _ in range(3))
        with first as one, second as two:
            board = served.agent.entries["p/.lock"]
            assert board.flags == SEMAPHORE_FLAGS
            assert mine.kv.get("p/.lock") is not None
            assert (one.session_id in board.value.decode(), two.session_id in board.value.decode()) == (True, True)
            assert served.agent.entries[f"p/{one.session_id}"].session == one.session_id
            assert third.acquire(timeout_s=0) is None
        assert third.acquire(timeout_s=0) is not None
        with pytest.raises(InvalidRequest, match="semaphore limit conflict"):
            Semaphore(mine, "p", 3).acquire()
        third.release()
        assert third.remove()
        assert served.agent.entries == {}
    with pytest.raises(InvalidRequest):
        Semaphore(mine, "p", 0)


def in_trio(what: Callable[[Threads, TrioClient], Any]) -> None:
    async def main() -> None:
        with site() as (served, address), trio.fail_after(PATIENCE_S):
            async with TrioClient(address, environment={}, attempts_max=1) as client:
                await what(served, client)

    trio.run(main)


def test_in_trio_a_lock_is_held_while_the_block_runs() -> None:
    async def play(served: Threads, client: TrioClient) -> None:
        async with lock_in_trio(client, "k", value=b"me") as held:
            assert served.agent.entries["k"].session == held.session_id
            assert held.is_certain()
            with pytest.raises(LockTimeout):
                async with lock_in_trio(client, "k", timeout_s=0):
                    pytest.fail("two hold it")
        assert served.agent.sessions == {}
        async with semaphore_in_trio(client, "p", 2) as one, semaphore_in_trio(client, "p", 2) as two:
            assert one.session_id != two.session_id

    in_trio(play)


def test_in_trio_a_loss_cancels_the_block_and_is_raised() -> None:
    async def play(served: Threads, client: TrioClient) -> None:
        async def lose() -> None:
            async with lock_in_trio(client, "k") as held:
                with served.lock:
                    served.agent.end(held.session_id, by_time=False)
                await trio.sleep_forever()

        with pytest.raises(LockLost):
            await lose()
        async with lock_in_trio(client, "k", cancels=False) as held:
            with served.lock:
                served.agent.end(held.session_id, by_time=False)
            await held.lost.wait()
            assert held.lost_reason

    in_trio(play)


def test_in_trio_an_error_of_the_block_comes_out_as_it_is_and_nothing_is_left() -> None:
    async def play(served: Threads, client: TrioClient) -> None:
        with pytest.raises(KeyError):
            async with lock_in_trio(client, "k"):
                raise KeyError("mine")
        with trio.move_on_after(0.05):
            async with lock_in_trio(client, "k"):
                await trio.sleep_forever()
        assert served.agent.sessions == {}
        assert served.agent.entries["k"].session == ""

    in_trio(play)
