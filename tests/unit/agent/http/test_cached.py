"""`?cached` and `Cache-Control`: what is answered from the agent's cache, and what clients are told of it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from agent.cache.cache import Cache
from agent.cache.entry import ANYTHING, Control
from agent.http.listener import HTTPListener, listen_tcp
from agent.http.parameters import cache_control
from agent.http.settings import HTTPSettings
from base.errors import InvalidRequest, NoLeader
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.discovery import FakeDiscovery, instance
from tests.fakes.http_server import PATIENCE_S, RawClient, request

PATH = "/v1/health/service/web"


class CachedSite:
    """A listener with a cache over a fake catalog."""

    def __init__(self, servers: FakeDiscovery, cache: Cache, port: int) -> None:
        self.servers = servers
        self.cache = cache
        self.port = port

    async def ask(self, target: str, control: str = "") -> tuple[int, dict[str, str], bytes]:
        headers = {"Cache-Control": control} if control else {}
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            with trio.fail_after(PATIENCE_S):
                return await RawClient(stream).exchange(request("GET", target, b"", headers))


@asynccontextmanager
async def cached_site(**settings: Any) -> AsyncGenerator[CachedSite, None]:
    servers = FakeDiscovery(instance("n1", "10.0.0.1"), instance("n2", "10.0.0.2", status="warning"))
    sock = listen_tcp("127.0.0.1", 0)
    cache = Cache(servers)
    listener = HTTPListener(HTTPSettings(**settings), servers, FakeAgentInfo(), [sock], cache=cache)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        await nursery.start(listener.run)
        yield CachedSite(servers, cache, sock.getsockname()[1])
        nursery.cancel_scope.cancel()


async def test_the_first_is_a_miss_and_the_next_are_hits_with_an_age() -> None:
    async with cached_site() as site:
        status, first, body = await site.ask(PATH + "?cached")
        assert (status, first["x-cache"]) == (200, "MISS")
        assert "age" not in first
        _, second, again = await site.ask(PATH + "?cached")
        assert (second["x-cache"], second["age"]) == ("HIT", "0")
        assert again == body
        assert second["x-consul-index"] == "5"
        assert second["x-consul-effective-consistency"] == "stale"
        _, _, passing = await site.ask(PATH + "?cached&passing")
        assert (len(json.loads(body)), len(json.loads(passing))) == (2, 1)  # one entry serves both


async def test_without_cached_every_request_asks_the_servers() -> None:
    async with cached_site() as site:
        for _ in range(3):
            _, headers, _ = await site.ask(PATH)
            assert "x-cache" not in headers
        assert len(site.servers.calls) == 3


async def test_the_cache_can_be_turned_off() -> None:
    async with cached_site(use_cache=False) as site:
        assert "x-cache" not in (await site.ask(PATH + "?cached"))[1]


async def test_who_names_an_index_waits_for_another_and_all_share_one_query() -> None:
    async with cached_site() as site:
        await site.ask(PATH + "?cached")
        answers: list[tuple[str, str]] = []

        async def watch() -> None:
            _, headers, _ = await site.ask(PATH + "?cached&index=5&wait=60s")
            answers.append((headers["x-cache"], headers["x-consul-index"]))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(watch)
            with trio.fail_after(PATIENCE_S):
                while site.cache.statistics().waiters_count < 20:
                    await trio.sleep(0.002)
            assert site.servers.waiting_count == 1
            site.servers.change(instance("n3", "10.0.0.3"))
        assert answers == [("MISS", "6")] * 20


async def test_a_wait_that_is_over_is_answered_with_what_there_is() -> None:
    async with cached_site() as site:
        await site.ask(PATH + "?cached")
        status, headers, _ = await site.ask(PATH + "?cached&index=5&wait=10ms")
        assert (status, headers["x-consul-index"], headers["x-cache"]) == (200, "5", "MISS")


async def test_an_answer_outlives_the_servers() -> None:
    async with cached_site() as site:
        await site.ask(PATH + "?cached")
        site.servers.fail(NoLeader())
        await trio.testing.wait_all_tasks_blocked()
        status, headers, _ = await site.ask(PATH + "?cached")
        assert (status, headers["x-cache"]) == (200, "HIT")
        status, _, body = await site.ask("/v1/health/service/other?cached")
        assert (status, body) == (500, b"No cluster leader")


async def test_requests_that_contradict_themselves_are_refused_in_the_known_words() -> None:
    async with cached_site() as site:
        status, _, body = await site.ask(PATH + "?cached&consistent")
        assert (status, body) == (400, b"Cannot specify ?cached with ?consistent, conflicting semantics.")
        status, _, body = await site.ask(PATH + "?cached", "max-age=soon")
        assert (status, body) == (400, b"Invalid Cache-Control header.")
        assert (await site.ask(PATH, "max-age=soon"))[0] == 200  # not for us


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ANYTHING),
        ("no-store", ANYTHING),
        ("max-age=60", Control(age_s_max=60)),
        ("Max-Age=60, stale-if-error=3600", Control(age_s_max=60, stale_if_error_s=3600)),
        ("max-age=0", Control(age_s_max=0, must_revalidate=True)),
        ("must-revalidate", Control(must_revalidate=True)),
        (" must-revalidate ,max-age=5", Control(age_s_max=5, must_revalidate=True)),
    ],
)
def test_directives_say_what_a_caller_accepts(header: str, expected: Control) -> None:
    assert cache_control(header.encode()) == expected


@pytest.mark.parametrize("header", ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "stale-if-error=x"])
def test_directives_without_a_whole_number_are_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match=r"Invalid Cache-Control header\."):
        cache_control(header.encode())
