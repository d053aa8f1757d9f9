"""Garbage, replays, time that jumps, partitions, loss."""

import random

import pytest

from base.errors import ConfigInvalid, InvalidRequest
from gossip.config import Settings
from gossip.layers import State
from gossip.messages import Ack, Alive, Dead, ErrorMessage, IndirectPing, Nack, Ping, Suspect, encode
from gossip.packets import compound
from gossip.swim import Swim
from tests.fakes.swim_group import FakeUpper, Group

VALID = [
    encode(each)
    for each in (
        Ping(sequence=1, node="a"),
        IndirectPing(sequence=1, target="10.0.0.2", port=8301, node="b", nack=True),
        Ack(sequence=1, payload=b"\x01x"),
        Nack(sequence=1),
        Suspect(incarnation=1, node="b", sender="c"),
        Dead(incarnation=1, node="b", sender="c"),
        Alive(incarnation=1, node="b", host="10.0.0.2", port=8301, meta=b"\xff\x80"),
        ErrorMessage(text="?"),
    )
]


@pytest.mark.parametrize("seed", range(5))
def test_garbage_harms_nobody_and_does_not_fill_the_log(seed: int) -> None:
    rng = random.Random(seed)
    group = Group(3, seed=seed)
    group.join_all()
    for _ in range(2_000):
        data = bytearray(rng.choice([*VALID, compound(rng.sample(VALID, 3)), rng.randbytes(rng.randrange(60))]))
        for _ in range(rng.randrange(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        group.deliver("a", bytes(data[: rng.randrange(len(data) + 1)]))
    assert len(group["a"].logs) < 200, f"seed {seed}"
    group.run(120.0)
    assert {node.name for node in group["a"].swim.nodes.values() if node.state is State.ALIVE} >= set("abc")


def test_an_hour_of_replayed_packets_changes_nothing() -> None:
    group = Group(3)
    recorded: list[tuple[str, bytes]] = []
    group.passes = lambda sender, receiver, payload: recorded.append((receiver.name, payload)) or True  # type: ignore[func-returns-value]
    group.join_all()
    group["c"].swim.set_meta(group.now_s, b"\xff\x81\xa1x\xa1y")
    group.run(20.0)
    group.passes = lambda *_: True
    before = [
        sorted((n.name, n.incarnation, n.meta, n.address) for n in group[each].swim.nodes.values()) for each in "abc"
    ]
    for name, payload in recorded * 3:
        group.deliver(name, payload)
    group.run(5.0)
    after = [
        sorted((n.name, n.incarnation, n.meta, n.address) for n in group[each].swim.nodes.values()) for each in "abc"
    ]
    assert after == before
    assert group.all_alive()


@pytest.mark.parametrize("reads_first", [False, True])
@pytest.mark.parametrize("gap_s", [2.0, 30.0, 3600.0])
def test_a_member_that_stood_still_accuses_nobody_and_comes_back(gap_s: float, reads_first: bool) -> None:
    group = Group(5)
    group.join_all()
    group.run(10.0)
    for peer in group.peers.values():
        peer.upper.events.clear()
    group.freeze("a", gap_s, reads_first=reads_first)
    group.run(gap_s)
    assert group["a"].swim.statistics().health_score > 0
    group.run_until(group.all_alive, within_s=60.0)
    group.run(5.0)
    assert group["a"].upper.events == []
    assert group["a"].swim.statistics().stalls_total == 1
    for name in "bcde":
        assert {about for _, about in group[name].upper.events} <= {"a"}


def test_suspicions_that_ran_out_while_a_member_stood_still_get_their_time_back() -> None:
    group = Group(5)
    group.join_all()
    group.run(10.0)
    group.stop("e")
    group.run_until(lambda: group["a"].state_of("e") is State.SUSPECT, within_s=10.0)
    group.passes = lambda sender, receiver, payload: receiver.name != "a"
    group.freeze("a", 600.0)
    group.run(600.0)
    assert group["a"].state_of("e") is State.SUSPECT
    group.run(30.0)
    assert group["a"].state_of("e") in (State.DEAD, None)


def test_an_answer_that_waited_in_the_socket_still_counts_but_not_as_a_distance() -> None:
    group = Group(2)
    group.join_all()
    group.run(10.0)
    a = group["a"]
    count = len([1 for _, message in a.sent if isinstance(message, Ping)])
    group.run_until(lambda: len([1 for _, message in a.sent if isinstance(message, Ping)]) > count, within_s=2.0)
    probes_count = len(a.upper.probes)
    group.freeze("a", 20.0)
    group.run(20.5)
    assert a.swim.statistics().probes_failed_total == 0
    assert all(rtt_s < 0.1 for _, rtt_s, _ in a.upper.probes[probes_count:])


def test_a_late_tick_runs_each_timer_once() -> None:
    group = Group(2)
    group.join_all()
    group.run(5.0)
    a = group["a"]
    a.sent.clear()
    a.swim.tick(group.now_s + 3600.0)
    a.swim.tick(group.now_s + 3600.0)
    group._after(a)
    assert len(a.sent) <= 3


def test_without_lifeguard_time_is_taken_as_it_comes() -> None:
    group = Group(5, lifeguard=False)
    group.join_all()
    group.freeze("a", 30.0)
    group.run(40.0)
    assert group["a"].swim.statistics().stalls_total == 0


@pytest.mark.parametrize("seed", range(3))
def test_two_halves_forget_each_other_and_find_together_by_one_exchange(seed: int) -> None:
    group = Group(6, seed=seed)
    group.join_all()
    group.passes = lambda sender, receiver, payload: (sender.name in "abc") is (receiver.name in "abc")
    group.streams_pass = lambda sender, receiver: (sender.name in "abc") is (receiver.name in "abc")
    group.run(90.0)
    alive = [{node.name for node in group[each].swim.nodes.values() if node.state is State.ALIVE} for each in "ad"]
    assert alive == [set("abc"), set("def")]
    group.passes, group.streams_pass = lambda *_: True, lambda *_: True
    assert group.join("a", "d") == ""
    group.run_until(group.all_alive, within_s=10.0)


@pytest.mark.parametrize("seed", range(3))
def test_thirty_seconds_of_half_the_packets_lost_leave_everybody_alive_in_the_end(seed: int) -> None:
    group = Group(5, seed=seed)
    group.join_all()
    group.passes = lambda *_: group.rng.random() < 0.5
    group.streams_pass = lambda *_: group.rng.random() < 0.5
    group.run(30.0)
    group.passes, group.streams_pass = lambda *_: True, lambda *_: True
    group.run_until(group.all_alive, within_s=45.0)


def test_an_address_must_be_one() -> None:
    for host in ("localhost", "", "1.2.3"):
        settings = Settings(name="a", host=host, port=8301, tags={})
        with pytest.raises(ConfigInvalid, match="IP address"):
            Swim(settings, rng=random.Random(0), upper=FakeUpper(), out=[])
    settings = Settings(name="a", host="0:0:0::1", port=8301, tags={})
    assert Swim(settings, rng=random.Random(0), upper=FakeUpper(), out=[]).local.address.host == "::1"


def test_meta_data_over_their_limit_are_refused_before_the_start_and_after() -> None:
    group = Group(1)
    swim = group["a"].swim
    with pytest.raises(InvalidRequest, match="513 bytes"):
        swim.set_meta(group.now_s, bytes(513))
    swim.set_meta(group.now_s, bytes(512))
    assert swim.local.incarnation == 2
    settings = Settings(name="a", host="10.0.0.1", port=8301, tags={})
    fresh = Swim(settings, rng=random.Random(0), upper=FakeUpper(), out=[])
    fresh.set_meta(0.0, b"early")
    assert (fresh.local.meta, fresh.local.incarnation) == (b"early", 1)
