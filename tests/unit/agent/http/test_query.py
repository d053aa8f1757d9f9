"""/v1/query: what the server is asked, and that an unknown query is 404 whoever says so."""

import pytest

from base.errors import Internal, NotFound, Refused
from structs.catalog import QuerySource
from structs.prepared_query import LIMIT_MAX, ExecuteRequest
from structs.query import Consistency, QueryOptions
from tests.fakes.http_server import http_site

AGENT = QuerySource(datacenter="dc1", node="n1")


def asked(node: str = "", address: str = "127.0.0.1", **fields: object) -> ExecuteRequest:
    source = QuerySource(datacenter="dc1", node=node, address=address)
    return ExecuteRequest(name="web", source=source, agent=AGENT, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("", {}, asked()),
        ("?near=n9&limit=3&connect=true", {}, asked("n9", limit=3, connect=True)),
        ("?near=_agent&limit=-2&connect=0", {}, asked("n1")),
        ("?near=_ip&limit=99999999999", {"X-Forwarded-For": "192.0.2.7, 10.0.0.1"}, asked(
            "_ip", "192.0.2.7", limit=LIMIT_MAX)),
        ("", {"X-Forwarded-For": "2001:DB8::0001"}, asked(address="2001:db8::1")),
        ("", {"X-Forwarded-For": "nobody"}, asked()),
        (
            "?stale&dc=dc2&token=t&index=7&wait=5s",
            {},
            asked(options=QueryOptions(consistency=Consistency.STALE, datacenter="dc2", token="t")),
        ),
    ],
)  # fmt: skip
async def test_an_execution_says_who_asks_from_where(
    query: str, headers: dict[str, str], expected: ExecuteRequest
) -> None:
    async with http_site() as site:
        for what, method in (("execute", "PreparedQuery.Execute"), ("explain", "PreparedQuery.Explain")):
            site.delegate.calls.clear()
            await site.ask("GET", f"/v1/query/web/{what}{query}", headers=headers)
            assert site.delegate.calls == [(method, expected)]


@pytest.mark.parametrize("answers_later", [False, True])
@pytest.mark.parametrize(
    "error", [NotFound("Query not found"), Refused("rpc error making call: rpc error making call: Query not found")]
)
async def test_an_unknown_query_is_not_found_however_that_is_told(
    error: NotFound | Refused, answers_later: bool
) -> None:
    async with http_site() as site:
        site.delegate.answers_later = answers_later
        site.delegate.error = error
        for target in ("web", "web/execute", "web/explain"):
            assert (await site.ask("GET", f"/v1/query/{target}"))[::2] == (404, b"Query not found")
        site.delegate.error = Internal("something else")
        assert (await site.ask("GET", "/v1/query/web"))[::2] == (500, b"something else")


async def test_a_list_of_queries_can_be_waited_for() -> None:
    async with http_site() as site:
        await site.ask("GET", "/v1/query?index=7&wait=5s")
        options = QueryOptions(index_min=7, wait_s=5.0)
        assert [request.options for _, request in site.delegate.calls] == [options]  # type: ignore[attr-defined]
