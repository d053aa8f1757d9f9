"""Each call ends as one line, and its outcome is what the server's answer, or its silence, allows to say."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count

import pytest
import trio

from jepsen.client import HTTP, NOT_CLAIMED, Answer, CallFailed, CallUnclear, Client
from jepsen.history import Operation, Outcome

REFUSED = b"X-Mesh-Outcome: refused\r\n"
UNKNOWN = b"X-Mesh-Outcome: unknown\r\n"
KEY = b'[{"Key":"a","Value":"YQ==","ModifyIndex":7,"CreateIndex":5,"Flags":0,"LockIndex":0}]'


def answer(status: int, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nX-Consul-Index: 9\r\n%b\r\n%b" % (status, len(body), headers, body)


async def outcome_of(reply: bytes, action: Callable[[HTTP], Awaitable[Answer]]) -> Operation:
    """One call against a server that says `reply` and closes."""
    lines: list[Operation] = []

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(reply)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        clock = count()
        client = Client(
            address=f"127.0.0.1:{port}",
            node="n",
            workload="w",
            process=3,
            record=lines.append,
            now_ns=lambda: next(clock),
        )
        returned = await client.call("f", action, key="a", value=1, mode="default")
        client.close()
        nursery.cancel_scope.cancel()
    assert lines == [returned]
    assert returned.began_ns < returned.ended_ns
    return returned


async def put(http: HTTP) -> Answer:
    return Answer(happened=await http.put("a", "b"))


async def get(http: HTTP) -> Answer:
    entry, index = await http.get("a")
    return Answer(output=entry.value if entry else None, index=index)


async def transact(http: HTTP) -> Answer:
    return Answer(happened=await http.txn([{"Verb": "set", "Key": "a", "Value": "b"}]) is not None)


@pytest.mark.parametrize(
    ("reply", "action", "outcome"),
    [
        (answer(200, b"true"), put, Outcome.OK),
        (answer(200, b"false"), put, Outcome.FAILED),
        (answer(500, b"No cluster leader", REFUSED), put, Outcome.FAILED),
        (answer(500, b"leadership lost", UNKNOWN), put, Outcome.UNKNOWN),
        (answer(500, b"who knows"), put, Outcome.UNKNOWN),
        (answer(400, b"bad"), put, Outcome.FAILED),
        (answer(429, b"too fast", REFUSED), put, Outcome.FAILED),
        (b"", put, Outcome.UNKNOWN),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntr", put, Outcome.UNKNOWN),
        (answer(200, KEY), get, Outcome.OK),
        (answer(404, b""), get, Outcome.OK),
        (answer(500, b"No cluster leader"), get, Outcome.FAILED),
        (b"", get, Outcome.FAILED),
        (answer(200, b'{"Results":null,"Errors":null}'), transact, Outcome.OK),
        (answer(409, b'{"Errors":[]}'), transact, Outcome.FAILED),
        (answer(500, b"x", UNKNOWN), transact, Outcome.UNKNOWN),
    ],
)
async def test_the_outcome_is_what_may_be_said(
    reply: bytes, action: Callable[[HTTP], Awaitable[Answer]], outcome: Outcome
) -> None:
    assert (await outcome_of(reply, action)).outcome is outcome


async def test_a_key_is_read_with_its_indexes() -> None:
    found = []

    async def look(http: HTTP) -> Answer:
        entry, index = await http.get("a")
        found.append(entry)
        return Answer(index=index)

    operation = await outcome_of(answer(200, KEY), look)
    assert operation.index == 9
    assert found[0] is not None
    assert (found[0].value, found[0].modify_index, found[0].create_index) == ("a", 7, 5)


async def test_a_server_that_is_not_there_has_certainly_done_nothing() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    http = HTTP(f"127.0.0.1:{port}")
    with pytest.raises(CallFailed):
        await http.put("a", "b")


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_a_silent_server_leaves_a_write_unknown_and_a_read_failed() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
        http = HTTP(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(CallUnclear):
            await http.put("a", "b")
        with pytest.raises(CallFailed):
            await http.get("a")
        nursery.cancel_scope.cancel()


async def test_a_cancelled_call_is_recorded_as_unknown() -> None:
    lines: list[Operation] = []
    client = Client(address="127.0.0.1:1", node="n", workload="w", process=1, record=lines.append, now_ns=lambda: 5)

    async def hang(http: HTTP) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    with trio.move_on_after(0.01):
        await client.call("write", hang)
    assert [line.outcome for line in lines] == [Outcome.UNKNOWN]


@pytest.mark.parametrize(("headers", "is_said"), [(b"", True), (UNKNOWN, False)])
async def test_an_error_that_claims_no_outcome_is_told_from_one_that_does(headers: bytes, is_said: bool) -> None:
    operation = await outcome_of(answer(500, b"leadership lost", headers), put)
    assert operation.outcome is Outcome.UNKNOWN
    assert (NOT_CLAIMED in operation.error) is is_said


@pytest.mark.parametrize("body", [b"<html>", b"3", b'"a"', b"[{}]", b'[{"Key":1}]', b"[[]]"])
async def test_an_answer_that_is_none_of_the_api_leaves_everything_open(body: bytes) -> None:
    for action in (get, transact):
        operation = await outcome_of(answer(200, body), action)
        assert operation.outcome is Outcome.UNKNOWN
        assert "cannot be understood" in operation.error


async def test_what_is_no_http_at_all_leaves_a_write_open() -> None:
    operation = await outcome_of(b"SSH-2.0-x\r\n\r\n", put)
    assert (operation.outcome, "no answer in HTTP" in operation.error) == (Outcome.UNKNOWN, True)
