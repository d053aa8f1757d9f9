"""Golden answers of DNS, question by question. Source: agent specification, section 9."""

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base.errors import NoLeader, Refused
from structs.catalog import ServiceAddress
from structs.prepared_query import ExecuteReply
from structs.query import NO_PATH_TEXT, Consistency
from tests.fakes.discovery import instance
from tests.fakes.dns_site import addresses, dns_site, rows

SOA = "consul. 0 SOA ns.consul. hostmaster.consul. 1700000000 3600 600 86400 0"
CATALOG = (
    instance("n1", "10.0.0.1", tags=("v1",), meta={"rack": "r1", "rfc1035-x": "plain"}, weights=(7, 2)),
    instance("n2", "10.0.0.2", tags=("v1", "a.b"), status="warning", weights=(7, 2)),
    instance("n3", "10.0.0.3", status="critical"),
    instance("n4", "2001:db8::4", service="six", port=6),
    instance("n1", "10.0.0.1", service="db", at="10.9.9.9", port=5432),
    instance("n1", "10.0.0.1", service="alias", at="db.example.com", port=1),
    instance("n1", "10.0.0.1", service="inner", at="n2.node.consul", port=1),
    instance("a.b", "10.0.0.5", service="dotted", port=2),
    instance("cname", "host.example.com", service="named"),
    instance("n1", "10.0.0.1", service="consul", port=8300),
)
V6_NIBBLES = ".".join(reversed("20010db8000000000000000000000004"))


@pytest.mark.parametrize(
    ("name", "kind", "code", "answers", "others"),
    [
        ("n1.node.consul", "A", "NOERROR", ["n1.node.consul. 0 A 10.0.0.1"], None),
        ("n1.node.dc1.consul", "A", "NOERROR", ["n1.node.dc1.consul. 0 A 10.0.0.1"], None),
        ("a.b.node.consul", "A", "NOERROR", ["a.b.node.consul. 0 A 10.0.0.5"], []),
        ("n1.node.consul", "AAAA", "NOERROR", [], [SOA]),
        ("n1.node.consul", "MX", "NOERROR", [], [SOA]),
        ("n1.node.consul", "SRV", "NOERROR", [], [SOA]),
        ("n4.node.consul", "AAAA", "NOERROR", ["n4.node.consul. 0 AAAA 2001:db8::4"], []),
        (
            "n1.node.consul",
            "TXT",
            "NOERROR",
            ['n1.node.consul. 0 TXT "rack=r1"', 'n1.node.consul. 0 TXT "plain"'],
            [],
        ),
        ("n2.node.consul", "TXT", "NOERROR", [], [SOA]),
        ("nobody.node.consul", "A", "NXDOMAIN", [], [SOA]),
        ("cname.node.consul", "CNAME", "NOERROR", ["cname.node.consul. 0 CNAME host.example.com."], []),
        ("cname.node.consul", "A", "NOERROR", ["cname.node.consul. 0 CNAME host.example.com."], []),
        ("db.service.consul", "A", "NOERROR", ["db.service.consul. 0 A 10.9.9.9"], []),
        (
            "db.service.consul",
            "SRV",
            "NOERROR",
            ["db.service.consul. 0 SRV 1 1 5432 0a090909.addr.dc1.consul."],
            ["0a090909.addr.dc1.consul. 0 A 10.9.9.9"],
        ),
        (
            "six.service.consul",
            "SRV",
            "NOERROR",
            ["six.service.consul. 0 SRV 1 1 6 n4.node.dc1.consul."],
            ["n4.node.dc1.consul. 0 AAAA 2001:db8::4"],
        ),
        ("six.service.consul", "A", "NOERROR", [], [SOA]),
        ("six.service.consul", "MX", "NOERROR", [], [SOA]),
        (
            "_six._tcp.consul",
            "SRV",
            "NOERROR",
            ["_six._tcp.consul. 0 SRV 1 1 6 n4.node.dc1.consul."],
            ["n4.node.dc1.consul. 0 AAAA 2001:db8::4"],
        ),
        (
            "alias.service.consul",
            "SRV",
            "NOERROR",
            ["alias.service.consul. 0 SRV 1 1 1 n1.node.dc1.consul."],
            ["n1.node.dc1.consul. 0 CNAME db.example.com."],
        ),
        ("alias.service.consul", "A", "NOERROR", ["alias.service.consul. 0 CNAME db.example.com."], []),
        (
            "inner.service.consul",
            "A",
            "NOERROR",
            ["inner.service.consul. 0 CNAME n2.node.consul.", "n2.node.consul. 0 A 10.0.0.2"],
            [],
        ),
        ("_web._a.b.service.consul", "SRV", "NXDOMAIN", [], [SOA]),
        ("nobody.service.consul", "A", "NXDOMAIN", [], [SOA]),
        ("no-tag.web.service.consul", "A", "NXDOMAIN", [], [SOA]),
        ("a.b.web.service.consul", "A", "NOERROR", ["a.b.web.service.consul. 0 A 10.0.0.2"], []),
        ("7f000001.addr.consul", "A", "NOERROR", ["7f000001.addr.consul. 0 A 127.0.0.1"], []),
        ("7f000001.addr.consul", "AAAA", "NOERROR", [], [SOA]),
        ("7f00000.addr.consul", "A", "NXDOMAIN", [], [SOA]),
        ("2.0.0.10.in-addr.arpa", "PTR", "NOERROR", ["2.0.0.10.in-addr.arpa. 0 PTR n2.node.dc1.consul."], []),
        ("9.9.9.10.in-addr.arpa", "PTR", "NOERROR", ["9.9.9.10.in-addr.arpa. 0 PTR db.service.consul."], []),
        ("9.9.9.9.in-addr.arpa", "PTR", "NXDOMAIN", [], [SOA]),
        (V6_NIBBLES + ".ip6.arpa", "PTR", "NOERROR", [V6_NIBBLES + ".ip6.arpa. 0 PTR n4.node.dc1.consul."], []),
        ("consul", "SOA", "NOERROR", [SOA], ["consul. 0 NS n1.node.dc1.consul.", "n1.node.dc1.consul. 0 A 10.0.0.1"]),
        ("consul", "NS", "NOERROR", ["consul. 0 NS n1.node.dc1.consul."], ["n1.node.dc1.consul. 0 A 10.0.0.1"]),
        ("consul", "A", "NOERROR", [], [SOA]),
        ("consul", "AXFR", "NOTIMP", [], []),
        ("what.ever.consul", "A", "NXDOMAIN", [], [SOA]),
        ("www.example.com", "A", "REFUSED", [], []),
    ],
)
async def test_a_question_has_the_answer_of_the_specification(
    name: str, kind: str, code: str, answers: list[str], others: list[str] | None
) -> None:
    async with dns_site(*CATALOG) as site:
        message = await site.ask(name, kind)
        assert dns.rcode.to_text(message.rcode()) == code
        assert sorted(rows(message)) == sorted(answers)
        if others is not None:
            assert rows(message, "authority") + rows(message, "additional") == others
        assert bool(message.flags & dns.flags.AA) is (code != "REFUSED")
        assert not message.flags & dns.flags.RA
        assert not message.flags & dns.flags.TC


async def test_meta_of_a_node_is_beside_its_address_unless_that_is_turned_off() -> None:
    texts = ['n1.node.consul. 0 TXT "rack=r1"', 'n1.node.consul. 0 TXT "plain"']
    async with dns_site(*CATALOG) as site:
        assert rows(await site.ask("n1.node.consul"), "additional") == texts
        assert rows(await site.ask("n1.node.consul", "ANY")) == ["n1.node.consul. 0 A 10.0.0.1", *texts]
    async with dns_site(*CATALOG, node_meta_txt=False) as site:
        assert rows(await site.ask("n1.node.consul"), "additional") == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, {"10.0.0.1", "10.0.0.2"}), ({"only_passing": True}, {"10.0.0.1"})],
)
async def test_critical_instances_are_left_out_and_with_only_passing_warnings_too(
    settings: dict[str, Any], expected: set[str]
) -> None:
    async with dns_site(*CATALOG, **settings) as site:
        assert set(addresses(await site.ask("web.service.consul"))) == expected


async def test_weights_of_srv_records_follow_health() -> None:
    async with dns_site(*CATALOG) as site:
        assert sorted(rows(await site.ask("web.service.consul", "SRV"))) == [
            "web.service.consul. 0 SRV 1 2 80 n2.node.dc1.consul.",
            "web.service.consul. 0 SRV 1 7 80 n1.node.dc1.consul.",
        ]


async def test_tags_select() -> None:
    async with dns_site(*CATALOG) as site:
        assert len(addresses(await site.ask("v1.web.service.consul"))) == 2
        assert len(rows(await site.ask("_web._v1.service.consul", "SRV"))) == 2
        assert len(rows(await site.ask("_web._tcp.service.consul", "SRV"))) == 2


@pytest.mark.parametrize(("service", "ttl"), [("web", 10), ("web-1", 20), ("web-api", 30), ("other", 5)])
async def test_a_ttl_is_that_of_the_name_else_of_the_longest_beginning(service: str, ttl: int) -> None:
    ttls = {"web": 10, "web-*": 20, "web-a*": 30, "*": 5}
    async with dns_site(instance("n1", "10.0.0.1", service=service), service_ttls_s=ttls, node_ttl_s=9) as site:
        assert rows(await site.ask(f"{service}.service.consul")) == [f"{service}.service.consul. {ttl} A 10.0.0.1"]
        assert rows(await site.ask("n1.node.consul")) == ["n1.node.consul. 9 A 10.0.0.1"]


async def test_the_case_of_the_question_comes_back_and_changes_nothing() -> None:
    async with dns_site(*CATALOG) as site:
        answer = await site.respond(dns.message.make_query("dB.SeRviCE.CONsul", "A").to_wire())
        assert answer is not None
        assert b"\x02dB\x07SeRviCE\x06CONsul\x00" in answer
        assert addresses(dns.message.from_wire(answer)) == ["10.9.9.9"]


async def test_the_second_domain_is_answered_in_its_own_names() -> None:
    async with dns_site(*CATALOG, alt_domain="alt.example") as site:
        assert rows(await site.ask("six.service.alt.example", "SRV")) == [
            "six.service.alt.example. 0 SRV 1 1 6 n4.node.dc1.alt.example."
        ]
        assert rows(await site.ask("nobody.service.alt.example"), "authority") == [
            "alt.example. 0 SOA ns.alt.example. hostmaster.alt.example. 1700000000 3600 600 86400 0"
        ]


MANY = tuple(instance(f"node-{number}", f"10.1.{number // 250}.{number % 250}") for number in range(600))


@pytest.mark.parametrize(
    ("kind", "is_udp", "edns", "settings", "count", "bytes_max"),
    [
        ("A", True, None, {}, 3, 512),
        ("A", True, None, {"udp_answer_limit": 5}, 5, 512),
        ("A", True, None, {"udp_answer_limit": 50}, 8, 512),
        ("A", True, 512, {}, 3, 512),
        ("A", True, 1232, {}, 74, 1232),
        ("A", True, 4096, {}, 253, 4096),
        ("A", True, 65535, {}, 253, 4096),
        ("A", True, 1232, {"a_record_limit": 4}, 4, 1232),
        ("A", False, None, {}, 600, 65535),
        ("A", False, None, {"a_record_limit": 4}, 4, 65535),
        ("SRV", True, None, {}, 3, 512),
        ("SRV", False, None, {}, 600, 65535),
    ],
)
async def test_an_answer_is_as_large_as_its_asker_can_take(
    kind: str, is_udp: bool, edns: int | None, settings: dict[str, Any], count: int, bytes_max: int
) -> None:
    async with dns_site(*MANY, **settings) as site:
        extra: dict[str, Any] = {} if edns is None else {"use_edns": 0, "payload": edns}
        answer = await site.respond(
            dns.message.make_query("web.service.consul", kind, **extra).to_wire(), is_udp=is_udp
        )
        assert answer is not None
        assert len(answer) <= bytes_max
        message = dns.message.from_wire(answer)
        assert sum(len(rrset) for rrset in message.answer) == count
        if edns is not None:
            assert message.payload == edns
        targets = {str(item.target) for rrset in message.answer for item in rrset if rrset.rdtype == 33}
        assert {str(rrset.name) for rrset in message.additional} == targets  # neither more nor less


async def test_what_was_left_out_is_said_where_that_is_configured() -> None:
    async with dns_site(*MANY, enable_truncate=True) as site:
        assert (await site.ask("web.service.consul")).flags & dns.flags.TC
        assert not (await site.ask("web.service.consul", is_udp=False)).flags & dns.flags.TC


async def test_without_compression_names_are_written_out() -> None:
    async with dns_site(*MANY, disable_compression=True) as site:
        query = dns.message.make_query("web.service.consul", "A").to_wire()
        answer = await site.respond(query)
        assert answer is not None
        assert answer.count(b"\x03web\x07service\x06consul\x00") == 4


async def test_instances_with_one_address_are_given_out_once_and_in_any_order() -> None:
    twins = [instance("n1", "10.0.0.1", port=port) for port in (1, 2)] + [instance("n2", "10.0.0.2")]
    async with dns_site(*twins) as site:
        seen = {tuple(addresses(await site.ask("web.service.consul"))) for _ in range(50)}
        assert seen == {("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")}
        assert len(rows(await site.ask("web.service.consul", "SRV"))) == 3


async def test_the_first_order_is_not_the_only_one() -> None:
    async with dns_site(*MANY[:50]) as site:
        firsts = {addresses(await site.ask("web.service.consul"))[0] for _ in range(600)}
        assert len(firsts) > 10  # more than the answers that are kept at one time


@pytest.mark.parametrize("error", [NoLeader(), Refused(NO_PATH_TEXT)])
async def test_what_servers_cannot_say_is_a_failure_of_the_server(error: Exception) -> None:
    async with dns_site(*CATALOG) as site:
        site.servers.fail(error)  # type: ignore[arg-type]
        assert (await site.ask("web.service.dc9.consul")).rcode() == dns.rcode.SERVFAIL


async def test_answers_outlive_the_servers() -> None:
    async with dns_site(*CATALOG) as site:
        await site.ask("db.service.consul")
        site.servers.fail(NoLeader())
        assert addresses(await site.ask("db.service.consul")) == ["10.9.9.9"]


@pytest.mark.parametrize(
    ("settings", "last_contact_ms", "expected"),
    [
        ({"use_cache": False}, 0, [Consistency.STALE]),
        ({"allow_stale": False}, 0, [Consistency.DEFAULT]),
        ({"use_cache": False, "max_stale_s": 1.0}, 1001, [Consistency.STALE, Consistency.DEFAULT]),
        ({"use_cache": False, "max_stale_s": 1.0}, 1000, [Consistency.STALE]),
    ],
)
async def test_staleness_is_as_configured(
    settings: dict[str, Any], last_contact_ms: int, expected: list[Consistency]
) -> None:
    async with dns_site(*CATALOG, **settings) as site:
        site.servers.last_contact_ms = last_contact_ms
        await site.ask("db.service.consul")
        assert [call[1].options.consistency for call in site.servers.calls] == expected


@pytest.mark.parametrize("is_remembered", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
async def test_the_bit_of_dnssec_is_copied(*, is_remembered: bool, wanted: bool) -> None:
    async with dns_site(*CATALOG) as site:
        for dnssec in (not wanted, wanted) if is_remembered else (wanted,):
            query = dns.message.make_query("db.service.consul", "A", use_edns=0, payload=1232, want_dnssec=dnssec)
            raw = await site.respond(query.to_wire())
            assert raw is not None
            assert bool(dns.message.from_wire(raw).ednsflags & dns.flags.DO) is dnssec
        if is_remembered:
            again, _ = site.responder.at_once(query.to_wire(), trio.current_time())
            assert again is not None
            assert bool(dns.message.from_wire(again).ednsflags & dns.flags.DO) is wanted


async def test_without_servers_an_answer_of_the_cache_grows_old_too(autojump_clock: trio.testing.MockClock) -> None:
    async with dns_site(*CATALOG, max_stale_s=10.0) as site:
        await site.ask("db.service.consul")
        await trio.sleep(1)
        site.servers.fail(NoLeader())
        await trio.sleep(9)
        assert addresses(await site.ask("db.service.consul")) == ["10.9.9.9"]
        await trio.sleep(5)
        assert (await site.ask("db.service.consul")).rcode() == dns.rcode.SERVFAIL
        site.servers.fail(None)
        assert addresses(await site.ask("db.service.consul")) == ["10.9.9.9"]


async def test_a_prepared_query_is_executed_for_whoever_asks_and_keeps_its_order_and_ttl() -> None:
    found = [instance(f"n{number}", f"10.0.0.{number}") for number in (3, 1, 2)]
    async with dns_site(service_ttls_s={"web": 9}) as site:
        site.servers.queries = {
            "q.1": ExecuteReply(service="web", instances=found, dns_ttl="17s", datacenter="dc2"),
            "plain": ExecuteReply(service="web", instances=found[:1], datacenter="dc1"),
            "none": ExecuteReply(service="web", instances=[]),
        }
        message = await site.ask("q.1.query.consul")
        assert rows(message) == [f"q.1.query.consul. 17 A 10.0.0.{number}" for number in (3, 1, 2)]
        assert site.servers.calls[-1][1].source.address == "127.0.0.1"
        behind: list[dns.edns.Option] = [dns.edns.ECSOption("192.0.2.0", 24)]
        assert rows(await site.ask("plain.query.consul", use_edns=0, options=behind)) == [
            "plain.query.consul. 9 A 10.0.0.3"
        ]
        assert site.servers.calls[-1][1].source.address == "192.0.2.0"
        assert str((await site.ask("q.1.query.consul", "SRV")).answer[0][0]).endswith("n3.node.dc2.consul.")
        assert len(site.servers.calls) == 3  # nothing of it is kept
        for name in ("none", "unknown"):
            message = await site.ask(f"{name}.query.consul")
            assert (message.rcode(), rows(message, "authority")) == (dns.rcode.NXDOMAIN, [SOA])


async def test_a_prepared_query_is_kept_for_as_long_as_is_configured() -> None:
    async with dns_site(cache_max_age_s=60.0) as site:
        site.servers.queries = {"q": ExecuteReply(service="web", instances=[instance("n1", "10.0.0.1")])}
        for _ in range(3):
            assert addresses(await site.ask("q.query.consul")) == ["10.0.0.1"]
        assert len(site.servers.calls) == 1


def _wire(**changes: Any) -> bytes:
    query = dns.message.make_query("db.service.consul", "A", id=1)
    for name, value in changes.items():
        setattr(query, name, value)
    return query.to_wire()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (_wire(flags=dns.opcode.to_flags(dns.opcode.Opcode.UPDATE)), dns.rcode.NOTIMP),
        (_wire(flags=dns.opcode.to_flags(dns.opcode.Opcode.NOTIFY)), dns.rcode.NOTIMP),
        (_wire(question=[]), dns.rcode.FORMERR),
        (_wire()[:-2], dns.rcode.FORMERR),
        (_wire() + b"x", dns.rcode.FORMERR),
        (_wire()[:12] + b"\xc0\x0c\x00\x01\x00\x01", dns.rcode.FORMERR),
        (_wire()[:4] + b"\0\2" + _wire()[6:], dns.rcode.FORMERR),
        (b"\x12\x34\x01\0" + b"\0\1\0\0\0\0\0\0" + b"\0\0\1\0\1" + b"x" * 5000, dns.rcode.FORMERR),
        (_wire()[:-2] + b"\0\3", dns.rcode.REFUSED),
        (dns.message.make_query("db.service.consul", "A", use_edns=1, id=1).to_wire(), dns.rcode.BADVERS),
    ],
)
async def test_what_is_no_question_is_refused(query: bytes, code: dns.rcode.Rcode) -> None:
    async with dns_site(*CATALOG) as site:
        answer = await site.respond(query)
        assert answer is not None
        assert answer[:2] == query[:2]
        assert dns.message.from_wire(answer).rcode() == code


@pytest.mark.parametrize("query", [b"", b"x" * 11, _wire(flags=dns.flags.QR)])
async def test_what_is_no_query_is_not_answered(query: bytes) -> None:
    async with dns_site(*CATALOG) as site:
        assert await site.respond(query) is None


async def test_a_client_subnet_and_unknown_options_do_no_harm() -> None:
    options: list[dns.edns.Option] = [
        dns.edns.ECSOption("192.0.2.0", 24),
        dns.edns.GenericOption(dns.edns.OptionType(65001), b"x" * 40),
    ]
    async with dns_site(*CATALOG) as site:
        message = await site.ask("db.service.consul", use_edns=0, options=options)
        assert addresses(message) == ["10.9.9.9"]


async def test_what_is_elsewhere_is_given_out_with_its_wan_address_if_that_is_wanted() -> None:
    made = instance("n1", "10.0.0.1", port=80)
    wan = {"wan": ServiceAddress(address="198.51.100.5", port=8080)}
    one = replace(
        made,
        node=replace(made.node, tagged_addresses={"wan": "198.51.100.1"}),
        service=replace(made.service, tagged_addresses=wan),
    )
    plain = replace(one, service=replace(one.service, service="plain", service_id="p", tagged_addresses=None))
    for translates, node, service, port in ((True, "198.51.100.1", "198.51.100.5", 8080), (False, "10.0.0.1", "", 80)):
        async with dns_site(one, plain, translate_wan_addresses=translates) as site:
            site.servers.queries["q"] = ExecuteReply(service="web", instances=[one], datacenter="dc2")
            assert addresses(await site.ask("n1.node.dc2.consul")) == [node]
            assert addresses(await site.ask("plain.service.dc2.consul")) == [node]
            assert addresses(await site.ask("web.service.dc2.consul")) == [service or node]
            assert addresses(await site.ask("q.query.consul")) == [service or node]
            assert f" 1 1 {port} " in rows(await site.ask("web.service.dc2.consul", "SRV"))[0]
            for inside in ("n1.node.consul", "web.service.consul", "web.service.dc1.consul"):
                assert addresses(await site.ask(inside)) == ["10.0.0.1"]
