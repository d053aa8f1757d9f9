"""Two members, one name: who is asked, who must go. Source: wire format, section 8.6."""

import pytest

from gossip.instructions import Address, Log, Stop
from gossip.serf_messages import ConflictResponse, Query, QueryResponse, decode, encode
from tests.fakes.lower_layer import UpperWorld, node_of

OURS = ConflictResponse(name="me", host="127.0.0.1", port=8301)
THEIRS = ConflictResponse(name="me", host="127.0.0.9", port=8301)


def conflict(world: UpperWorld, name: str = "me") -> list[Query]:
    """Have somebody else claim a name; return what is asked."""
    world.serf.conflicted(world.now_s, world.lower.nodes[name], node_of(name, 9))
    return [message for message in world.passed_on() if isinstance(message, Query)]


def answer(world: UpperWorld, to: Query, sender: str, payload: bytes) -> None:
    world.hear(QueryResponse(lamport_time=to.lamport_time, query_id=to.query_id, sender=sender, payload=payload))


@pytest.mark.parametrize(
    ("answers", "stays"),
    [
        ([encode(OURS), encode(OURS), encode(THEIRS)], True),
        ([encode(OURS), encode(THEIRS), encode(THEIRS)], False),
        ([encode(OURS), encode(THEIRS), b"garbage"], False),
        ([encode(OURS), b"", encode(QueryResponse())], True),
        ([encode(OURS), encode(OURS), encode(ConflictResponse(known=False))], True),
        ([], False),
    ],
    ids=["majority", "minority", "tie", "garbage does not count", "unknown counts against", "nobody answers"],
)
def test_a_client_asks_and_obeys(answers: list[bytes], stays: bool) -> None:
    world = UpperWorld("a", "b", "c")
    (asked,) = conflict(world)
    assert (asked.name, asked.payload) == ("_serf_conflict", b"me")
    for sender, payload in zip("abc", answers, strict=False):
        answer(world, asked, sender, payload)
    world.later(30)
    assert bool(world.seen(Stop)) is not stays


def test_silence_is_asked_again_before_it_counts() -> None:
    world = UpperWorld("a")
    assert conflict(world)
    world.later(4)
    asked = [message for message in world.passed_on() if isinstance(message, Query)]
    answer(world, max(asked, key=lambda query: query.lamport_time), "a", encode(OURS))
    world.later(30)
    assert not world.seen(Stop)
    assert len([log for log in world.seen(Log) if "asking again" in log.text]) == 1


def test_it_is_over_as_soon_as_all_others_have_answered() -> None:
    world = UpperWorld("a")
    (asked,) = conflict(world)
    answer(world, asked, "a", encode(THEIRS))
    (stop,) = world.seen(Stop)
    assert stop.text == "another member has the name 'me', and the others side with it"


def test_a_server_only_writes_it_down() -> None:
    world = UpperWorld("a", resolves_conflicts=False)
    assert conflict(world) == []
    assert [log.level for log in world.seen(Log)] == ["error"]


def test_a_conflict_of_others_is_only_written_down() -> None:
    world = UpperWorld("a")
    assert conflict(world, "a") == []
    assert [log.level for log in world.seen(Log)] == ["warn"]


def test_a_stream_of_conflicts_is_one_question_and_few_lines() -> None:
    world = UpperWorld("a", "b")
    asked = [query for _ in range(100) for query in conflict(world)]
    assert len(asked) >= 1
    assert len({query.query_id for query in asked}) == 1
    assert len([log for log in world.seen(Log) if log.level == "error"]) == 1


def test_a_lone_member_cannot_be_talked_out_of_its_name() -> None:
    world = UpperWorld("a")
    world.die("a")
    assert conflict(world) == []
    world.later(30)
    assert not world.seen(Stop)


def asked_about(world: UpperWorld, name: str) -> list[tuple[Address, ConflictResponse]]:
    world.hear(
        Query(
            lamport_time=5,
            query_id=7,
            host="127.0.0.2",
            port=8301,
            timeout_ns=int(3e9),
            name="_serf_conflict",
            payload=name.encode(),
        )
    )
    answers = []
    for to, response in world.sent():
        assert isinstance(response, QueryResponse)
        decoded = decode(response.payload)
        assert isinstance(decoded, ConflictResponse)
        answers.append((to, decoded))
    return answers


def test_we_tell_whose_name_it_is_as_we_know_it() -> None:
    world = UpperWorld("a")
    world.join("b", {"role": "node"})
    ((to, response),) = asked_about(world, "b")
    assert to == Address("127.0.0.2", 8301)
    assert (response.name, response.host, response.port) == ("b", "127.0.0.3", 8301)
    assert (response.tags, response.status) == ({"role": "node"}, 1)
    assert (response.protocol_min, response.protocol_max, response.protocol_current) == (1, 5, 2)
    assert (response.delegate_min, response.delegate_max, response.delegate_current) == (2, 5, 4)


def test_we_say_that_we_do_not_know() -> None:
    ((_, response),) = asked_about(UpperWorld("a"), "nobody")
    assert not response.known


def test_we_do_not_judge_our_own_cause() -> None:
    assert asked_about(UpperWorld("a"), "me") == []
