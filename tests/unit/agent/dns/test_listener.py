"""DNS over real sockets: both protocols, their bounds, and other name servers."""

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest
import trio
import trio.testing

from agent.agent import bind_dns as bind_all
from agent.config.load import load
from agent.dns.listener import bind_dns
from agent.dns.settings import DNSLimits
from base.errors import ConfigInvalid
from tests.fakes.discovery import FakeDiscovery, instance
from tests.fakes.dns_site import DNSSite, addresses, dns_site, rows
from tests.fakes.http_server import PATIENCE_S, until

WEB = (instance("n1", "10.0.0.1"), instance("n2", "10.0.0.2"))
Handle = Callable[[dns.message.Message, bool], bytes | None]


async def by_udp(site: DNSSite, name: str, kind: str = "A", **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
    return await trio.to_thread.run_sync(partial(dns.query.udp, query, site.host, PATIENCE_S, site.port))


async def by_tcp(site: DNSSite, name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    return await trio.to_thread.run_sync(partial(dns.query.tcp, query, site.host, PATIENCE_S, site.port))


async def test_both_protocols_answer_and_hear_of_changes() -> None:
    async with dns_site(*WEB, listens=True) as site:
        for ask in (by_udp, by_tcp, by_udp):
            assert sorted(addresses(await ask(site, "web.service.consul"))) == ["10.0.0.1", "10.0.0.2"]
        site.servers.change(WEB[1])
        await until(lambda: site.servers.calls[-1][1].options.index_min == 6)
        for ask in (by_udp, by_tcp):
            assert addresses(await ask(site, "web.service.consul")) == ["10.0.0.2"]


async def test_many_questions_are_answered_without_asking_the_servers_each_time() -> None:
    async with dns_site(*WEB, listens=True) as site:
        for number in range(200):
            assert len(addresses(await by_udp(site, "WEB.service.consul" if number % 2 else "web.service.consul"))) == 2
        assert len(site.servers.calls) == 2
        assert site.responder.remembered.hits_count > 100


async def test_a_connection_takes_many_questions_one_after_the_other() -> None:
    async with dns_site(*WEB, listens=True) as site:
        query = dns.message.make_query("web.service.consul", "A").to_wire()
        async with await trio.open_tcp_stream(site.host, site.port) as stream:
            data = (len(query).to_bytes(2, "big") + query) * 20
            for at in range(0, len(data), 7):  # in pieces that have nothing to do with questions
                await stream.send_all(data[at : at + 7])
            received = b""
            with trio.fail_after(PATIENCE_S):
                for _ in range(20):
                    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
                        received += await stream.receive_some(4096)
                    size = int.from_bytes(received[:2], "big")
                    assert len(addresses(dns.message.from_wire(received[2 : 2 + size]))) == 2
                    received = received[2 + size :]


@pytest.mark.parametrize("data", [b"\0\0", b"\xff\xff" + b"x" * 100, b"\0\x0c" + b"\0\1\x80\0" + b"\0" * 8])
async def test_a_connection_that_brings_no_question_is_closed(data: bytes) -> None:
    async with dns_site(*WEB, listens=True) as site, await trio.open_tcp_stream(site.host, site.port) as stream:
        await stream.send_all(data)
        with trio.fail_after(PATIENCE_S):
            try:
                assert await stream.receive_some(100) == b""
            except trio.BrokenResourceError:
                return


@pytest.mark.parametrize("data", [b"", b"\0\x20half a question"])
async def test_a_connection_that_stands_still_is_closed(data: bytes) -> None:
    limits = DNSLimits(idle_s=0.05, read_s=0.05)
    async with (
        dns_site(*WEB, listens=True, limits=limits) as site,
        await trio.open_tcp_stream(site.host, site.port) as stream,
    ):
        if data:
            await stream.send_all(data)
        with trio.fail_after(PATIENCE_S):
            assert await stream.receive_some(100) == b""


async def test_connections_are_bounded_for_each_source() -> None:
    limits = DNSLimits(connections_per_source_max=2)
    async with dns_site(*WEB, listens=True, limits=limits) as site:
        streams = [await trio.open_tcp_stream(site.host, site.port) for _ in range(2)]
        query = dns.message.make_query("web.service.consul", "A").to_wire()
        for stream in streams:
            await stream.send_all(len(query).to_bytes(2, "big") + query)
            assert await stream.receive_some(2)
        async with await trio.open_tcp_stream(site.host, site.port) as third:
            with trio.fail_after(PATIENCE_S):
                try:
                    assert await third.receive_some(1) == b""
                except trio.BrokenResourceError:
                    assert True  # refused outright
        for stream in streams:
            await stream.aclose()
        assert len(addresses(await by_tcp_patiently(site))) == 2


async def by_tcp_patiently(site: DNSSite) -> dns.message.Message:
    """Ask until the server has noticed that others have gone."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await by_tcp(site, "web.service.consul")
            except (EOFError, OSError):
                await trio.sleep(0.01)


async def test_questions_that_wait_are_bounded_and_the_others_go_unanswered() -> None:
    servers = FakeDiscovery(*WEB)
    asked = trio.Event()

    async def hang(method: str, request: object) -> object:
        asked.set()
        await trio.sleep_forever()

    servers._answer = hang  # type: ignore[method-assign]
    limits = DNSLimits(lookups_per_source_max=2)
    async with dns_site(servers=servers, listens=True, limits=limits) as site:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(dns.message.make_query(f"w{number}.service.consul", "A").to_wire(), (site.host, site.port))
            with trio.fail_after(PATIENCE_S):
                await asked.wait()
            sock.sendto(dns.message.make_query("w9.service.consul", "A").to_wire(), (site.host, site.port))
            await until(lambda: len(site.responder.remembered) == 0 and site.responder.queries_count == 2)


async def test_noise_does_not_end_the_service() -> None:
    async with dns_site(*WEB, listens=True) as site:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b"", b"x", b"\xff" * 3000, b"\0" * 12, b"\0\1\x80\0" + b"\0" * 8):
                sock.sendto(data, (site.host, site.port))
        assert len(addresses(await by_udp(site, "web.service.consul"))) == 2


# Recursors


@asynccontextmanager
async def name_server(handle: Handle) -> AsyncGenerator[tuple[str, int], None]:
    """A name server on both protocols; `handle` returns the bytes of its answer, None for none."""
    bound, listening = bind_dns("127.0.0.1", 0)
    udp = trio.socket.from_stdlib_socket(bound)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))

    async def datagrams() -> None:
        while True:
            data, source = await udp.recvfrom(4096)
            answer = handle(dns.message.from_wire(data), True)
            if answer is not None:
                await udp.sendto(answer, source)

    async def connection(stream: trio.SocketStream) -> None:
        data = await stream.receive_some(4096)
        answer = handle(dns.message.from_wire(data[2:]), False)
        if answer is not None:
            await stream.send_all(len(answer).to_bytes(2, "big") + answer)

    with udp:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(datagrams)
            nursery.start_soon(trio.serve_listeners, connection, [listener])
            try:
                yield udp.getsockname()
            finally:
                nursery.cancel_scope.cancel()


def answered(query: dns.message.Message, *texts: str, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> bytes:
    """Return an answer with these records."""
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(code)
    rows = [text.split(" ", 4) for text in texts]
    response.answer = [dns.rrset.from_text(name, int(ttl), where, kind, data) for name, ttl, where, kind, data in rows]
    return response.to_wire()


def example(query: dns.message.Message, is_udp: bool) -> bytes:
    return answered(query, f"{query.question[0].name} 60 IN A 192.0.2.7")


async def test_names_of_other_domains_are_asked_of_recursors() -> None:
    async with name_server(example) as server, dns_site(*WEB, listens=True, recursors=(server,)) as site:
        for ask in (by_udp, by_tcp):
            message = await ask(site, "WWW.example.com")
            assert rows(message) == ["WWW.example.com. 60 A 192.0.2.7"]
            assert message.flags & dns.flags.RA
        assert (await by_udp(site, "web.service.consul")).flags & dns.flags.RA
        assert rows(await by_udp(site, "9.9.9.9.in-addr.arpa", "PTR"))  # nobody's here


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_the_next_recursor_is_asked_where_one_cannot_help(code: dns.rcode.Rcode) -> None:
    async with name_server(lambda query, is_udp: answered(query, code=code)) as bad, name_server(example) as good:
        async with dns_site(*WEB, recursors=(bad, good)) as site:
            assert addresses(await site.ask("www.example.com")) == ["192.0.2.7"]
        async with dns_site(*WEB, recursors=(bad,)) as site:
            assert (await site.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL


async def test_a_recursor_that_is_silent_or_lies_costs_its_time_and_no_more() -> None:
    def silent(query: dns.message.Message, is_udp: bool) -> None:
        return None

    def forged(query: dns.message.Message, is_udp: bool) -> bytes:
        query.id ^= 1
        return example(query, is_udp)

    async with (
        name_server(silent) as one,
        name_server(forged) as two,
        name_server(example) as three,
        dns_site(*WEB, recursors=(one, two, three), recursor_timeout_s=0.1) as site,
    ):
        assert addresses(await site.ask("www.example.com")) == ["192.0.2.7"]


async def test_an_answer_that_was_cut_is_passed_on_to_udp_and_fetched_whole_for_an_alias() -> None:
    def cut(query: dns.message.Message, is_udp: bool) -> bytes:
        if not is_udp:
            return example(query, is_udp)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response.to_wire()

    alias = instance("n1", "10.0.0.1", service="alias", at="db.example.com")
    async with name_server(cut) as server, dns_site(alias, recursors=(server,)) as site:
        query = dns.message.make_query("www.example.com", "A")
        answer = await site.respond(query.to_wire())
        assert answer is not None
        assert answer[2] & 0x02
        assert rows(await site.ask("alias.service.consul")) == [
            "alias.service.consul. 0 CNAME db.example.com.",
            "db.example.com. 60 A 192.0.2.7",
        ]
        assert rows(await site.ask("alias.service.consul", "SRV"), "additional") == [
            "n1.node.dc1.consul. 0 CNAME db.example.com.",
            "db.example.com. 60 A 192.0.2.7",
        ]


async def test_two_servers_that_take_each_other_for_recursors_stop_at_once() -> None:
    asked: list[str] = []
    sites: list[DNSSite] = []

    async with trio.open_nursery() as nursery:
        udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await udp.bind(("127.0.0.1", 0))

        async def back() -> None:
            """Asks the server the very thing that it asks us."""
            while True:
                data, source = await udp.recvfrom(4096)
                asked.append(str(dns.message.from_wire(data).question[0].name))
                answer = await sites[0].respond(data)
                assert answer is not None
                await udp.sendto(answer, source)

        nursery.start_soon(back)
        async with dns_site(*WEB, recursors=(("127.0.0.1", udp.getsockname()[1]),)) as site:
            sites.append(site)
            assert (await site.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL
        assert asked == ["www.example.com."]
        nursery.cancel_scope.cancel()
    udp.close()


def test_an_address_that_cannot_be_had_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        flags = ["-data-dir=/x", "-bind=127.0.0.1", f"-dns-port={port}"]
        config = load(flags, environment={}, role="agent")[0]
        with pytest.raises(ConfigInvalid, match=rf"cannot listen for DNS on 127.0.0.1:{port} .*ports.dns"):
            bind_all(config)
