"""All forms of questions by DNS, asked with dnspython at a real agent and at a server. Source: agent specification."""

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
import trio

from jepsen.cluster import Cluster, Node

Until = Callable[[Callable[[], Any]], Any]
MANY = 40
TIMEOUT_S = 10.0


def put(node: Node, path: str, body: object) -> None:
    async def send() -> None:
        reply = await node.request("PUT", path, json.dumps(body).encode())
        assert reply.status == 200, reply

    trio.run(send)


@pytest.fixture(scope="module")
def town(cluster: Cluster) -> Cluster:
    """A catalog with a bit of everything, known by DNS of the servers."""
    server = cluster.servers[0]
    inns = (("inn-1", "10.9.0.1", "10.9.1.1", 5001), ("inn-2", "10.9.0.2", "", 5002), ("inn-6", "::1", "", 5006))
    for number, (host, address, own, port) in enumerate(inns, start=1):
        service = {
            "Service": "inn",
            "ID": f"inn-{number}",
            "Address": own,
            "Port": port,
            "Tags": ["open", f"v{number}.x"],
        }
        body = {"Node": host, "Address": address, "NodeMeta": {"rack": f"r{number}"}, "Service": service}
        put(server, "/v1/catalog/register", body)
    shut = {"Service": "shut", "Port": 1}
    check = {"CheckID": "c", "ServiceID": "shut", "Status": "critical"}
    put(server, "/v1/catalog/register", {"Node": "inn-1", "Address": "10.9.0.1", "Service": shut, "Check": check})
    put(server, "/v1/catalog/register", {"Node": "a.dotted.name", "Address": "alias.example.com"})
    for number in range(MANY):
        crowd = {"Service": "crowd", "ID": f"crowd-{number}", "Address": f"10.8.0.{number}", "Port": number + 1}
        put(server, "/v1/catalog/register", {"Node": "inn-1", "Address": "10.9.0.1", "Service": crowd})

    async def query() -> None:
        body = {"Name": "find-inn", "Service": {"Service": "inn", "Tags": ["v2.x"]}, "DNS": {"TTL": "7s"}}
        assert (await server.request("POST", "/v1/query", json.dumps(body).encode())).status == 200

    trio.run(query)
    return cluster


@pytest.fixture(params=["agent", "server"])
def asked(request: pytest.FixtureRequest, town: Cluster, until: Until) -> Node:
    """The node to ask, once it answers what was registered last."""
    node = town.agents[0] if request.param == "agent" else town.servers[1]
    assert until(lambda: ask(node, "find-inn.query.consul").answer)
    assert until(lambda: len(ask(node, "crowd.service.consul", tcp=True).answer[0]) == MANY)
    return node


def ask(
    node: Node, name: str, kind: str = "A", *, tcp: bool = False, payload: int | None = 4096
) -> dns.message.Message:
    """Return the answer to one question; `payload` None asks without EDNS."""
    host, _, port = node.dns_address.rpartition(":")
    query = dns.message.make_query(name, kind, use_edns=payload is not None and 0, payload=payload)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, host, TIMEOUT_S, int(port))


def texts(message: dns.message.Message) -> set[str]:
    return {str(item) for rrset in message.answer for item in rrset}


def additional(message: dns.message.Message) -> set[str]:
    return {f"{rrset.name} {item}" for rrset in message.additional for item in rrset}


INN_SRV = {
    "1 1 5001 0a090101.addr.dc1.consul.",
    "1 1 5002 inn-2.node.dc1.consul.",
    "1 1 5006 inn-6.node.dc1.consul.",
}
QUESTIONS = {
    "a node": ("inn-1.node.consul", "A", {"10.9.0.1"}),
    "a node in its datacenter": ("inn-1.node.dc1.consul", "A", {"10.9.0.1"}),
    "a node of IPv6": ("inn-6.node.consul", "AAAA", {"::1"}),
    "a node whose name has dots and whose address is a name": (
        "a.dotted.name.node.consul", "A", {"alias.example.com."}),
    "a node's meta": ("inn-2.node.consul", "TXT", {'"rack=r2"'}),
    "everything of a node": ("inn-2.node.consul", "ANY", {"10.9.0.2", '"rack=r2"'}),
    "a service": ("inn.service.consul", "A", {"10.9.1.1", "10.9.0.2"}),
    "a service in its datacenter": ("inn.service.dc1.consul", "A", {"10.9.1.1", "10.9.0.2"}),
    "a service of IPv6": ("inn.service.consul", "AAAA", {"::1"}),
    "a service by tag": ("open.inn.service.consul", "A", {"10.9.1.1", "10.9.0.2"}),
    "a service by a tag with a dot": ("v2.x.inn.service.consul", "A", {"10.9.0.2"}),
    "ports": ("inn.service.consul", "SRV", INN_SRV),
    "ports as RFC 2782 has it": ("_inn._tcp.service.consul", "SRV", INN_SRV),
    "ports as RFC 2782 has it, without the word service": ("_inn._tcp.consul", "SRV", INN_SRV),
    "ports by tag as RFC 2782 has it": (
        "_inn._open.service.consul", "SRV", INN_SRV),
    "names without regard to case": ("InN.SerVice.DC1.ConSul", "A", {"10.9.1.1", "10.9.0.2"}),
    "an address in hexadecimal": ("0a090101.addr.dc1.consul", "A", {"10.9.1.1"}),
    "an address of IPv6 in hexadecimal": ("00000000000000000000000000000001.addr.consul", "AAAA", {"::1"}),
    "a prepared query": ("find-inn.query.consul", "A", {"10.9.0.2"}),
    "whose address that is": ("1.0.9.10.in-addr.arpa", "PTR", {"inn-1.node.dc1.consul."}),
    "whose address of a service that is": ("1.1.9.10.in-addr.arpa", "PTR", {"inn.service.consul."}),
}  # fmt: skip


@pytest.mark.parametrize("what", QUESTIONS)
@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
def test_a_question_is_answered(asked: Node, what: str, tcp: bool) -> None:
    name, kind, wanted = QUESTIONS[what]
    answer = ask(asked, name, kind, tcp=tcp)
    assert (answer.rcode(), texts(answer)) == (dns.rcode.NOERROR, wanted)
    assert answer.flags & dns.flags.AA
    assert not answer.flags & (dns.flags.TC | dns.flags.RA)
    assert [str(row.name) for row in answer.question] == [f"{name}."]
    assert answer.edns == 0


def test_ports_come_with_the_addresses_behind_their_names(asked: Node) -> None:
    found = additional(ask(asked, "inn.service.consul", "SRV"))
    assert {row for row in found if "rack" not in row} == {
        "0a090101.addr.dc1.consul. 10.9.1.1", "inn-2.node.dc1.consul. 10.9.0.2", "inn-6.node.dc1.consul. ::1",
    }  # fmt: skip


def test_the_domain_has_its_soa_and_its_name_servers(asked: Node, town: Cluster) -> None:
    (soa,) = texts(ask(asked, "consul", "SOA"))
    words = soa.split()
    assert (words[:2], words[3:]) == (["ns.consul.", "hostmaster.consul."], ["3600", "600", "86400", "0"])
    answer = ask(asked, "consul", "NS")
    assert texts(answer) == {f"{server.name}.node.dc1.consul." for server in town.servers}
    assert {row.split()[0] for row in additional(answer)} == texts(answer)


NOTHING = {
    "an unknown node": "nobody.node.consul",
    "an unknown service": "nobody.service.consul",
    "a service with a tag that none has": "closed.inn.service.consul",
    "a service of which all are critical": "shut.service.consul",
    "an unknown kind of name": "inn.thing.consul",
    "an unknown prepared query": "nobody.query.consul",
    "a bad address in hexadecimal": "0a0901zz.addr.consul",
    "the datacenter alone": "dc1.consul",
}


@pytest.mark.parametrize("what", NOTHING)
def test_there_is_no_such_name(asked: Node, what: str) -> None:
    answer = ask(asked, NOTHING[what])
    assert (answer.rcode(), answer.answer) == (dns.rcode.NXDOMAIN, [])
    assert [row.rdtype for row in answer.authority] == [dns.rdatatype.SOA]


def test_a_name_without_records_of_the_kind_is_empty_with_a_soa(asked: Node) -> None:
    answer = ask(asked, "inn-1.node.consul", "AAAA")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert [row.rdtype for row in answer.authority] == [dns.rdatatype.SOA]


def test_an_unknown_datacenter_is_a_failure_or_no_name(asked: Node) -> None:
    answer = ask(asked, "inn.service.dc9.consul")
    assert answer.rcode() in (dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN)
    assert answer.answer == []


def test_a_prepared_query_brings_its_own_time_to_live(asked: Node) -> None:
    assert [row.ttl for row in ask(asked, "find-inn.query.consul").answer] == [7]
    assert [row.ttl for row in ask(asked, "inn.service.consul").answer] == [0]


def test_other_domains_are_refused_without_recursors(asked: Node) -> None:
    assert ask(asked, "www.example.com").rcode() == dns.rcode.REFUSED


def test_zone_transfers_are_not_implemented(asked: Node) -> None:
    assert ask(asked, "consul", "AXFR", tcp=True).rcode() == dns.rcode.NOTIMP


def test_few_answers_come_without_edns_and_all_by_tcp(asked: Node) -> None:
    short = ask(asked, "crowd.service.consul", payload=None)
    assert len(texts(short)) == 3
    assert len(short.to_wire()) <= 512
    assert short.edns == -1
    assert len(texts(ask(asked, "crowd.service.consul", tcp=True, payload=None))) == MANY


@pytest.mark.parametrize("payload", [512, 1232, 4096, 65535])
def test_answers_fit_into_what_the_asker_can_take(asked: Node, payload: int) -> None:
    answer = ask(asked, "crowd.service.consul", "SRV", payload=payload)
    assert 0 < len(answer.to_wire()) <= min(payload, 4096)
    targets = {str(item.target) for rrset in answer.answer for item in rrset}
    assert {str(row.name) for row in answer.additional if row.rdtype == dns.rdatatype.A} <= targets


def test_answers_come_in_any_order(asked: Node, until: Until) -> None:
    first = [str(item) for item in ask(asked, "crowd.service.consul", tcp=True).answer[0]]
    assert until(lambda: [str(item) for item in ask(asked, "crowd.service.consul", tcp=True).answer[0]] != first)


def packet(count: int, rest: bytes, flags: int = 0x0100) -> bytes:
    return struct.pack("!HHHHHH", 0x1234, flags, count, 0, 0, 0) + rest


MALFORMED = {
    "nothing": b"",
    "half a head": b"\x12\x34\x01",
    "a head alone": packet(1, b""),
    "a pointer to itself": packet(1, b"\xc0\x0c\x00\x01\x00\x01"),
    "two pointers in a circle": packet(1, b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
    "a pointer forward": packet(1, b"\xc0\xff\x00\x01\x00\x01"),
    "a label beyond the end": packet(1, b"\x3fabc"),
    "a label of a kind that is not": packet(1, b"\x80abc\x00\x00\x01\x00\x01"),
    "a name of 300 bytes": packet(1, b"\x3f" + b"a" * 63) + (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01",
    "65,535 questions": packet(65535, b"\x03inn\x07service\x06consul\x00\x00\x01\x00\x01"),
    "an answer": packet(1, b"\x03inn\x07service\x06consul\x00\x00\x01\x00\x01", flags=0x8180),
    "noise": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_packets_are_dropped_or_told_so_and_do_no_harm(asked: Node, what: str) -> None:
    host, _, port = asked.dns_address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(MALFORMED[what], (host, int(port)))
        probe = dns.message.make_query("inn-1.node.consul", "A", id=0x4321)
        sender.sendto(probe.to_wire(), (host, int(port)))
        sender.settimeout(TIMEOUT_S)
        replies: list[bytes] = []
        while not replies or replies[-1][:2] != b"\x43\x21":
            replies.append(sender.recv(65535))
    assert texts(dns.message.from_wire(replies[-1])) == {"10.9.0.1"}
    for reply in replies[:-1]:
        assert len(reply) <= max(64, 2 * len(MALFORMED[what])), "an answer much larger than the question"
        assert reply[3] & 0x0F in (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.REFUSED)


def test_half_a_question_by_tcp_holds_up_nobody(asked: Node) -> None:
    host, _, port = asked.dns_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as half:
        half.sendall(b"\x00\x40\x12\x34")
        assert texts(ask(asked, "inn-1.node.consul", tcp=True)) == {"10.9.0.1"}
