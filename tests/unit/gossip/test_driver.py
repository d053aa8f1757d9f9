"""The driver on real sockets: what comes in is opened or dropped, what goes out arrives, and everything has a bound."""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from base.errors import Unreachable
from gossip import driver as driver_module
from gossip import instructions as ins
from gossip.driver import LOG_PAUSE_S, STREAMS_OUT_MAX, STREAMS_PER_SOURCE_MAX
from gossip.instructions import Address
from tests.fakes.gossip_member import HOST, QUICK, LoneMember, running, until

OLD, NEW = b"o" * 16, b"n" * 32


async def join(one: LoneMember, other: LoneMember) -> ins.JoinResult:
    result: ins.JoinResult = await one.driver.ask(ins.JoinWanted, addresses=[other.address])
    return result


def alive(*members: LoneMember) -> dict[str, str]:
    return {member.name: "alive" for member in members}


# Two who meet


async def test_who_joins_is_known_to_all_and_events_reach_everybody(tmp_path: Path) -> None:
    one, two, three = (LoneMember(name, folder=tmp_path / name) for name in ("one", "two", "three"))
    async with running(one, two, three):
        assert (await join(two, one)).contacted_count == 1
        assert (await join(three, two)).contacted_count == 1
        for member in (one, two, three):
            await until(lambda member=member: member.statuses() == alive(one, two, three))  # type: ignore[misc]
        assert await one.driver.ask(ins.UserEventWanted, name="deploy", payload=b"v2", coalesce=False) is None
        for member in (one, two, three):
            await until(partial(_heard, member, "deploy"))
        assert one.driver.addresses_of(["two", "nobody"]) == [f"{HOST}:{two.address.port}"]
        for member in (one, two, three):
            await until(partial(_wrote, tmp_path / member.name, "three"))


def _wrote(folder: Path, name: str) -> bool:
    path = folder / "serf" / "local.snapshot"
    return path.exists() and f"alive: {name} " in path.read_text()


def _heard(member: LoneMember, name: str) -> bool:
    return [each.name for each in member.delivered if isinstance(each, ins.UserEventArrived)] == [name]


async def test_a_farewell_is_heard_and_on_disk_before_the_sockets_close(tmp_path: Path) -> None:
    one, two = LoneMember("one"), LoneMember("two", folder=tmp_path)
    async with running(one):
        async with running(two):
            await join(two, one)
            await two.driver.ask(ins.LeaveWanted)
        await until(lambda: one.statuses() == {"one": "alive", "two": "left"})
    assert (tmp_path / "serf" / "local.snapshot").read_text().count("leave\n") == 1


async def test_a_member_that_falls_silent_is_dead_soon_and_its_sockets_are_free() -> None:
    one, two = LoneMember("one"), LoneMember("two")
    async with running(one):
        async with running(two):
            await join(two, one)
            await until(lambda: one.statuses() == alive(one, two))
        await until(lambda: one.statuses() == {"one": "alive", "two": "failed"})
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(two.address)


async def test_an_operation_that_nobody_waits_for_any_more_ends_without_harm() -> None:
    one, two = LoneMember("one"), LoneMember("two")
    async with running(one, two):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(join, one, two)
            while not one.driver._waiting:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await until(lambda: one.statuses() == alive(one, two))
        one.driver.tell(ins.ForceLeaveWanted, operation=0, name="nobody", prune=False)
        assert (await join(two, one)).contacted_count == 1


# Keys


async def test_a_key_keeps_out_who_has_another_one_and_lets_in_who_has_it(capfd: pytest.CaptureFixture[str]) -> None:
    one, two, plain, stranger = (
        LoneMember(name, keys=keys)
        for name, keys in (("one", [OLD]), ("two", [NEW, OLD]), ("plain", []), ("stranger", [b"s" * 16]))
    )
    async with running(one, two, plain, stranger):
        for outsider in (stranger, plain):  # the log tells the first one's reason, and counts the other
            result = await join(outsider, one)
            assert result.contacted_count == 0
            (text,) = result.errors.values()
            assert text
        one.driver._keyring = two.driver._keyring  # as after an install
        assert (await join(two, one)).contacted_count == 1
        await until(lambda: one.statuses() == alive(one, two))
    said = capfd.readouterr().out
    assert "no installed key opens it" in said
    assert OLD.decode() not in said


async def test_in_a_change_to_keys_clear_packets_are_taken_where_that_is_allowed() -> None:
    sealed = LoneMember("sealed", keys=[OLD], verify_incoming=False, verify_outgoing=False)
    plain = LoneMember("plain")
    async with running(sealed, plain):
        assert (await join(plain, sealed)).contacted_count == 1
        await until(lambda: sealed.statuses() == plain.statuses() == alive(sealed, plain))


async def test_a_key_that_is_installed_opens_at_once_and_is_on_disk(tmp_path: Path) -> None:
    one, two = LoneMember("one", keys=[OLD], folder=tmp_path), LoneMember("two", keys=[OLD])
    async with running(one, two):
        await join(two, one)
        for verb, key, keys in (("install", NEW, 2), ("use", NEW, 2), ("remove", OLD, 1)):
            await until(lambda: one.statuses() == two.statuses() == alive(one, two))
            result = await two.driver.ask(ins.KeyringWanted, verb=verb, key=key)
            assert (result.error, result.answers_count) == ("", 2), result
            assert len(one.driver.machine.keys()) == keys
    assert one.files.read_keyring(None) is not None
    assert (tmp_path / "serf" / "local.keyring").stat().st_mode & 0o777 == 0o600


# What strangers send


async def test_garbage_is_dropped_said_once_and_hurts_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    one, two = LoneMember("one"), LoneMember("two")
    async with running(one, two):
        await join(two, one)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(300):
                sender.sendto(bytes([0xC1]) * (number % 50), one.address)
                sender.sendto(b"\x0c" + bytes([number % 256]) * 40, one.address)
        for data in (b"", b"\xff" * 4096, b"\x09\x81", b"\x0a\xff\xff\xff\xff" + bytes(64)):
            stream = await trio.open_tcp_stream(*one.address)
            with trio.move_on_after(0.1):
                await stream.send_all(data)
                await stream.receive_some(64)
            await stream.aclose()
        assert (await join(two, one)).contacted_count == 1
        assert one.statuses() == alive(one, two)
    assert "Traceback" not in capfd.readouterr().out


def test_a_flood_of_reasons_is_no_flood_of_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    member = LoneMember("one")
    driver = member.make_driver(member.delivered.append)
    now_s = 1000.0
    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    for number in range(10_000):
        driver._complain("packet dropped", "10.0.0.9:1", f"reason {number}")
    assert capfd.readouterr().out.count("packet dropped") == 1
    now_s += LOG_PAUSE_S
    driver._complain("packet dropped", "10.0.0.9:1", "a new reason")
    said = capfd.readouterr().out
    assert "count=10000" in said
    assert "a new reason" in said
    member.udp.close()
    member.tcp.close()


async def test_hosts_that_are_not_allowed_are_not_heard() -> None:
    allowed: list[bool] = [False]
    one, two = LoneMember("one", is_allowed=lambda host: allowed[0]), LoneMember("two")
    async with running(one, two):
        assert (await join(two, one)).contacted_count == 0
        assert one.statuses() == alive(one)
        allowed[0] = True
        assert (await join(two, one)).contacted_count == 1


# Bounds


async def test_silent_streams_are_few_by_source_and_end_by_themselves() -> None:
    one = LoneMember("one", timing=replace(QUICK, tcp_timeout_s=0.5))
    two = LoneMember("two")
    async with running(one, two):
        silent = [await trio.open_tcp_stream(*one.address) for _ in range(STREAMS_PER_SOURCE_MAX)]
        await until(lambda: one.driver._cap.count == STREAMS_PER_SOURCE_MAX)
        assert (await join(two, one)).contacted_count == 0, "one more from this address is too much"
        for stream in silent:
            assert await stream.receive_some(1) == b""
            await stream.aclose()
        await until(lambda: one.driver._cap.count == 0)
        assert (await join(two, one)).contacted_count == 1


async def test_no_more_streams_are_dialled_at_a_time_than_are_sensible() -> None:
    one = LoneMember("one", network=Nowhere())
    async with running(one):
        refused = await open_streams(one, STREAMS_OUT_MAX + 5)
        assert refused == ["too many streams"] * 5
        assert one.driver._streams_out_count == STREAMS_OUT_MAX


class Nowhere:
    """Dials that never end."""

    async def dial(self, host: str, port: int, timeout_s: float) -> Any:
        await trio.sleep_forever()


async def open_streams(member: LoneMember, count: int) -> list[str]:
    """Have the driver dial; return what it says of those that it does not even try."""
    failures: list[str] = []
    driver = member.driver
    handle: Callable[[ins.Event], None] = driver._handle

    def watch(event: ins.Event) -> None:
        if isinstance(event, ins.StreamFailed):
            failures.append(event.text)
        else:
            handle(event)

    driver._handle = watch  # type: ignore[method-assign]
    for number in range(count):
        driver._open_stream(
            ins.OpenStream(
                stream_id=1000 + number, to=Address(HOST, 1), message=b"x", deadline_s=trio.current_time() + 60.0
            )
        )
    await trio.testing.wait_all_tasks_blocked()
    return failures


async def test_an_exchange_with_one_who_never_answers_ends_at_its_deadline() -> None:
    one = LoneMember("one")
    listening = socket.create_server((HOST, 0))
    address = Address(HOST, listening.getsockname()[1])
    async with running(one):
        result = await one.driver.ask(ins.JoinWanted, addresses=[address])
        assert result.contacted_count == 0
        assert list(result.errors.values()) == ["i/o timeout"]
        assert one.driver._streams_out_count == 0
    listening.close()


async def test_one_who_answers_with_nonsense_is_named() -> None:
    one = LoneMember("one")
    async with running(one), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        address = Address(HOST, listeners[0].socket.getsockname()[1])

        async def answer(stream: trio.SocketStream) -> None:
            await stream.receive_some(1024)
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        nursery.start_soon(trio.serve_listeners, answer, listeners)
        result = await one.driver.ask(ins.JoinWanted, addresses=[address])
        assert result.contacted_count == 0
        assert list(result.errors) == [f"{HOST}:{address.port}"]
        nursery.cancel_scope.cancel()


async def test_a_disk_that_stands_still_costs_lines_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = LoneMember("one", folder=tmp_path), LoneMember("two")
    monkeypatch.setattr(driver_module, "WRITES_WAITING_MAX", 4)
    blocked = trio.Event()

    async def stand_still(*arguments: Any, **options: Any) -> None:
        await blocked.wait()

    monkeypatch.setattr(trio.to_thread, "run_sync", stand_still)
    async with running(one, two):
        for number in range(20):
            one.driver._write(ins.WriteSnapshot(text=f"clock: {number}\n"))
        assert (await join(two, one)).contacted_count == 1
        blocked.set()
    assert "the disk does not keep up with the snapshot of members" in capfd.readouterr().out


async def test_keys_that_the_disk_did_not_take_at_once_do_not_come_back_after_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = LoneMember("one", folder=tmp_path, keys=[b"a" * 16])
    monkeypatch.setattr(driver_module, "WRITES_WAITING_MAX", 1)
    async with running(one):
        for number in range(2):  # the first one goes to the task that writes, which has no turn in here
            one.driver._write(ins.WriteSnapshot(text=f"clock: {number}\n"))
        one.driver._write(ins.WriteKeyring(keys=[b"b" * 16]))
        one.driver._writes_out.receive_nowait()
        one.driver._write(ins.WriteKeyring(keys=[b"c" * 16]))
        assert one.driver._more_writes() == [ins.WriteKeyring(keys=[b"c" * 16])]


async def test_a_closed_socket_ends_the_driver_with_an_error() -> None:
    one = LoneMember("one")
    with pytest.RaisesGroup(Unreachable, flatten_subgroups=True):
        async with running(one):
            one.driver._datagrams.close()
            await trio.sleep_forever()
