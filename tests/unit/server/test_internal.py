"""Internal.EventFire and Internal.KeyringOperation: what reaches gossip, and keys in all pools of all datacenters."""

import base64
from pathlib import Path
from typing import Any

import pytest

from base import codec
from base.errors import InvalidRequest, Unreachable
from gossip.instructions import KeyringResult
from rpc.caller import Caller
from structs.event import EventFireRequest
from structs.keyring import KeyringAnswer, KeyringOperation, KeyringReply, KeyringRequest
from structs.query import FROM_ELSEWHERE_MARK
from tests.fakes.gossip import FakeGossip, FakeNetwork
from tests.fakes.members import server
from tests.fakes.server_parts import ServerParts, server_parts

KEY = base64.b64encode(b"k" * 16).decode()
METHOD = "Internal.KeyringOperation"
FAR = server("s1.dc2", dc="dc2", address="10.2.0.1")


def install(**changes: Any) -> KeyringRequest:
    return KeyringRequest(**{"operation": KeyringOperation.INSTALL, "key": KEY} | changes)


def with_wan(parts: ServerParts) -> FakeGossip:
    wan = FakeGossip(server("s1.dc1"), FakeNetwork())
    wan.network.show(FAR)
    parts.services.wan = wan
    parts.router.update(wan.members())
    return wan


async def test_an_event_is_handed_to_gossip_under_its_prefix(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await parts.ask("Internal.EventFire", EventFireRequest(name="deploy", payload=b"packed"))
        assert parts.gossip.fired == [("consul:event:deploy", b"packed")]
        with pytest.raises(InvalidRequest, match="user event exceeds limit"):
            await parts.ask("Internal.EventFire", EventFireRequest(name="deploy", payload=bytes(600)))


async def test_keys_are_changed_in_the_wan_in_our_lan_and_in_every_other_datacenter(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        wan = with_wan(parts)
        asked: list[KeyringRequest] = []

        def there(method: str, body: bytes, caller: Caller) -> bytes:
            assert method == FROM_ELSEWHERE_MARK + METHOD
            asked.append(codec.decode(KeyringRequest, body))
            return codec.encode(KeyringReply(answers=[KeyringAnswer(wan=False, datacenter="dc2", nodes_count=7)]))

        parts.pool.handlers[FAR.rpc_address] = there
        reply = await parts.ask(METHOD, install(relay_factor=2))
        assert [(each.wan, each.datacenter, each.nodes_count) for each in reply.answers] == [
            (True, "dc1", 2),
            (False, "dc1", 1),
            (False, "dc2", 7),
        ]
        assert wan.network.keys == parts.gossip.network.keys == [b"k" * 16]
        (request,) = asked
        assert request.forwarded
        assert request.options.datacenter == "dc2"
        assert (request.operation, request.key, request.relay_factor) == (KeyringOperation.INSTALL, KEY, 2)


async def test_what_another_datacenter_has_passed_on_stays_in_our_lan(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        wan = with_wan(parts)
        reply = await parts.ask(METHOD, install(forwarded=True))
        assert [(each.wan, each.datacenter) for each in reply.answers] == [(False, "dc1")]
        assert wan.network.keys == []
        assert parts.pool.calls == []


async def test_a_datacenter_that_cannot_be_reached_is_an_answer_with_an_error(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        with_wan(parts)
        reply = await parts.ask(METHOD, KeyringRequest(operation=KeyringOperation.LIST))
        assert [(each.datacenter, bool(each.error)) for each in reply.answers] == [
            ("dc1", False),
            ("dc1", False),
            ("dc2", True),
        ]
        assert "connection refused" in reply.answers[2].error


async def test_a_pool_that_has_ended_is_an_answer_with_an_error(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:

        async def ended(verb: str, key: bytes = b"", *, relay_factor: int = 0) -> KeyringResult:
            raise Unreachable("gossip has ended")

        parts.gossip.change_keys = ended  # type: ignore[method-assign]
        reply = await parts.ask(METHOD, KeyringRequest(operation=KeyringOperation.LIST))
        assert [each.error for each in reply.answers] == ["gossip has ended"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (install(key="no base64"), "a key of gossip must be base64"),
        (install(key=""), "key size must be 16, 24 or 32 bytes"),
        (install(key="AAAA"), "key size must be 16, 24 or 32 bytes"),
        (install(relay_factor=6), "relay factor 6 is not from 0 to 5"),
        (install(relay_factor=-1), "relay factor -1 is not from 0 to 5"),
    ],
)
async def test_nonsense_reaches_no_pool(tmp_path: Path, request_: KeyringRequest, text: str) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(InvalidRequest, match=text):
            await parts.ask(METHOD, request_)
        assert parts.gossip.network.keys == []
