"""Bodies are made once for one list and one way, and large ones in a thread."""

import threading
from collections.abc import Awaitable

import trio
import trio.testing

from agent.http.answers import INLINE_ITEMS_MAX, Answers
from agent.http.response import Response
from structs.query import QueryMeta
from tests.fakes.http_server import http_site


class Maker:
    def __init__(self) -> None:
        self.threads: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, items: list[int]) -> bytes:
        self.go.wait(30)
        self.threads.append(threading.get_ident())
        return str(len(items)).encode()


def now(answer: Response | Awaitable[Response]) -> Response:
    assert isinstance(answer, Response)
    return answer


def test_a_body_is_made_once_for_one_list_and_one_way() -> None:
    answers, make, items = Answers(), Maker(), [1, 2]
    first = now(answers.answer(items, "a", QueryMeta(index=5), make))
    assert (first.status, first.body) == (200, b"2")
    assert b"X-Consul-Index: 5\r\n" in first.headers
    assert answers.answer(items, "a", QueryMeta(index=5), make) is first, "its bytes can be used again, too"
    later = now(answers.answer(items, "a", QueryMeta(index=5, last_contact_ms=7), make))
    assert later.body is first.body
    assert b"X-Consul-LastContact: 7\r\n" in later.headers
    assert len(make.threads) == 1
    answers.answer(items, "b", QueryMeta(index=5), make)
    answers.answer([1, 2], "a", QueryMeta(index=5), make)
    assert len(make.threads) == 3, "another way, or another list that is equal, is another body"


async def test_a_large_body_is_made_in_a_thread_once_for_all_who_wait() -> None:
    answers, make, items = Answers(), Maker(), list(range(INLINE_ITEMS_MAX + 1))
    make.go.clear()
    got: list[Response] = []

    async def ask() -> None:
        answer = answers.answer(items, "a", QueryMeta(index=5), make)
        assert not isinstance(answer, Response)
        got.append(await answer)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        make.go.set()
    assert len(make.threads) == 1
    assert make.threads[0] != threading.get_ident()
    assert [response.body for response in got] == [str(len(items)).encode()] * 10
    assert now(answers.answer(items, "a", QueryMeta(index=5), make)) is got[-1]


async def test_who_waits_for_another_that_fails_makes_it_itself() -> None:
    answers, items = Answers(), list(range(INLINE_ITEMS_MAX + 1))
    fails = [True]
    go = threading.Event()

    def make(items: list[int]) -> bytes:
        if fails.pop() if fails else False:
            go.wait(30)
            raise ValueError("the first one's defect")
        return b"made"

    outcomes: list[object] = []

    async def ask() -> None:
        answer = answers.answer(items, "a", QueryMeta(index=5), make)
        assert not isinstance(answer, Response)
        try:
            outcomes.append((await answer).body)
        except ValueError as error:
            outcomes.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert sorted(map(str, outcomes)) == ["b'made'", "the first one's defect"]


async def test_variants_of_one_reply_do_not_get_each_others_bodies() -> None:
    async with http_site() as site:
        for _ in range(2):
            everything = (await site.ask("GET", "/v1/health/service/web"))[2]
            assert len(everything) > 2
            assert (await site.ask("GET", "/v1/health/service/web?passing"))[2] == b"[]"
            assert (await site.ask("GET", "/v1/health/service/web?filter=Service.Port==81"))[2] == b"[]"
            assert (await site.ask("GET", "/v1/health/service/web?filter=Service.Port==80"))[2] == everything
            assert (await site.ask("GET", "/v1/health/service/web?filter=Service.Port==80&passing"))[2] == b"[]"
