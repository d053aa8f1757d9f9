"""Questions to everybody: who is meant, who answers where, and what strangers may not do with them.

Source: wire format, section 8.4.
"""

import pytest

from gossip.config import QUERY_BYTES_MAX
from gossip.instructions import Address, Finished, QueryAnswered, QueryArrived, QueryResult, QueryWanted
from gossip.query_answering import PENDING_COUNT_MAX, SLOT_QUERIES_MAX
from gossip.query_asking import ASKED_COUNT_MAX, TIMEOUT_S_MAX
from gossip.serf_messages import (
    NamesFilter,
    Query,
    QueryFlag,
    QueryResponse,
    Relay,
    ResponseFlag,
    TagFilter,
    encode,
    encode_filter,
)
from tests.fakes.lower_layer import UpperWorld

A = Address("127.0.0.2", 8301)
B = Address("127.0.0.3", 8301)


def query(**fields: object) -> Query:
    """A query of member "a"."""
    defaults: dict[str, object] = {
        "lamport_time": 5,
        "query_id": 7,
        "host": A.host,
        "port": A.port,
        "timeout_ns": int(3e9),
        "name": "uptime",
        "payload": b"?",
    }
    return Query(**{**defaults, **fields})  # type: ignore[arg-type]


def ask(world: UpperWorld, **fields: object) -> Query | None:
    """Ask; return the query as it is passed on, None if it is not."""
    wanted: dict[str, object] = {"operation": 1, "name": "uptime", "payload": b"?", **fields}
    world.serf.ask(QueryWanted(at_s=world.now_s, **wanted))  # type: ignore[arg-type]
    queries = [message for message in world.passed_on() if isinstance(message, Query)]
    return queries[0] if queries else None


def respond(world: UpperWorld, to: Query, sender: str, payload: bytes = b"", flags: int = 0) -> None:
    world.hear(
        QueryResponse(lamport_time=to.lamport_time, query_id=to.query_id, sender=sender, flags=flags, payload=payload)
    )


# Asking


def test_it_is_over_as_soon_as_all_have_answered() -> None:
    world = UpperWorld("a", "b")
    asked = ask(world)
    assert asked is not None
    (arrived,) = world.seen(QueryArrived)
    world.serf.answer(QueryAnswered(at_s=world.now_s, query_id=arrived.query_id, payload=b"mine"))
    respond(world, asked, "a", b"1")
    respond(world, asked, "a", b"again")
    respond(world, asked, "nobody", b"stranger")
    assert not world.seen(Finished)
    respond(world, asked, "b", b"2")
    result = QueryResult(acks=[], answers={"me": b"mine", "a": b"1", "b": b"2"})
    assert world.seen(Finished) == [Finished(operation=1, result=result)]
    respond(world, asked, "b", b"late")
    world.later(30)
    assert len(world.seen(Finished)) == 1


def test_it_is_over_when_its_time_is() -> None:
    world = UpperWorld("a", "b")
    asked = ask(world, wants_acks=True)
    assert asked is not None
    assert asked.timeout_ns == int(3.2e9), "16 gossip rounds for each factor of ten"
    respond(world, asked, "a", flags=ResponseFlag.ACK)
    respond(world, asked, "a", flags=ResponseFlag.ACK)
    world.later(3.1)
    assert not world.seen(Finished)
    world.later(0.2)
    assert world.seen(Finished) == [Finished(operation=1, result=QueryResult(acks=["me", "a"], answers={}))]


def test_who_is_silent_is_asked_straight_in_half_the_time() -> None:
    world = UpperWorld("a", "b", "c")
    asked = ask(world, wants_acks=True)
    assert asked is not None
    respond(world, asked, "a", b"1")
    respond(world, asked, "b", flags=ResponseFlag.ACK)
    assert world.sent() == []
    world.later(1.7)
    assert world.sent() == [(Address("127.0.0.4", 8301), asked)]
    world.later(10)
    assert world.sent() == [], "once"


def test_acknowledgements_are_waited_for_where_they_are_wanted() -> None:
    world = UpperWorld("a")
    asked = ask(world, wants_acks=True, names=["a"])
    assert asked is not None
    respond(world, asked, "a", b"1")
    assert not world.seen(Finished)
    respond(world, asked, "a", flags=ResponseFlag.ACK)
    assert world.seen(Finished) == [Finished(operation=1, result=QueryResult(acks=["a"], answers={"a": b"1"}))]


def test_nobody_waits_for_the_dead() -> None:
    world = UpperWorld("a", "b")
    asked = ask(world, names=["a", "b"])
    assert asked is not None
    respond(world, asked, "a", b"1")
    world.die("b")
    assert world.seen(Finished) == [Finished(operation=1, result=QueryResult(acks=[], answers={"a": b"1"}))]


def test_only_who_is_meant_is_waited_for() -> None:
    world = UpperWorld()
    world.join("a", {"role": "web-1"})
    world.join("b", {"role": "db"})
    asked = ask(world, tags={"role": "^web"})
    assert asked is not None
    assert asked.filters == [encode_filter(TagFilter(tag="role", expression="^web"))]
    assert not world.seen(QueryArrived), "we are not meant either"
    respond(world, asked, "a", b"1")
    assert len(world.seen(Finished)) == 1


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"payload": b"x" * 1024}, "query exceeds limit of 1024 bytes"),
        ({"tags": {"role": "("}}, "error parsing regexp: missing closing ): `(`"),
        ({"tags": {f"t{number}": "x" for number in range(17)}}, "more than 16 filters in a query"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(fields: dict[str, object], complaint: str) -> None:
    world = UpperWorld("a")
    assert ask(world, **fields) is None
    assert world.seen(Finished) == [Finished(operation=1, result=complaint)]


def test_questions_under_way_are_bounded() -> None:
    world = UpperWorld("a")
    for _ in range(ASKED_COUNT_MAX):
        ask(world)
    assert not world.seen(Finished)
    ask(world)
    assert world.seen(Finished) == [Finished(operation=1, result="more than 256 queries are under way")]


def test_nobody_asks_for_ever() -> None:
    world = UpperWorld("a")
    asked = ask(world, timeout_s=1e9)
    assert asked is not None
    assert asked.timeout_ns == TIMEOUT_S_MAX * 1e9


# Answering


def test_a_query_is_passed_on_and_answered_straight() -> None:
    world = UpperWorld("a")
    world.hear(query())
    assert world.passed_on() == [query()]
    (arrived,) = world.seen(QueryArrived)
    assert (arrived.name, arrived.payload, arrived.deadline_s) == ("uptime", b"?", world.now_s + 3)
    assert world.sent() == []
    world.serf.answer(QueryAnswered(at_s=world.now_s + 1, query_id=arrived.query_id, payload=b"5 days"))
    world.serf.answer(QueryAnswered(at_s=world.now_s + 1, query_id=arrived.query_id, payload=b"twice"))
    response = QueryResponse(lamport_time=5, query_id=7, sender="me", payload=b"5 days")
    assert world.sent() == [(A, response)]


def test_an_acknowledgement_does_not_wait_for_the_answer() -> None:
    world = UpperWorld("a")
    world.hear(query(flags=QueryFlag.ACK))
    assert world.sent() == [(A, QueryResponse(lamport_time=5, query_id=7, sender="me", flags=ResponseFlag.ACK))]


def test_a_query_is_heard_once() -> None:
    world = UpperWorld("a")
    world.hear(query())
    world.hear(query())
    world.hear(query(query_id=8))
    assert len(world.seen(QueryArrived)) == 2
    assert len(world.passed_on()) == 2


def test_a_query_that_must_not_travel_is_answered_only() -> None:
    world = UpperWorld("a")
    world.hear(query(flags=QueryFlag.NO_BROADCAST))
    assert len(world.seen(QueryArrived)) == 1
    assert world.passed_on() == []


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ([NamesFilter(names=["a", "me"])], True),
        ([NamesFilter(names=["a"])], False),
        ([TagFilter(tag="role", expression="eb")], True),
        ([TagFilter(tag="role", expression="^eb")], False),
        ([TagFilter(tag="role", expression="web"), NamesFilter(names=["a"])], False),
        ([TagFilter(tag="none", expression="")], True),
        ([TagFilter(tag="role", expression="(a*)*(")], False),
        ([TagFilter(tag="role", expression="web")] * 17, False),
        ([TagFilter(tag="role", expression="x" * 600)], False),
    ],
)
def test_a_query_for_others_is_passed_on_all_the_same(filters: list[NamesFilter | TagFilter], meant: bool) -> None:
    world = UpperWorld("a", tags={"role": "web"})
    world.hear(query(filters=[encode_filter(each) for each in filters]))
    assert bool(world.seen(QueryArrived)) is meant
    assert len(world.passed_on()) == 1


def test_filters_that_are_none_mean_nobody() -> None:
    world = UpperWorld("a")
    for number, data in enumerate((b"", b"\x00", b"\x00\xc1", b"\x01\x90", b"\x07\x80")):
        world.hear(query(query_id=number, filters=[data]))
    assert not world.seen(QueryArrived)


def test_the_ping_is_nothing_but_its_acknowledgement() -> None:
    world = UpperWorld("a")
    world.hear(query(name="_serf_ping", flags=QueryFlag.ACK))
    world.hear(query(name="_serf_unheard-of", query_id=8))
    assert not world.seen(QueryArrived)
    assert len(world.sent()) == 1


def test_an_answer_too_large_or_too_late_is_not_sent() -> None:
    world = UpperWorld("a")
    world.hear(query())
    world.hear(query(query_id=8))
    first, second = world.seen(QueryArrived)
    world.serf.answer(QueryAnswered(at_s=world.now_s, query_id=first.query_id, payload=b"x" * 1000))
    world.serf.answer(QueryAnswered(at_s=world.now_s + 4, query_id=second.query_id, payload=b"x"))
    world.serf.answer(QueryAnswered(at_s=world.now_s, query_id=99, payload=b"x"))
    assert world.sent() == []


def test_storms_of_queries_are_bounded() -> None:
    world = UpperWorld("a")
    for number in range(SLOT_QUERIES_MAX + 50):
        world.hear(query(query_id=number))
    assert len(world.seen(QueryArrived)) == SLOT_QUERIES_MAX
    for number in range(PENDING_COUNT_MAX):
        world.hear(query(lamport_time=6 + number % 400, query_id=number))
    oldest = world.seen(QueryArrived)[0]
    world.serf.answer(QueryAnswered(at_s=world.now_s, query_id=oldest.query_id, payload=b"x"))
    assert world.sent() == [], "given up"


def test_an_oversized_query_goes_nowhere() -> None:
    world = UpperWorld("a")
    world.hear(query(payload=b"x" * QUERY_BYTES_MAX))
    assert not world.seen(QueryArrived)
    assert world.passed_on() == []


def test_a_restart_does_not_answer_old_queries() -> None:
    world = UpperWorld("a")
    world.serf.restore("query-clock: 40\n")
    world.hear(query(lamport_time=40))
    world.hear(query(lamport_time=41))
    assert len(world.seen(QueryArrived)) == 1


# Strangers


def test_nothing_is_sent_to_an_address_that_is_no_members() -> None:
    world = UpperWorld("a")
    world.hear(query(host="10.9.9.9", flags=QueryFlag.ACK))
    world.hear(query(port=53, query_id=8, flags=QueryFlag.ACK))
    world.hear(query(host="", query_id=9, flags=QueryFlag.ACK))
    assert world.sent() == []
    assert not world.seen(QueryArrived)
    assert len(world.passed_on()) == 3, "others may know the address already"


def test_a_dead_members_address_is_nobodys() -> None:
    world = UpperWorld("a")
    world.die("a")
    world.hear(query(flags=QueryFlag.ACK))
    assert world.sent() == []


def test_a_response_is_relayed_to_a_living_member_and_nobody_else() -> None:
    world = UpperWorld("a", "b")
    response = QueryResponse(lamport_time=5, query_id=7, sender="b", payload=b"x")
    world.hear(Relay(host=A.host, port=A.port, message=encode(response)), source=3)
    assert world.sent() == [(A, response)]
    for relay in (
        Relay(host="10.9.9.9", port=8301, message=encode(response)),
        Relay(host=A.host, port=53, message=encode(response)),
        Relay(host=A.host, port=A.port, message=encode(query())),
        Relay(host=A.host, port=A.port, message=b""),
        Relay(host=A.host, port=A.port, message=encode(Relay(host=A.host, port=A.port, message=encode(response)))),
        Relay(host=A.host, port=A.port, message=encode(QueryResponse(payload=b"x" * QUERY_BYTES_MAX))),
    ):
        world.hear(relay, source=3)
    assert world.sent() == []


def test_answers_take_other_ways_too_where_that_is_wanted() -> None:
    world = UpperWorld("a", "b", "c", "d")
    world.hear(query(relay_factor=2, flags=QueryFlag.ACK))
    straight, *relays = world.sent()
    ack = QueryResponse(lamport_time=5, query_id=7, sender="me", flags=ResponseFlag.ACK)
    assert straight == (A, ack)
    assert [message for _, message in relays] == [Relay(host=A.host, port=A.port, message=encode(ack))] * 2
    assert len({to for to, _ in relays}) == 2


def test_nobody_is_made_an_amplifier() -> None:
    world = UpperWorld(*(f"m{number}" for number in range(30)))
    world.hear(query(relay_factor=255, flags=QueryFlag.ACK))
    assert len(world.sent()) == 1 + 5


def test_a_cluster_too_small_for_relays_has_none() -> None:
    world = UpperWorld("a", "b")
    world.hear(query(relay_factor=3, flags=QueryFlag.ACK))
    assert len(world.sent()) == 1


def test_a_forged_time_does_not_deafen_us() -> None:
    world = UpperWorld("a")
    world.hear(query())
    world.hear(query(lamport_time=(1 << 63) - 1))
    world.hear(query(lamport_time=6))
    assert len(world.seen(QueryArrived)) == 2
