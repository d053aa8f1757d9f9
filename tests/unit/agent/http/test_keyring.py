"""/v1/operator/keyring: what the server is asked, who may not ask, and pools that could not do it."""

from msgspec.structs import replace

from structs.keyring import KeyringOperation, KeyringRequest
from tests.fakes.cluster_calls import KEY
from tests.fakes.http_server import http_site

BODY = f'{{"Key":"{KEY}"}}'.encode()


async def test_the_verb_says_what_is_done_with_the_key() -> None:
    async with http_site() as site:
        for verb, operation in (
            ("POST", KeyringOperation.INSTALL),
            ("PUT", KeyringOperation.USE),
            ("DELETE", KeyringOperation.REMOVE),
        ):
            assert (await site.ask(verb, "/v1/operator/keyring?relay-factor=3", BODY))[0] == 200
            asked = site.delegate.calls[-1]
            assert asked == ("Internal.KeyringOperation", KeyringRequest(operation=operation, key=KEY, relay_factor=3))
        assert (await site.ask("GET", "/v1/operator/keyring"))[0] == 200
        assert site.delegate.calls[-1][1] == KeyringRequest(operation=KeyringOperation.LIST)


async def test_a_client_agent_refuses_by_itself() -> None:
    async with http_site() as site:
        site.agent.is_server = False
        for verb in ("GET", "POST", "PUT", "DELETE"):
            status, headers, body = await site.ask(verb, "/v1/operator/keyring", BODY)
            assert (status, body) == (500, b"keyring operations must run against a server node")
            assert headers.get("x-mesh-outcome", "refused") == "refused"
        assert site.delegate.calls == []


async def test_a_pool_that_could_not_do_it_makes_an_error_of_unknown_outcome() -> None:
    async with http_site() as site:
        wan, lan = site.delegate.key_answers
        failed = replace(lan, error="1/2 nodes reported failure", messages={"n2": "no such key", "n1": "a <b>"})
        site.delegate.key_answers = [wan, failed]
        expected = "3 errors occurred:\n\n* dc1 (LAN) error: 1/2 nodes reported failure\n* n1: a <b>\n* n2: no such key"
        status, headers, body = await site.ask("PUT", "/v1/operator/keyring", BODY)
        assert (status, headers["x-mesh-outcome"], body.decode()) == (500, "unknown", expected)
        status, headers, body = await site.ask("GET", "/v1/operator/keyring")
        assert (status, body.decode()) == (500, expected)
        assert "x-mesh-outcome" not in headers
        site.delegate.key_answers = [replace(wan, error="timeout")]
        assert (await site.ask("GET", "/v1/operator/keyring"))[2] == b"1 error occurred:\n\n* WAN error: timeout"


async def test_messages_that_are_no_errors_are_shown() -> None:
    async with http_site() as site:
        wan, _ = site.delegate.key_answers
        site.delegate.key_answers = [replace(wan, messages={"n1": "late"})]
        assert b'"Segment":"","Messages":{"n1":"late"},"Keys"' in (await site.ask("GET", "/v1/operator/keyring"))[2]
