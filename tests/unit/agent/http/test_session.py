"""/v1/session and locks over HTTP, on a real state machine. Source: HTTP API, section 6."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.http.session import parse_session
from base.errors import InvalidRequest, Refused
from structs.catalog import SERF_CHECK_ID, HealthCheck, RegisterCommand, RegisterRequest
from structs.session import SECOND_NS, ServiceCheck
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.http_server import Site, http_site
from tests.fakes.server_parts import server_parts

NODE = FakeAgentInfo().node_name
NOBODY = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def site_with_node(folder: Path) -> AsyncGenerator[Site, None]:
    async with server_parts(folder) as parts, http_site(delegate=parts.delegate) as site:
        checks = [
            HealthCheck(node=NODE, check_id=SERF_CHECK_ID, status="passing"),
            HealthCheck(node=NODE, check_id="c1", status="passing"),
        ]
        command = RegisterCommand(node=NODE, address="10.0.0.1", checks=checks)
        await parts.ask("Catalog.Register", RegisterRequest(command=command))
        yield site


async def created(site: Site, body: bytes = b"") -> str:
    status, _, answer = await site.ask("PUT", "/v1/session/create", body)
    assert status == 200, answer
    return str(json.loads(answer)["ID"])


async def told(site: Site, target: str) -> Any:
    status, headers, body = await site.ask("GET", target)
    assert (status, "x-consul-index" in headers) == (200, True)
    return json.loads(body)


async def test_a_session_without_a_body_is_bound_to_the_agents_health(tmp_path: Path) -> None:
    async with site_with_node(tmp_path) as site:
        session_id = await created(site)
        (found,) = await told(site, f"/v1/session/info/{session_id}")
        indexes = found.pop("CreateIndex"), found.pop("ModifyIndex")
        assert found == {
            "ID": session_id, "Name": "", "Node": NODE, "Checks": ["serfHealth"], "NodeChecks": ["serfHealth"],
            "ServiceChecks": None, "LockDelay": 15_000_000_000, "Behavior": "release", "TTL": "",
        }  # fmt: skip
        assert indexes[0] == indexes[1] > 0
        for target in ("/v1/session/list", f"/v1/session/node/{NODE}"):
            assert [each["ID"] for each in await told(site, target)] == [session_id]
        assert await told(site, "/v1/session/node/nobody") == []
        assert await told(site, f"/v1/session/info/{NOBODY}") == []


async def test_the_body_of_python_clients_is_understood(tmp_path: Path) -> None:
    body = b'{"name":"scope-member","checks":[],"lockdelay":"0.001s","behavior":"delete","ttl":"15.0s"}'
    async with site_with_node(tmp_path) as site:
        (found,) = await told(site, f"/v1/session/info/{await created(site, body)}")
        assert (found["Name"], found["Checks"], found["NodeChecks"]) == ("scope-member", None, [])
        assert (found["LockDelay"], found["Behavior"], found["TTL"]) == (1_000_000, "delete", "15.0s")


async def test_sessions_are_destroyed_and_renewed(tmp_path: Path) -> None:
    async with site_with_node(tmp_path) as site:
        session_id = await created(site, b'{"TTL":"10s"}')
        status, headers, body = await site.ask("PUT", f"/v1/session/renew/{session_id}")
        assert (status, json.loads(body)[0]["ID"], "x-consul-index" in headers) == (200, session_id, False)
        for _ in range(2):
            status, _, body = await site.ask("PUT", f"/v1/session/destroy/{session_id}")
            assert (status, body) == (200, b"true")
        for gone in (session_id, NOBODY, "x"):
            status, _, body = await site.ask("PUT", f"/v1/session/renew/{gone}?stale")
            assert (status, body.decode()) == (404, f"Session id '{gone}' not found")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'{"TTL":"5s"}', 500, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
        (b'{"TTL":"soon"}', 500, "Session TTL 'soon' invalid: time: invalid duration \"soon\""),
        (b'{"Behavior":"explode"}', 500, "Invalid Behavior setting 'explode'"),
        (b'{"Node":"other"}', 500, "Missing node registration"),
        (b'{"Checks":["c9"]}', 500, "Missing check 'c9' registration"),
        (b'{"Checks":"c1"}', 400, "Request decode failed: session.Checks: expected a list of strings"),
        (b'{"TTL":10}', 400, "Request decode failed: session.TTL: expected type 'string', got number"),
        (b'{"LockDelay":true}', 400, "Request decode failed: session.LockDelay: expected type 'duration', got bool"),
        (b"[]", 400, "Request decode failed: session: expected a map, got list"),
        (b"{", 400, "Request decode failed: "),
    ],
)
async def test_what_cannot_be_a_session_is_answered_with_the_texts_that_clients_know(
    tmp_path: Path, body: bytes, status: int, text: str
) -> None:
    async with site_with_node(tmp_path) as site:
        answer = await site.ask("PUT", "/v1/session/create", body)
        assert (answer[0], answer[1]["x-mesh-outcome"]) == (status, "refused")
        assert answer[2].decode().startswith(text)
        assert await told(site, "/v1/session/list") == []


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("PUT", "/v1/session/destroy/", 400, "Missing session"),
        ("PUT", "/v1/session/renew/", 400, "Missing session"),
        ("GET", "/v1/session/info/", 400, "Missing session"),
        ("GET", "/v1/session/node/", 400, "Missing node name"),
        ("GET", "/v1/session/create", 405, ""),
        ("PUT", "/v1/session/info/x", 405, ""),
        ("PUT", "/v1/session/destroy/" + "x" * 2000, 400, "session exceeds"),
    ],
)
async def test_what_is_missing_is_said(tmp_path: Path, method: str, target: str, status: int, text: str) -> None:
    async with server_parts(tmp_path) as parts, http_site(delegate=parts.delegate) as site:
        answer = await site.ask(method, target)
        assert (answer[0], answer[2].decode().startswith(text)) == (status, True)


async def test_keys_are_acquired_and_released(tmp_path: Path) -> None:
    async with site_with_node(tmp_path) as site:
        first, second = await created(site), await created(site, b'{"LockDelay":0}')
        for target, body, answer in (
            (f"acquire={first}", b"mine", b"true"),
            (f"acquire={second}", b"mine", b"false"),
            (f"acquire={first}", b"still mine", b"true"),
            (f"release={second}", b"", b"false"),
        ):
            assert (await site.ask("PUT", f"/v1/kv/lock?{target}", body))[::2] == (200, answer)
        (entry,) = await told(site, "/v1/kv/lock")
        assert (entry["Session"], entry["LockIndex"], entry["Value"]) == (first, 1, "c3RpbGwgbWluZQ==")
        assert (await site.ask("PUT", f"/v1/kv/lock?release={first}", b"free"))[2] == b"true"
        (entry,) = await told(site, "/v1/kv/lock")
        assert ("Session" in entry, entry["LockIndex"], entry["Value"]) == (False, 1, "ZnJlZQ==")
        assert (await site.ask("PUT", f"/v1/kv/lock?acquire={second}", b""))[2] == b"true"
        assert (await told(site, "/v1/kv/lock"))[0]["LockIndex"] == 2
        for query, text in ((f"acquire={NOBODY}", f'invalid session "{NOBODY}"'), ("acquire=", "missing session")):
            status, _, body = await site.ask("PUT", f"/v1/kv/lock?{query}", b"")
            assert (status, body.decode()) == (500, text)


async def test_a_lock_that_was_lost_is_nobodys_for_a_while(tmp_path: Path) -> None:
    async with site_with_node(tmp_path) as site:
        first, second = await created(site), await created(site)
        await site.ask("PUT", f"/v1/kv/lock?acquire={first}", b"")
        await site.ask("PUT", f"/v1/session/destroy/{first}")
        assert (await site.ask("PUT", f"/v1/kv/lock?acquire={second}", b""))[::2] == (200, b"false")
        body = json.dumps([{"KV": {"Verb": "lock", "Key": "lock", "Session": second}}]).encode()
        status, _, answer = await site.ask("PUT", "/v1/txn", body)
        assert (status, json.loads(answer)) == (
            409,
            {"Results": None, "Errors": [{"OpIndex": 0, "What": 'failed to lock key "lock" due to lock delay'}]},
        )


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b'"15s"', 15 * SECOND_NS),
        (b'"15000000000ns"', 15 * SECOND_NS),
        (b"15000000000", 15 * SECOND_NS),
        (b"5", 5 * SECOND_NS),
        (b'"5ns"', 5 * SECOND_NS),
        (b"1000", 1000),
        (b'"0s"', 0),
        (b"0", 0),
        (b"5.0", 5 * SECOND_NS),
        (b"null", 15 * SECOND_NS),
        (b'"2m"', 120 * SECOND_NS),
    ],
)
def test_the_forms_of_a_lock_delay(text: bytes, nanoseconds: int) -> None:
    assert parse_session(b'{"LOCKDELAY":%b}' % text, node_default="n").lock_delay_ns == nanoseconds


@pytest.mark.parametrize("text", [b"-1", b'"-5s"', b'"5"', b"[]", b"1e300", b'""'])
def test_what_is_no_lock_delay(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"session\.LockDelay"):
        parse_session(b'{"LockDelay":%b}' % text, node_default="n")


def test_checks_under_their_old_and_new_names() -> None:
    def checks(body: bytes) -> tuple[list[str], list[ServiceCheck]]:
        session = parse_session(body, node_default="n")
        return session.node_checks, session.service_checks

    assert checks(b"") == checks(b"{}") == checks(b" ") == ([SERF_CHECK_ID], [])
    assert checks(b'{"Checks":[]}') == checks(b'{"NodeChecks":[]}') == ([], [])
    assert checks(b'{"NodeChecks":["a"],"Checks":["b"]}') == (["b", "a"], [])
    assert checks(b'{"ServiceChecks":[{"ID":"s","Namespace":"x"}]}') == (
        [SERF_CHECK_ID],
        [ServiceCheck(check_id="s", namespace="x")],
    )


def test_a_behaviour_that_there_is_not() -> None:
    with pytest.raises(Refused, match=r"^Invalid Behavior setting 'x'$"):
        parse_session(b'{"behavior":"x"}', node_default="n")


async def test_the_page_is_told_what_sessions_hold(tmp_path: Path) -> None:
    async with site_with_node(tmp_path) as site:
        holder, idle = await created(site, b'{"Name":"holder"}'), await created(site)
        for key in ("b", "a"):
            assert (await site.ask("PUT", f"/v1/kv/{key}?acquire={holder}", b"v"))[2] == b"true"
        found = {each["ID"]: each for each in await told(site, "/v1/internal/ui/sessions")}
        assert set(found) == {holder, idle}
        assert (found[holder]["Name"], found[holder]["Keys"], found[holder]["KeysCount"]) == ("holder", ["a", "b"], 2)
        assert (found[idle]["Node"], found[idle]["Keys"], found[idle]["KeysCount"]) == (NODE, [], 0)
