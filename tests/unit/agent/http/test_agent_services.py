"""/v1/agent/service*, /check*, /maintenance, /health/service: the exact exchanges."""

import json
from typing import Any

import pytest
import trio

from base.errors import ConfigInvalid
from tests.fakes.http_server import Site, http_site, until

WEB = {"name": "web", "tags": ["v1"], "port": 8080, "check": {"ttl": "10s"}}


async def put(site: Site, path: str, body: object = None) -> tuple[int, str]:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = await site.ask("PUT", "/v1/agent/" + path, data)
    return status, answer.decode()


async def get(site: Site, path: str) -> tuple[int, dict[str, str], Any]:
    status, headers, body = await site.ask("GET", "/v1/agent/" + path)
    try:
        return status, headers, json.loads(body)
    except ValueError:
        return status, headers, body.decode()


async def test_a_service_is_registered_shown_and_deregistered() -> None:
    async with http_site() as site:
        assert (await get(site, "services"))[2] == {}
        assert await put(site, "service/register", WEB) == (200, "")
        assert (await get(site, "services"))[2] == {
            "web": {
                "Kind": "",
                "ID": "web",
                "Service": "web",
                "Tags": ["v1"],
                "Meta": {},
                "Port": 8080,
                "Address": "",
                "Weights": {"Passing": 1, "Warning": 1},
                "EnableTagOverride": False,
                "CreateIndex": 0,
                "ModifyIndex": 0,
                "ProxyDestination": "",
                "Connect": None,
                "Datacenter": "dc1",
            }
        }
        checks = (await get(site, "checks"))[2]
        assert checks["service:web"]["Status"] == "critical"
        assert checks["service:web"]["ServiceTags"] == ["v1"]
        assert await put(site, "service/deregister/web") == (200, "")
        assert (await get(site, "services"))[2] == {}
        assert await put(site, "service/deregister/web") == (
            404,
            'Unknown service ID "web". Ensure that the service ID is passed, not the service name.',
        )


@pytest.mark.parametrize("target", ["batman/node-1", "batman%2Fnode-1"])
async def test_an_id_may_hold_slashes(target: str) -> None:
    async with http_site() as site:
        await put(site, "service/register", {"ID": "batman/node-1", "Name": "batman"})
        assert (await get(site, "service/" + target))[2]["ID"] == "batman/node-1"
        assert await put(site, "service/deregister/" + target) == (200, "")


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("service/register", {}, 400, "Missing service name"),
        ("service/register", b"{", 400, "Request decode failed: "),
        ("service/register", {"Name": "x", "Port": "1"}, 400, "Request decode failed: Service.port: "),
        ("service/register", {"Name": "x", "Check": {"Interval": "1s"}}, 400, "Invalid check: TTL must be > 0"),
        ("service/register", {"Name": "x" * 2000}, 413, "Service name is too long"),
        ("service/register", {"Name": "x", "Check": {"Args": ["x"], "Interval": "1s"}}, 500, "Scripts are disabled"),
        ("check/register", {}, 400, "Missing check name"),
        ("check/register", {"Name": "c", "TTL": "1s", "Status": "x"}, 400, "Bad check status"),
        ("check/register", {"Name": "c", "TTL": "1s", "ServiceID": "x"}, 500, 'ServiceID "x" does not exist'),
        ("check/deregister/x", None, 404, 'Unknown check ID "x". Ensure that the check ID is passed'),
        ("check/deregister/", None, 500, "CheckID missing"),
        ("check/pass/x", None, 404, 'Unknown check ID "x"'),
        ("check/warn/x", None, 404, 'Unknown check ID "x"'),
        ("check/fail/x", None, 404, 'Unknown check ID "x"'),
        ("check/update/x", {"Status": "passing"}, 404, 'Unknown check ID "x"'),
        ("check/update/x", [1], 400, "Request decode failed: "),
        ("service/maintenance/", None, 400, "Missing service ID"),
        ("service/maintenance/x", None, 400, "Missing value for enable"),
        ("service/maintenance/x?enable=maybe", None, 400, 'Invalid value for enable: "maybe"'),
        ("service/maintenance/x?enable=true", None, 404, 'No service registered with ID "x"'),
        ("maintenance", None, 400, "Missing value for enable"),
        ("maintenance?enable=", None, 400, 'Invalid value for enable: ""'),
    ],
)
async def test_what_is_wrong_is_refused_in_known_words(path: str, body: object, status: int, text: str) -> None:
    async with http_site() as site:
        answer = await put(site, path, body)
        assert answer[0] == status
        assert answer[1].startswith(text)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agent/check/deregister/",
        "/v1/agent/check/fail/",
        "/v1/agent/check/pass/",
        "/v1/agent/check/register",
        "/v1/agent/check/update/",
        "/v1/agent/check/warn/",
        "/v1/agent/maintenance",
        "/v1/agent/reload",
        "/v1/agent/service/deregister/",
        "/v1/agent/service/maintenance/",
        "/v1/agent/service/register",
    ],
)
async def test_reading_changes_nothing(path: str) -> None:
    async with http_site() as site:
        status, headers, _ = await site.ask("GET", path)
        assert (status, headers["allow"]) == (405, "OPTIONS,PUT")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agent/checks",
        "/v1/agent/health/service/id/",
        "/v1/agent/health/service/name/",
        "/v1/agent/service/",
        "/v1/agent/services",
    ],
)
async def test_what_shows_something_takes_nothing(path: str) -> None:
    async with http_site() as site:
        status, headers, _ = await site.ask("PUT", path)
        assert (status, headers["allow"]) == (405, "OPTIONS,GET")


async def test_a_ttl_check_is_spoken_for() -> None:
    async with http_site() as site:
        assert await put(site, "check/register", {"Name": "mem", "TTL": "10s", "Notes": "n"}) == (200, "")
        for path, body, status, output in (
            ("check/pass/mem?note=all%20fine", None, "passing", "all fine"),
            ("check/warn/mem", None, "warning", ""),
            ("check/fail/mem?note=x", None, "critical", "x"),
            ("check/update/mem", {"Status": "passing", "Output": "o"}, "passing", "o"),
            ("check/update/mem", {"status": "warning"}, "warning", ""),
        ):
            assert await put(site, path, body) == (200, "")
            shown = (await get(site, "checks"))[2]["mem"]
            assert (shown["Status"], shown["Output"], shown["Notes"], shown["Type"]) == (status, output, "n", "ttl")
        assert await put(site, "check/deregister/mem") == (200, "")
        assert (await get(site, "checks"))[2] == {}


async def test_a_service_shows_a_hash_and_waits_until_it_changes() -> None:
    async with http_site() as site:
        status, _, body = await get(site, "service/web")
        assert (status, body) == (404, "unknown service ID: web")
        await put(site, "service/register", WEB)
        _, headers, shown = await get(site, "service/web")
        content_hash = shown["ContentHash"]
        assert headers["x-consul-contenthash"] == content_hash
        assert len(content_hash) == 16
        assert "x-consul-index" not in headers
        assert (await get(site, "service/web?hash=other"))[2] == shown
        assert (await get(site, f"service/web?hash={content_hash}&wait=1ms"))[2] == shown
        assert (await get(site, f"service/web?hash={content_hash}&wait=1"))[:1] == (400,)
        found: list[Any] = []

        async def watch() -> None:
            found.append((await get(site, f"service/web?hash={content_hash}&wait=1m"))[2])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await until(lambda: site.agent.local.state._watchers)
            await put(site, "check/pass/service:web")
            await put(site, "service/register", {**WEB, "port": 81})
        assert found[0]["Port"] == 81
        assert found[0]["ContentHash"] != content_hash
        assert not site.agent.local.state._watchers


async def test_a_watched_service_that_goes_is_unknown() -> None:
    async with http_site() as site:
        await put(site, "service/register", WEB)
        content_hash = (await get(site, "service/web"))[2]["ContentHash"]
        found: list[int] = []

        async def watch() -> None:
            found.append((await get(site, f"service/web?hash={content_hash}"))[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await until(lambda: site.agent.local.state._watchers)
            await put(site, "service/deregister/web")
        assert found == [404]


async def test_the_health_of_a_service_is_the_worst_of_its_checks_and_the_nodes() -> None:
    async with http_site() as site:
        await put(site, "service/register", WEB)
        await put(site, "service/register", {"Name": "web", "ID": "web2"})
        for status, code in (("warning", 429), ("critical", 503), ("passing", 200)):
            await put(site, "check/update/service:web", {"Status": status})
            answered, headers, body = await get(site, "health/service/id/web")
            assert (answered, headers["x-consul-reason"], body["AggregatedStatus"]) == (code, status, status)
            assert (body["Service"]["ID"], len(body["Checks"])) == ("web", 1)
            answered, _, rows = await get(site, "health/service/name/web")
            assert (answered, [row["AggregatedStatus"] for row in rows]) == (code, [status, "passing"])
            assert (await get(site, "health/service/name/web?format=text"))[2] == status
        await put(site, "service/maintenance/web?enable=true&reason=why")
        assert (await get(site, "health/service/id/web?format=text"))[::2] == (503, "maintenance")
        wanted = {"Accept": "text/plain"}
        told = await site.ask("GET", "/v1/agent/health/service/id/web2", headers=wanted)
        assert told[::2] == (200, b"passing")
        await put(site, "maintenance?enable=1")
        assert (await get(site, "health/service/id/web2"))[0] == 503
        await put(site, "maintenance?enable=f")
        assert (await get(site, "health/service/id/web2"))[0] == 200


async def test_the_health_of_nobody_is_not_found() -> None:
    async with http_site() as site:
        assert (await get(site, "health/service/id/x"))[::2] == (
            404,
            {"AggregatedStatus": "critical", "Service": None, "Checks": None},
        )
        assert (await get(site, "health/service/name/x"))[::2] == (404, [])
        assert (await get(site, "health/service/id/x?format=text"))[::2] == (404, "ServiceId x not found")
        assert (await get(site, "health/service/name/x?format=text"))[::2] == (404, "ServiceName x Not Found")
        assert (await get(site, "health/service/id/"))[::2] == (400, "Missing service ID")
        assert (await get(site, "health/service/name/%E2%82%AC"))[0] == 404


async def test_other_checks_go_where_that_is_wanted() -> None:
    async with http_site() as site:
        await put(site, "service/register", {"Name": "web", "Checks": [{"TTL": "1s"}, {"TTL": "2s"}]})
        one = {"Name": "web", "Check": {"CheckID": "service:web:2", "TTL": "2s"}}
        await put(site, "service/register", one)
        assert len((await get(site, "checks"))[2]) == 2
        await put(site, "service/register?replace-existing-checks", one)
        assert list((await get(site, "checks"))[2]) == ["service:web:2"]


async def test_the_token_of_a_registration_is_the_requests() -> None:
    async with http_site() as site:
        await site.ask("PUT", "/v1/agent/service/register?token=t1", json.dumps(WEB).encode())
        assert site.agent.local.state.services["web"].token == "t1"
        await site.ask("PUT", "/v1/agent/check/register", b'{"Name":"c","TTL":"1s"}', {"X-Consul-Token": "t2"})
        assert site.agent.local.state.checks["c"].token == "t2"


async def test_services_and_checks_can_be_filtered() -> None:
    async with http_site() as site:
        for name in ("web", "db"):
            await put(site, "service/register", {"Name": name, "Meta": {"of": name}, "Check": {"TTL": "1s"}})
        assert list((await get(site, "services?filter=Service==web"))[2]) == ["web"]
        assert list((await get(site, "services?filter=Meta.of==db"))[2]) == ["db"]
        assert list((await get(site, "checks?filter=ServiceName==db"))[2]) == ["service:db"]
        for path in ("services?filter=Nothing==1", "checks?filter=x"):
            assert (await get(site, path))[0] == 400


async def test_a_reload_is_carried_out_or_says_what_is_wrong() -> None:
    async with http_site() as site:
        assert await put(site, "reload") == (200, "")
        assert site.agent.done == [("reload",)]
        site.agent.error = ConfigInvalid("a.hcl: nonsense")
        assert await put(site, "reload") == (500, "a.hcl: nonsense")


async def test_a_registration_may_be_large_but_not_too_large() -> None:
    async with http_site() as site:
        body = {"Name": "web", "Tags": ["x" * 500] * 400}
        assert await put(site, "service/register", body) == (200, "")
        status, text = await put(site, "service/register", {"Name": "web", "Tags": ["x" * 1000] * 1000})
        assert (status, text[:13]) == (413, "Request body(")
