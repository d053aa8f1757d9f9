"""Requests and answers out of pieces, their bounds, and what error texts mean."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.codec import Mistyped, OldFeed, Truncated, pack_old
from base.errors import (
    Internal,
    InvalidRequest,
    MeshError,
    NoLeader,
    NotReady,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    Refused,
    TooLarge,
)
from rpc.foreign_messages import (
    REQUEST_BYTES_MAX,
    REQUEST_ITEMS_MAX,
    HeaderMalformed,
    encode_request,
    error_of_answer,
    error_of_text,
    request_of,
    request_reader,
    text_of_error,
)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 500), max_size=30))
def test_messages_survive_any_cut(cuts: list[int]) -> None:
    argument = {"Key": b"k" * 100, "List": [None, [], {}], "Number": 1 << 40}
    data = b"".join(encode_request(number, "A.B", argument) for number in range(1, 4))
    reader = request_reader()
    found = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        reader.feed(data[start:end])
        while (message := reader.next()) is not None:
            found.append(request_of(*message))
    assert [(request.seq, request.method, request.argument) for request in found] == [
        (number, "A.B", argument) for number in range(1, 4)
    ]
    assert reader.bytes_kept == 0


def test_a_large_value_in_small_pieces_costs_in_proportion_to_its_size() -> None:
    """Each piece is looked at once: the reader is not asked again for what it has seen."""
    reader = request_reader()
    data = encode_request(1, "KVS.Apply", {"Value": bytes(1 << 20)})
    for position in range(0, len(data), 100):
        reader.feed(data[position : position + 100])
        message = reader.next()
        assert (message is None) == (position + 100 < len(data))


@pytest.mark.parametrize(
    "argument",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdc" + (REQUEST_ITEMS_MAX + 1).to_bytes(2, "big"),
        b"\x91" * 5000,
        b"\x81\x90\x01",
        b"\xc1",
        b"\x94" + (b"\xdc\x20\x00" + b"\x90" * 8192) * 4,
    ],
    ids=["array", "map", "ext", "items", "deep", "key", "unknown", "containers"],
)
def test_hostile_arguments_are_refused_and_their_call_is_known(argument: bytes) -> None:
    reader = request_reader()
    reader.feed(pack_old({"Seq": 5, "ServiceMethod": "A.B"}) + argument)
    with pytest.raises(InvalidRequest):
        reader.next()
    assert request_of(reader.header, None).seq == 5


@pytest.mark.parametrize("begin", [b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdc\x20\x00"])
def test_an_endless_argument_is_refused_at_its_bound(begin: bytes) -> None:
    reader = request_reader()
    piece = b"\xda\xff\xfc" + bytes(0xFFFC)
    reader.feed(pack_old({"Seq": 5, "ServiceMethod": "A.B"}) + begin)

    def feed_on() -> None:
        for _ in range(REQUEST_BYTES_MAX // len(piece) + 2):
            reader.feed(piece)
            assert reader.next() is None

    with pytest.raises(TooLarge):
        feed_on()


@pytest.mark.parametrize(
    "data", [b"\xc1", b"\x01\x80", b"\xa1x\x80", b"\x93\x01\x02\x03\x80", b"G", b"\xdd\xff\xff\xff\xff"]
)
def test_what_begins_with_no_header_is_not_understood(data: bytes) -> None:
    reader = request_reader()
    reader.feed(data)
    with pytest.raises(HeaderMalformed):
        reader.next()


@pytest.mark.parametrize(
    "header",
    [{"Seq": -1}, {"Seq": 1 << 64}, {"Seq": b"1"}, {"ServiceMethod": 5}, {"ServiceMethod": b"x" * 1000}],
    ids=["negative", "wide", "text", "number", "long"],
)
def test_a_header_of_the_wrong_types_is_none(header: dict[str, object]) -> None:
    with pytest.raises(HeaderMalformed):
        request_of(header, None)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("No cluster leader", NoLeader),
        ("rpc error making call: No cluster leader", NoLeader),
        ("Not ready to serve consistent reads", NotReady),
        ("Permission denied", PermissionDenied),
        ("ACL not found", PermissionDenied),
        ("RPC rate limit exceeded", RateLimited),
        ("rpc: can't find method KVS.Nothing", Refused),
        ("rpc: can't find service X.Y", Refused),
        ("No path to datacenter", Refused),
        ("rpc error making call: EOF", OutcomeUnknown),
        ("leadership lost while committing log", OutcomeUnknown),
        ("raft apply failed: something new", Internal),
    ],
)
def test_error_texts_mean_what_they_say_and_no_more(text: str, kind: type[MeshError]) -> None:
    error = error_of_text(text)
    assert type(error) is kind
    assert str(error) == f"rpc error making call: {text}"


def test_an_answer_without_error_is_none_and_one_that_is_no_text_is_malformed() -> None:
    assert error_of_answer({"Error": b"", "Seq": 1}) is None
    assert error_of_answer({}) is None
    with pytest.raises(HeaderMalformed):
        error_of_answer({"Error": 5})


def test_foreign_callers_hear_the_words_they_look_for() -> None:
    assert text_of_error(NoLeader()) == "No cluster leader"
    assert text_of_error(Mistyped("Key: expected text")) == "codec.decoder: Key: expected text"
    assert text_of_error(RateLimited("too many blocking queries")).startswith("RPC rate limit exceeded: too many")
    assert text_of_error(Refused("")) == "Refused", "an empty text would mean success"


def test_a_reader_that_has_grown_lets_its_memory_go() -> None:
    feed = OldFeed(value_bytes_max=1 << 20, items_max=10, containers_max=10)
    feed.feed(pack_old(bytes(1 << 19)))
    assert len(feed.read()) == 1 << 19
    assert feed._unpacker is None
    with pytest.raises(Truncated):
        feed.read()
    feed.feed(b"\x05")
    assert feed.read() == 5
    assert feed.bytes_kept == 0
