"""Keys of a whole cluster: what each member does, and how the answers are counted. Source: wire format, section 8.5."""

import base64

import pytest

from gossip.instructions import Address, Finished, KeyringResult, KeyringWanted, QueryResult, WriteKeyring
from gossip.key_queries import summary
from gossip.keyring import KEYS_MAX
from gossip.serf_messages import KeyRequest, KeyResponse, Query, QueryResponse, decode, encode
from tests.fakes.lower_layer import UpperWorld

OLD, NEW, THIRD = b"o" * 16, b"n" * 32, b"t" * 24


def told(world: UpperWorld, verb: str, payload: bytes) -> KeyResponse:
    """Have member "a" ask for a key operation; return our answer."""
    world.hear(
        Query(
            lamport_time=world.serf.statistics()["query_time"],
            query_id=7,
            host="127.0.0.2",
            port=8301,
            timeout_ns=int(3e9),
            name=f"_serf_{verb}",
            payload=payload,
        )
    )
    ((to, response),) = world.sent()
    assert to == Address("127.0.0.2", 8301)
    assert isinstance(response, QueryResponse)
    answer = decode(response.payload)
    assert isinstance(answer, KeyResponse)
    return answer


def key(value: bytes) -> bytes:
    return encode(KeyRequest(key=value))


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_a_rotation_as_a_member_sees_it() -> None:
    world = UpperWorld("a", keys=[OLD])
    assert told(world, "install-key", key(NEW)) == KeyResponse(result=True)
    assert told(world, "install-key", key(NEW)) == KeyResponse(result=True)
    assert told(world, "use-key", key(NEW)) == KeyResponse(result=True)
    assert told(world, "list-keys", key(b"")) == KeyResponse(result=True, keys=[text(NEW), text(OLD)])
    assert told(world, "remove-key", key(OLD)) == KeyResponse(result=True)
    assert told(world, "remove-key", key(OLD)) == KeyResponse(result=True)
    assert [write.keys for write in world.seen(WriteKeyring)] == [[OLD, NEW], [NEW, OLD], [NEW]]
    assert world.serf.keys() == [NEW]


@pytest.mark.parametrize(
    ("keys", "verb", "payload", "message"),
    [
        ([], "install-key", key(NEW), "No keyring to modify (encryption not enabled)"),
        ([], "use-key", key(NEW), "No keyring to modify (encryption not enabled)"),
        ([], "remove-key", key(NEW), "No keyring to modify (encryption not enabled)"),
        ([], "list-keys", key(b""), "Keyring is empty (encryption not enabled)"),
        ([OLD], "install-key", key(b"short"), "key size must be 16, 24 or 32 bytes"),
        ([OLD], "use-key", key(NEW), "Requested key is not in the keyring"),
        ([OLD], "remove-key", key(OLD), "Removing the primary key is not allowed"),
        ([OLD], "install-key", b"", "serf message type missing"),
        ([OLD], "install-key", b"\x07\x81\xa3Key\x05", "bytes expected"),
        ([OLD], "use-key", encode(KeyResponse()), "not a key request"),
    ],
)
def test_what_cannot_be_done_is_said(keys: list[bytes], verb: str, payload: bytes, message: str) -> None:
    world = UpperWorld("a", keys=keys)
    assert told(world, verb, payload) == KeyResponse(result=False, message=message)
    assert not world.seen(WriteKeyring)


def test_a_list_too_long_for_an_answer_is_cut_and_says_so() -> None:
    world = UpperWorld("a", keys=[bytes([number]) * 32 for number in range(KEYS_MAX)])
    answer = told(world, "list-keys", key(b""))
    assert answer.result
    assert 5 < len(answer.keys) < KEYS_MAX
    assert answer.message == f"truncated key list response, showing first {len(answer.keys)} of {KEYS_MAX} keys"


def ask(world: UpperWorld, verb: str, value: bytes = b"", relay_factor: int = 0) -> Query | None:
    """Ask everybody; return the query as it is passed on."""
    world.serf.change_keys(
        KeyringWanted(at_s=world.now_s, operation=1, verb=verb, key=value, relay_factor=relay_factor)
    )
    queries = [message for message in world.passed_on() if isinstance(message, Query)]
    return queries[0] if queries else None


def respond(world: UpperWorld, to: Query, sender: str, response: KeyResponse) -> None:
    world.hear(
        QueryResponse(lamport_time=to.lamport_time, query_id=to.query_id, sender=sender, payload=encode(response))
    )


def test_the_asker_does_it_first_and_ends_when_all_have_answered() -> None:
    world = UpperWorld("a", "b", keys=[OLD])
    asked = ask(world, "install", NEW, relay_factor=2)
    assert asked is not None
    assert (asked.name, asked.payload, asked.relay_factor) == ("_serf_install-key", key(NEW), 2)
    assert world.serf.keys() == [OLD, NEW]
    respond(world, asked, "a", KeyResponse(result=True))
    assert not world.seen(Finished)
    respond(world, asked, "b", KeyResponse(result=True))
    (finished,) = world.seen(Finished)
    assert finished.result == KeyringResult(
        nodes_count=3, answers_count=3, errors_count=0, messages={}, keys={}, primary_keys={}, error=""
    )


def test_who_does_not_answer_is_missed() -> None:
    world = UpperWorld("a", "b", keys=[OLD])
    asked = ask(world, "list")
    assert asked is not None
    respond(world, asked, "a", KeyResponse(result=True, keys=[text(OLD), text(NEW)]))
    world.later(10)
    (finished,) = world.seen(Finished)
    assert finished.result.error == "2/3 nodes reported success"
    assert finished.result.keys == {text(OLD): 2, text(NEW): 1}


def test_who_could_not_do_it_is_named() -> None:
    world = UpperWorld("a", keys=[OLD, NEW])
    asked = ask(world, "remove", NEW)
    assert asked is not None
    respond(world, asked, "a", KeyResponse(message="Removing the primary key is not allowed"))
    (finished,) = world.seen(Finished)
    assert finished.result.error == "1/2 nodes reported failure"
    assert finished.result.messages == {"a": "Removing the primary key is not allowed"}


def test_answers_that_are_none_count_as_failures() -> None:
    result = summary(QueryResult(acks=[], answers={"a": b"", "b": key(OLD), "c": b"\x08\xc1"}), 3)
    assert (result.errors_count, result.error) == (3, "3/3 nodes reported failure")
    assert set(result.messages) == {"a", "b", "c"}


def test_an_unknown_operation_is_refused() -> None:
    world = UpperWorld("a", keys=[OLD])
    assert ask(world, "steal") is None
    assert world.seen(Finished)[0].result.error == "unknown operation 'steal'"
