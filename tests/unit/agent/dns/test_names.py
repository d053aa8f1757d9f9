"""What a question name asks for: the table of the specification."""

from ipaddress import ip_address

import pytest

from agent.dns.names import (
    AddressName,
    Apex,
    Asked,
    Elsewhere,
    NodeName,
    NoSuchName,
    QueryName,
    ReverseName,
    ServiceName,
    address_label,
    domain_of,
    is_name,
    parse,
)

DOMAINS = ("consul", "alt.example")
NIBBLES = "1." + "0." * 23 + "8.b.d.0.1.0.0.2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n1.node.consul", NodeName("n1", "")),
        ("n1.node.dc2.consul", NodeName("n1", "dc2")),
        ("a.b.node.consul", NodeName("a.b", "")),
        ("node.consul", NoSuchName()),
        ("web.service.consul", ServiceName("web", "", "")),
        ("web.service.dc2.consul", ServiceName("web", "", "dc2")),
        ("v1.web.service.consul", ServiceName("web", "v1", "")),
        ("v1.2.3.web.service.dc2.consul", ServiceName("web", "v1.2.3", "dc2")),
        ("service.consul", NoSuchName()),
        ("_web._tcp.service.consul", ServiceName("web", "", "")),
        ("_web._v1.service.dc2.consul", ServiceName("web", "v1", "dc2")),
        ("_._tcp.service.consul", NoSuchName()),
        ("web.connect.consul", ServiceName("web", "", "", connect=True)),
        ("web.connect.dc2.consul", ServiceName("web", "", "dc2", connect=True)),
        ("q1.query.consul", QueryName("q1", "")),
        ("a.b.query.dc2.consul", QueryName("a.b", "dc2")),
        ("7f000001.addr.consul", AddressName(ip_address("127.0.0.1"))),
        ("7f000001.addr.dc2.consul", AddressName(ip_address("127.0.0.1"))),
        ("20010db8000000000000000000000001.addr.consul", AddressName(ip_address("2001:db8::1"))),
        ("7f00001.addr.consul", NoSuchName()),
        ("7f00000g.addr.consul", NoSuchName()),
        ("0x7f0001.addr.consul", NoSuchName()),
        ("a.7f000001.addr.consul", NoSuchName()),
        ("addr.consul", NoSuchName()),
        ("consul", Apex()),
        ("dc1.consul", NoSuchName()),
        ("web.service.dc1.more.consul", NoSuchName()),
        ("web.other.consul", NoSuchName()),
        ("web..service.consul", NoSuchName()),
        ("x" * 64 + ".service.consul", NoSuchName()),
        ("web.service.alt.example", ServiceName("web", "", "")),
        ("alt.example", Apex()),
        ("1.0.0.10.in-addr.arpa", ReverseName(ip_address("10.0.0.1"))),
        ("256.0.0.10.in-addr.arpa", Elsewhere()),
        ("0.0.10.in-addr.arpa", Elsewhere()),
        (NIBBLES + ".ip6.arpa", ReverseName(ip_address("2001:db8::1"))),
        ("x." + NIBBLES[2:] + ".ip6.arpa", Elsewhere()),
        ("www.example.com", Elsewhere()),
        ("notconsul", Elsewhere()),
        ("", Elsewhere()),
    ],
)
def test_a_name_means_what_the_specification_says(name: str, expected: Asked) -> None:
    assert parse(name, domain_of(name, DOMAINS), is_srv=False) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_web._tcp.consul", ServiceName("web", "", "")),
        ("_web._v1.dc2.consul", ServiceName("web", "v1", "dc2")),
        ("_web._tcp.service.dc2.consul", ServiceName("web", "", "dc2")),
    ],
)
def test_the_label_service_may_be_left_out_of_a_question_for_srv(name: str, expected: Asked) -> None:
    assert parse(name, "consul", is_srv=True) == expected


def test_without_srv_the_label_service_is_needed() -> None:
    assert parse("_web._tcp.consul", "consul", is_srv=False) == NoSuchName()


def test_the_longer_of_two_domains_that_fit_is_meant() -> None:
    assert domain_of("web.service.sub.consul", ("consul", "sub.consul")) == "sub.consul"


@pytest.mark.parametrize("text", ["127.0.0.1", "2001:db8::1"])
def test_an_address_and_its_label_belong_together(text: str) -> None:
    address = ip_address(text)
    assert parse(f"{address_label(address)}.addr.consul", "consul", is_srv=False) == AddressName(address)


@pytest.mark.parametrize(
    ("text", "fits"),
    [("web", True), ("a.b-c", True), ("a_b", True), ("", False), ("a..b", False), ("ü", False), ("x" * 64, False)],
)
def test_what_dns_can_carry_is_known(text: str, fits: bool) -> None:
    assert is_name(text) is fits
