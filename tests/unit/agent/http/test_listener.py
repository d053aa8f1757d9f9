"""The listener on real sockets: order, limits, deadlines, hang-ups, streams."""

import gzip
import json
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from agent.http.listener import HTTPListener, listen_unix
from agent.http.settings import HTTPLimits, HTTPSettings
from base.errors import InvariantBroken, NoLeader, OutcomeUnknown
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.delegate import FakeDelegate
from tests.fakes.http_server import PATIENCE_S, RawClient, http_site, request, until

GET = request("GET", "/v1/kv/a")


def quick(**limits: float) -> HTTPSettings:
    """Settings with short deadlines."""
    return HTTPSettings(limits=HTTPLimits(**limits))  # type: ignore[arg-type]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with http_site() as site, site.client() as client:
        requests = [request("PUT", f"/v1/kv/k{number}", b"%d" % number) for number in range(20)]
        reads = [request("GET", f"/v1/kv/k{number}?raw") for number in range(20)]
        await client.send(b"".join(requests) + b"".join(reads))
        for _ in requests:
            assert (await client.reply())[2] == b"true"
        for number in range(20):
            assert (await client.reply())[2] == b"%d" % number


async def test_more_answers_than_fit_the_buffers_all_arrive() -> None:
    async with http_site() as site, site.client() as client:
        value = b"v" * 400_000
        assert (await client.exchange(request("PUT", "/v1/kv/big", value)))[0] == 200
        await client.send(request("GET", "/v1/kv/big?raw") * 30)
        for _ in range(30):
            assert (await client.reply())[2] == value
        assert (await client.exchange(GET))[0] == 404


async def test_chunked_bodies_and_bytewise_arrival_are_understood() -> None:
    async with http_site() as site, site.client() as client:
        head = b"PUT /v1/kv/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        message = head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        for position in range(len(message)):
            await client.send(message[position : position + 1])
        assert (await client.reply())[2] == b"true"
        assert site.delegate.entries["c"].value == b"abcdefg"


async def test_a_chunked_body_over_the_limit_is_refused_while_it_arrives() -> None:
    async with http_site(quick(value_bytes_max=1000)) as site, site.client() as client:
        await client.send(b"PUT /v1/kv/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await client.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        status, headers, body = await client.reply()
        assert (status, headers["connection"]) == (413, "close")
        assert body == b"Value exceeds 1000 byte limit"
        await client.stream.send_eof()
        assert await client.is_closed()


async def test_a_refused_client_that_goes_on_sending_can_read_the_refusal() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(b"PUT /v1/kv/c HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n", b"x" * 900_000)
        assert (await client.reply())[0] == 413
        await client.stream.send_eof()
        assert await client.is_closed()


async def test_the_client_is_told_to_continue() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(b"PUT /v1/kv/c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.reply())[0] == 100
        assert (await client.exchange(b"ab"))[2] == b"true"
        await client.send(b"PUT /v1/kv/c HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.reply())[0] == 413


async def test_an_old_client_gets_its_answer_and_the_end_of_the_connection() -> None:
    async with http_site() as site, site.client() as client:
        status, headers, _ = await client.exchange(b"GET /v1/kv/a HTTP/1.0\r\n\r\n")
        assert (status, headers["connection"]) == (404, "close")
        assert await client.is_closed()


async def test_a_connection_that_is_to_stay_open_with_an_old_client_says_so() -> None:
    async with http_site() as site, site.client() as client:
        for _ in range(2):
            _, headers, _ = await client.exchange(b"GET /v1/kv/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert headers["connection"] == "keep-alive"


async def test_a_client_that_closes_its_sending_side_still_gets_its_answers() -> None:
    async with http_site() as site:
        for later in (False, True):
            site.delegate.answers_later = later
            async with site.client() as client:
                await client.send(GET + request("PUT", "/v1/kv/half", b"1") + GET)
                await client.stream.send_eof()
                assert [(await client.reply())[0] for _ in range(3)] == [404, 200, 404]
                assert await client.is_closed()


async def test_head_is_no_method() -> None:
    async with http_site() as site:
        status, headers, _ = await site.ask("HEAD", "/v1/kv/a")
        assert (status, headers["allow"]) == (405, "OPTIONS,GET,PUT,DELETE")


async def test_a_blocking_query_returns_when_its_key_changes() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(request("GET", f"/v1/kv/w?index={site.delegate.index}&wait=60s"))
        await until(lambda: site.delegate.waiting_count == 1)
        assert (await site.ask("PUT", "/v1/kv/w", b"1"))[0] == 200
        status, headers, _ = await client.reply()
        assert (status, int(headers["x-consul-index"])) == (200, site.delegate.index)


async def test_a_blocking_query_ends_when_its_client_hangs_up() -> None:
    async with http_site() as site:
        async with site.client() as client:
            await client.send(request("GET", f"/v1/kv/w?index={site.delegate.index}&wait=10m"))
            await until(lambda: site.delegate.waiting_count == 1)
        await until(lambda: site.delegate.waiting_count == 0)
        await until(lambda: site.listener.statistics().connections_count == 0)


async def test_a_write_goes_on_when_its_client_hangs_up() -> None:
    async with http_site() as site:
        async with site.client() as client:
            await client.send(request("PUT", "/v1/kv/w", b"1"))
        await until(lambda: "w" in site.delegate.entries)


async def test_many_blocked_queries_wait_and_wake() -> None:
    async with http_site(quick(connections_per_client_max=0)) as site:
        clients = []
        for _ in range(200):
            clients.append(RawClient(await trio.open_tcp_stream("127.0.0.1", site.port)))
            await clients[-1].send(request("GET", f"/v1/kv/w?index={site.delegate.index}&wait=10m"))
        await until(lambda: site.delegate.waiting_count == 200)
        await site.ask("PUT", "/v1/kv/w", b"1")
        for client in clients:
            assert (await client.reply())[0] == 200
            await client.stream.aclose()


async def test_one_answer_is_made_for_all_who_waited_and_fits_each_of_them() -> None:
    async with http_site() as site, site.client() as plain, site.client() as pretty, site.client() as packed:
        wait = f"/v1/kv/w?index={site.delegate.index}&wait=10m"
        site.delegate.shares_replies = True
        await plain.send(request("GET", wait))
        await pretty.send(request("GET", wait + "&pretty"))
        await packed.send(request("GET", wait, headers={"Accept-Encoding": "gzip"}))
        await until(lambda: site.delegate.waiting_count == 3)
        await site.ask("PUT", "/v1/kv/w", b"1")
        body = (await plain.reply())[2]
        assert json.loads(body)[0]["Value"] == "MQ=="
        assert json.loads((await pretty.reply())[2]) == json.loads(body)
        assert gzip.decompress((await packed.reply())[2]) == body
        again = site.delegate.index
        await plain.send(request("GET", f"/v1/kv/w?index={again}&wait=10m"))
        await until(lambda: site.delegate.waiting_count == 1)
        await site.ask("PUT", "/v1/kv/w", b"2")
        assert json.loads((await plain.reply())[2])[0]["Value"] == "Mg=="


async def test_waits_are_clamped_and_default_to_five_minutes() -> None:
    async with http_site() as site, site.client() as client:
        await site.ask("PUT", "/v1/kv/w", b"1")
        for query, wait_s in (("", 300.0), ("&wait=0s", 300.0), ("&wait=-5s", 300.0), ("&wait=1h", 600.0)):
            await client.exchange(request("GET", f"/v1/kv/w?index=1{query}"))
            assert site.delegate.calls[-1][1].options.wait_s == wait_s  # type: ignore[attr-defined]
        await client.exchange(request("GET", "/v1/kv/w?index=1&wait=9.87364s"))
        assert site.delegate.calls[-1][1].options.wait_s == 9.87364  # type: ignore[attr-defined]
        await client.exchange(request("GET", "/v1/kv/w?wait=10s"))
        assert site.delegate.calls[-1][1].options.wait_s == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("later", [False, True])
async def test_a_stale_answer_that_is_too_old_is_asked_for_again(later: bool) -> None:
    async with http_site() as site:
        site.delegate.answers_later = later
        site.delegate.meta_extra = {"last_contact_ms": 3000}
        _, headers, _ = await site.ask("GET", "/v1/kv/a?max_stale=2s")
        assert headers["x-consul-lastcontact"] == "0"
        _, headers, _ = await site.ask("GET", "/v1/kv/a?max_stale=4s")
        assert headers["x-consul-lastcontact"] == "3000"
        modes = [call.options.consistency.value for _, call in site.delegate.calls]  # type: ignore[attr-defined]
        assert modes == ["stale", "leader", "stale"]


async def test_errors_say_whether_a_write_may_have_happened() -> None:
    async with http_site() as site:
        site.delegate.error = NoLeader()
        status, headers, body = await site.ask("PUT", "/v1/kv/a", b"1")
        assert (status, headers["x-mesh-outcome"], body) == (500, "refused", b"No cluster leader")
        site.delegate.error = OutcomeUnknown("the proposal's deadline passed")
        status, headers, _ = await site.ask("PUT", "/v1/kv/a", b"1")
        assert (status, headers["x-mesh-outcome"]) == (500, "unknown")
        _, headers, _ = await site.ask("GET", "/v1/kv/a")
        assert "x-mesh-outcome" not in headers


async def test_a_defect_costs_one_request_and_not_the_listener(capfd: pytest.CaptureFixture[str]) -> None:
    async with http_site() as site:
        site.delegate.error = ZeroDivisionError("a defect")  # type: ignore[assignment]
        status, headers, body = await site.ask("PUT", "/v1/kv/a", b"1")
        assert (status, headers["x-mesh-outcome"], body) == (500, "unknown", b"Internal server error")
        site.delegate.error = None
        assert (await site.ask("GET", "/v1/kv/a"))[0] == 404
        assert site.listener.statistics().defects_count == 1


async def test_a_broken_invariant_stops_the_listener() -> None:
    with pytest.RaisesGroup(InvariantBroken, flatten_subgroups=True):
        async with http_site() as site:
            site.delegate.error = InvariantBroken("order of indexes")  # type: ignore[assignment]
            async with site.client() as client:
                await client.send(GET)
                await trio.sleep(PATIENCE_S)


async def test_bodies_are_compressed_for_those_who_ask() -> None:
    async with http_site() as site, site.client() as client:
        for size in (1, 300, 5000, 400_000):
            await client.exchange(request("PUT", "/v1/kv/z", b"z" * size))
            status, headers, body = await client.exchange(
                request("GET", "/v1/kv/z?raw", headers={"Accept-Encoding": "deflate, gzip"})
            )
            assert (status, headers["content-encoding"]) == (200, "gzip")
            assert gzip.decompress(body) == b"z" * size
        _, headers, body = await client.exchange(request("GET", "/v1/kv/z?raw"))
        assert "content-encoding" not in headers
        assert headers["vary"] == "Accept-Encoding"


async def test_configured_headers_are_on_every_answer() -> None:
    settings = HTTPSettings(
        response_headers={"access-control-allow-origin": "*"},
        translate_wan_addresses=True,
        block_endpoints=("/v1/agent",),
        pretty_always=True,
    )
    async with http_site(settings) as site:
        for method, target, status in (
            ("GET", "/v1/kv/a", 404),
            ("GET", "/v1/agent/self", 403),
            ("GET", "/v1/status/leader", 200),
            ("POST", "/v1/kv/a", 405),
        ):
            answer = await site.ask(method, target)
            assert answer[0] == status
            assert answer[1]["access-control-allow-origin"] == "*"
            assert answer[1]["x-consul-translate-addresses"] == "true"
            assert answer[1]["date"].endswith("GMT")
        assert (await site.ask("GET", "/v1/agent/self"))[2] == b"Endpoint is blocked by agent configuration"
        assert (await site.ask("GET", "/v1/status/peers"))[2] == b'[\n    "10.0.0.1:8300"\n]\n'


def test_headers_that_would_break_the_framing_are_refused() -> None:
    for headers in ({"X-A": "b\r\nX-C: d"}, {"X A": "b"}, {"": "b"}):
        with pytest.raises(ValueError, match="invalid response header"):
            HTTPListener(HTTPSettings(response_headers=headers), FakeDelegate(), FakeAgentInfo(), [])


async def test_connections_of_one_client_are_limited() -> None:
    async with http_site(quick(connections_per_client_max=2)) as site:
        async with site.client() as one, site.client() as two:
            assert (await one.exchange(GET))[0] == 404
            assert (await two.exchange(GET))[0] == 404
            async with site.client() as three:
                status, _, _ = await three.reply()
                assert status == 429
                assert await three.is_closed()
            assert (await one.exchange(GET))[0] == 404
        await until(lambda: site.listener.statistics().connections_count == 0)
        assert (await site.ask("GET", "/v1/kv/a"))[0] == 404


async def test_all_connections_together_are_limited() -> None:
    async with http_site(quick(connections_max=1)) as site, site.client() as one:
        assert (await one.exchange(GET))[0] == 404
        async with site.client() as two:
            assert await two.is_closed()
        assert (await one.exchange(GET))[0] == 404


@pytest.mark.parametrize(
    ("limit", "sent", "told"),
    [
        ("head_s", b"", False),
        ("head_s", b"GET /v1/kv/a HT", True),
        ("body_s", b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", True),
        ("body_s", b"PUT /v1/snapshot HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", False),
        ("idle_s", GET, False),
    ],
)
async def test_a_client_that_does_not_go_on_is_dropped(
    limit: str, sent: bytes, told: bool, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with http_site(quick(**{limit: 3.0})) as site, site.client() as client:
        await client.send(sent)
        if sent == GET:
            assert (await client.reply())[0] == 404
        if told:
            assert (await client.reply())[0] == 408
        assert await client.is_closed()
        assert site.listener.statistics().expired_count == 1


async def test_a_trickle_of_bytes_does_not_move_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with http_site(quick(head_s=5.0)) as site, site.client() as client:
        await client.send(b"GET /v1/kv/a HTTP/1.1\r\n")
        for _ in range(10):
            with suppress(trio.BrokenResourceError):
                await client.send(b"X: y\r\n")
            await trio.sleep(1.0)
        assert site.listener.statistics().expired_count == 1
        assert site.listener.statistics().connections_count == 0


async def test_a_pause_of_the_whole_process_is_nobodys_delay(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with http_site() as site, site.client() as client:
        assert (await client.exchange(GET))[0] == 404
        autojump_clock.jump(3600.0)
        await trio.sleep(1.0)
        assert (await client.exchange(GET))[0] == 404


async def test_a_client_that_takes_no_answer_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with http_site(quick(write_s=3.0)) as site, site.client() as client:
        await client.exchange(request("PUT", "/v1/kv/big", b"v" * 500_000))
        await client.send(request("GET", "/v1/kv/big?raw") * 100)
        await trio.sleep(5.0)
        assert site.listener.statistics().connections_count == 0


async def test_a_snapshot_streams_both_ways() -> None:
    async with http_site() as site, site.client() as client:
        status, headers, body = await client.exchange(request("GET", "/v1/snapshot?stale"))
        assert (status, headers["content-type"]) == (200, "application/x-gzip")
        assert int(headers["x-consul-index"]) == site.delegate.index
        assert body == b"archive-" + b"x" * 100_000 + b"-end"
        archive = b"archive-" + b"y" * 3_000_000
        assert (await client.exchange(request("PUT", "/v1/snapshot", archive)))[0] == 200
        assert site.delegate.restored == archive
        assert (await client.exchange(GET))[0] == 404


async def test_a_restore_announces_that_it_wants_the_body() -> None:
    async with http_site() as site, site.client() as client:
        await client.send(b"PUT /v1/snapshot HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.reply())[0] == 100
        assert (await client.exchange(b"archive-ab"))[0] == 200


async def test_a_refused_restore_is_answered_while_the_body_still_comes() -> None:
    async with http_site() as site, site.client() as client:
        site.delegate.error = NoLeader()
        await client.send(b"PUT /v1/snapshot HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n", b"x" * 500_000)
        status, headers, body = await client.reply()
        assert (status, headers["x-mesh-outcome"], body) == (500, "refused", b"No cluster leader")
        await client.stream.send_eof()
        assert await client.is_closed()


async def test_a_malformed_stale_or_broken_off_restore_is_refused() -> None:
    async with http_site() as site:
        status, _, body = await site.ask("PUT", "/v1/snapshot?stale", b"archive-ab")
        assert (status, body) == (500, b"stale not allowed for restore")
        status, _, body = await site.ask("PUT", "/v1/snapshot", b"nonsense")
        assert (status, body) == (400, b"the archive is no archive")
        async with site.client() as client:
            await client.send(b"PUT /v1/snapshot HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
            await client.send(b"cdeXX")
            assert (await client.reply())[0] == 400
        async with site.client() as client:
            await client.send(b"PUT /v1/snapshot HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\narchive-")
            await client.stream.send_eof()
            assert (await client.reply())[0] == 400
        assert site.delegate.restored == b"nonsense"


async def test_an_archive_that_breaks_off_has_no_last_chunk() -> None:
    async with http_site() as site, site.client() as client:
        site.delegate.archive_breaks = OutcomeUnknown("the server went away")
        with pytest.raises(EOFError):
            await client.exchange(request("GET", "/v1/snapshot"))


async def test_unix_sockets_serve_and_replace_dead_ones(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    listen_unix(path).close()
    sock = listen_unix(path, mode=0o600)
    with pytest.raises(OSError, match="in use"):
        listen_unix(path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="not a socket"):
        listen_unix(str(tmp_path / "file"))
    listener = HTTPListener(HTTPSettings(), FakeDelegate(), FakeAgentInfo(), [sock])
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        async with await trio.open_unix_socket(path) as stream:
            assert (await RawClient(stream).exchange(GET))[0] == 404
        nursery.cancel_scope.cancel()


async def test_agent_facts_have_their_shapes() -> None:
    async with http_site() as site:
        facts = json.loads((await site.ask("GET", "/v1/agent/self"))[2])
        assert facts["Config"]["Datacenter"] == "dc1"
        assert facts["Coord"] is None
        assert facts["Member"]["Addr"] == "10.0.0.1"
        assert facts["Stats"]["consul"]["leader"] == "true"
        member, _ = json.loads((await site.ask("GET", "/v1/agent/members"))[2])
        assert member == {
            "Name": "n1", "Addr": "10.0.0.1", "Port": 8301, "Tags": {"dc": "dc1", "role": "consul"}, "Status": 1,
            "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
        }  # fmt: skip
        servers = json.loads((await site.ask("GET", "/v1/operator/raft/configuration"))[2])["Servers"]
        assert servers[0]["Voter"] is True
        assert (await site.ask("POST", "/v1/operator/raft/transfer-leader"))[2] == b'{"Success":true}'


async def test_stopping_closes_all_connections() -> None:
    async with http_site() as site, site.client() as idle, site.client() as waiting:
        await idle.exchange(GET)
        await waiting.send(request("GET", f"/v1/kv/w?index={site.delegate.index}&wait=10m"))
        await until(lambda: site.delegate.waiting_count == 1)
        listener = site.listener
    assert listener.statistics().connections_count == 0
