"""Whatever arrives on the DNS port: an answer of bounded size or none, never an exception."""

import random
from typing import Any

import dns.message
from hypothesis import example, given
from hypothesis import strategies as st

from agent.dns.lookups import Found
from agent.dns.message import Question, looked, parse, question_end
from agent.dns.names import NodeName, QueryName, ServiceName, domain_of
from agent.dns.names import parse as parse_name
from agent.dns.remembered import key_of
from agent.dns.responder import Responder
from agent.dns.settings import DNSSettings
from structs.catalog import ListNodesReply, NodeServicesReply, ServiceNodesReply
from structs.prepared_query import ExecuteReply
from tests.fakes.discovery import instance

INSTANCES = [instance(f"n{number}", f"10.0.0.{number}", meta={"k": "v" * 300}) for number in range(1, 200)]


class StillLookups:
    """A catalog that answers without waiting."""

    async def service(self, asked: ServiceName) -> Found:
        return Found(ServiceNodesReply(instances=INSTANCES if asked.service == "web" else []), None)

    async def node(self, asked: NodeName) -> Found:
        return Found(NodeServicesReply(node=INSTANCES[0].node if asked.node == "n1" else None), None)

    async def nodes(self) -> Found:
        return Found(ListNodesReply(nodes=[one.node for one in INSTANCES]), None)

    async def query(self, asked: QueryName, source: str) -> Found:
        return Found(ExecuteReply(service="web", instances=INSTANCES, dns_ttl="x"), None)

    async def services_at(self, address: str) -> Found:
        return Found(ServiceNodesReply(instances=[]), None)


def respond(data: bytes, *, is_udp: bool) -> tuple[bytes | None, Responder]:
    """Drive the responder by hand: nothing in it waits here."""
    responder = Responder(
        DNSSettings(), StillLookups(), rng=random.Random(0), wall_unix_s=lambda: 0.0, monotonic_s=lambda: 0.0
    )
    responder.at_once(data, 0.0)
    running: Any = responder.respond(data, "192.0.2.1", is_udp=is_udp)
    try:
        running.send(None)
    except StopIteration as done:
        return done.value, responder
    raise AssertionError("it waits")


def check(data: bytes, *, is_udp: bool) -> None:
    answer, responder = respond(data, is_udp=is_udp)
    assert responder.defects_count == 0
    if answer is None:
        assert len(data) < 12 or data[2] & 0x80
        return
    assert answer[:2] == data[:2]
    assert answer[2] & 0x80
    assert len(answer) <= (4096 if is_udp else 65_535)
    dns.message.from_wire(answer)
    question_end(data)
    key_of(data)


NAMES = st.sampled_from(
    [
        "web.service.consul",
        "n1.node.consul",
        "consul",
        "1.0.0.10.in-addr.arpa",
        "x.query.consul",
        ".",
        "7f000001.addr.consul",
    ]
)
TYPES = st.sampled_from(["A", "AAAA", "SRV", "TXT", "ANY", "SOA", "NS", "PTR", "CNAME", "MX", "AXFR", "HTTPS"])


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    message = dns.message.make_query(draw(NAMES), draw(TYPES))
    if draw(st.booleans()):
        message.use_edns(0, payload=draw(st.integers(0, 65535)))
    return message.to_wire()


@given(data=st.binary(max_size=2000), is_udp=st.booleans())
@example(data=b"\0" * 12, is_udp=True)
def test_random_bytes_are_survived(data: bytes, is_udp: bool) -> None:
    check(data, is_udp=is_udp)


@given(rest=st.binary(max_size=300), counts=st.tuples(*[st.integers(0, 3)] * 4), is_udp=st.booleans())
def test_random_bytes_after_a_good_header_are_survived(rest: bytes, counts: tuple[int, ...], is_udp: bool) -> None:
    check(b"\1\2\1\0" + b"".join(count.to_bytes(2, "big") for count in counts) + rest, is_udp=is_udp)


@given(data=queries(), at=st.integers(0, 80), with_what=st.binary(max_size=4), is_udp=st.booleans())
def test_good_queries_with_something_changed_are_survived(data: bytes, at: int, with_what: bytes, is_udp: bool) -> None:
    check(data[:at] + with_what + data[at + len(with_what) :], is_udp=is_udp)


@given(data=queries(), cut=st.integers(0, 80), is_udp=st.booleans())
def test_good_queries_that_are_cut_are_survived(data: bytes, cut: int, is_udp: bool) -> None:
    check(data[:cut], is_udp=is_udp)


@given(pointers=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_names_that_point_anywhere_are_survived(pointers: list[int]) -> None:
    name = b"".join(b"\xc0" + bytes([at]) for at in pointers)
    check(b"\1\2\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1", is_udp=True)


@given(data=queries())
def test_good_queries_are_understood(data: bytes) -> None:
    assert isinstance(parse(data), Question)
    answer, _ = respond(data, is_udp=True)
    assert answer is not None
    assert answer[12 : question_end(data)] == data[12 : question_end(data)]


@given(text=st.text(max_size=300), is_srv=st.booleans())
def test_any_text_is_some_name(text: str, is_srv: bool) -> None:
    parse_name(text, domain_of(text, ("consul",)), is_srv=is_srv)
    parse_name(text + ".consul", "consul", is_srv=is_srv)


@given(data=st.binary(max_size=600))
def test_recursors_may_say_anything(data: bytes) -> None:
    looked(data)
