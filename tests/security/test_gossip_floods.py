"""Floods of gossip: what they cost in memory, in lines of the log and in time is bounded, and probes are answered.

Weakness class: unbounded work for who has not proved to be anybody (as CVE-2020-7219 for HTTP and RPC).
"""

import random
import socket

import pytest
import trio

from base.codec import pack_old
from base.errors import TooLarge
from base.limits import Seldom
from gossip import instructions as ins
from gossip import intake, lzw, messages, packets
from gossip.deliveries import WAITING_MAX, Deliveries
from gossip.instructions import VERSIONS, MembersChanged, UserEventArrived
from gossip.intake import LONG_BYTES_MAX, LONG_BYTES_MIN, Intake
from gossip.messages import Ack, Ping
from gossip.push_pull import NodeState, PushPull, encode_push_pull
from tests.fakes.gossip_driver import HOST, Member, real_member

PATIENCE_S = 20.0
ANSWER_S_MAX = 0.5
"""After this a probe counts as missed."""


async def probe_s(port: int) -> float:
    """Return how long an answer to a ping takes."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        began_s = trio.current_time()
        await probe.sendto(messages.encode(Ping(sequence=7, node="a")), (HOST, port))
        answer, _ = await probe.recvfrom(2000)
        first, *_ = packets.split(packets.open_packet(answer, None))
        assert isinstance(messages.decode(first), Ack)
        return trio.current_time() - began_s


async def until_held(member: Member) -> None:
    """Wait until long messages are on their way in."""
    with trio.fail_after(30.0):
        while not member.driver._intake.held_bytes:
            await trio.sleep(0.001)


async def exchange(port: int, data: bytes) -> bytes:
    """Send one message on a stream and return the answer, b"" if there is none."""
    answer = b""
    stream = await trio.open_tcp_stream(HOST, port)
    try:
        await stream.send_all(data)
        async for piece in stream:
            answer += piece
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream)
    return answer


async def test_probes_are_answered_while_large_packed_messages_are_unpacked() -> None:
    table = encode_push_pull(PushPull(nodes=[NodeState(name=f"n{i}", host=HOST) for i in range(3)]))
    bomb = packets.compressed(table + random.Random(1).randbytes(2 << 20))  # takes the better part of a second
    with trio.fail_after(PATIENCE_S * 3):
        async with real_member() as member, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(exchange, member.port, bomb)
            await until_held(member)
            slowest_s = max([await probe_s(member.port) for _ in range(20)])
            nursery.cancel_scope.cancel()
    assert slowest_s < ANSWER_S_MAX


async def test_a_small_table_is_compared_while_long_streams_do_not_end() -> None:
    with trio.fail_after(PATIENCE_S):
        async with real_member() as member, trio.open_nursery() as nursery:
            endless = b"\x06" + pack_old({"Nodes": 1000, "UserStateLen": 0, "Join": False})
            endless += pack_old({"Name": b"x", "Pad": bytes(3000)}) * 200
            for _ in range(8):
                nursery.start_soon(exchange, member.port, endless)
            await until_held(member)
            table = encode_push_pull(PushPull(nodes=[NodeState(name="b", host=HOST, port=9, incarnation=1)]))
            assert await exchange(member.port, table)
            assert member.names == ["a", "b"]
            nursery.cancel_scope.cancel()


def test_all_long_messages_together_have_a_bound() -> None:
    account = Intake()
    with account.load() as first, account.load() as second:
        first.set(LONG_BYTES_MAX)
        second.set(LONG_BYTES_MIN)  # a short one is always taken
        with pytest.raises(TooLarge):
            second.set(LONG_BYTES_MIN + 1)
        first.set(1)
        second.set(LONG_BYTES_MAX)
        with pytest.raises(TooLarge):
            first.set(LONG_BYTES_MIN + 1)
    assert account.held_bytes == 0


async def test_streams_beyond_the_bound_are_closed_and_give_back_what_they_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "LONG_BYTES_MAX", 1 << 20)
    head = b"\x06" + pack_old({"Nodes": 1000, "UserStateLen": 0, "Join": False})
    large = head + pack_old({"Name": b"x", "Pad": bytes(3000)}) * 300
    with trio.fail_after(PATIENCE_S):
        async with real_member() as member:
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(exchange, member.port, large)
                await until_held(member)
                for _ in range(50):
                    assert member.driver._intake.held_bytes <= 1 << 20
                    await probe_s(member.port)
                nursery.cancel_scope.cancel()
            while member.driver._intake.held_bytes:
                await trio.sleep(0.01)


async def test_texts_of_others_open_no_new_line_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def warn(self: object, text: str, **fields: object) -> None:
        lines.append(text)

    monkeypatch.setattr("base.log.Logger.warn", warn)
    with trio.fail_after(PATIENCE_S):
        async with real_member() as member:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for number in range(1000):
                    # Each is refused with a number of its own in the text.
                    garbage = bytes([9, 0xDF]) + (2000 + number).to_bytes(4, "big")
                    sender.sendto(garbage, (HOST, member.port))
                    if number % 50 == 49:
                        await probe_s(member.port)
    assert lines == ["packet dropped"]


def test_what_is_told_seldom_is_counted() -> None:
    seldom = Seldom(10.0)
    assert [seldom.count(now_s) for now_s in (0.0, 1.0, 9.9, 10.0, 10.1, 25.0)] == [1, 0, 0, 3, 0, 2]


# Between gossip and the application


def event(number: int) -> UserEventArrived:
    return UserEventArrived(lamport_time=number, name="e", payload=b"", coalesce=False)


def changed(kind: str, *names: str) -> MembersChanged:
    return MembersChanged(
        kind=kind,
        members=[
            ins.Member(name=name, address=ins.Address(HOST, 1), tags={}, status=ins.Status.ALIVE, versions=VERSIONS)
            for name in names
        ],
    )


def test_news_of_members_are_put_together_and_keep_their_order() -> None:
    waiting = Deliveries()
    first = changed("join", "a")
    for instruction in (first, changed("join", "b"), changed("failed", "a"), event(1), changed("failed", "b")):
        waiting.put(instruction)
    assert waiting.members_changed
    batch = waiting.take()
    assert batch == [changed("join", "a", "b"), changed("failed", "a"), event(1), changed("failed", "b")]
    assert first == changed("join", "a"), "what was handed in is left alone"
    assert not waiting.members_changed
    assert not len(waiting)


def test_events_that_nobody_takes_are_dropped_and_counted_and_members_are_not() -> None:
    waiting = Deliveries()
    for number in range(WAITING_MAX + 5):
        waiting.put(event(number))
    waiting.put(changed("join", "a"))
    assert waiting.dropped_count == 5
    batch = waiting.take()
    assert len(batch) == WAITING_MAX + 1
    assert batch[-1] == changed("join", "a")
    assert waiting.dropped_count == 0


def test_a_packet_that_unpacks_to_much_is_refused_before_it_has() -> None:
    bomb = bytes([9]) + pack_old({"Algo": 0, "Buf": lzw.compress(bytes(1 << 20))})
    with pytest.raises(TooLarge):
        packets.open_packet(bomb, None)
