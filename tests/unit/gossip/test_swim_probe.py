"""Probes: direct, through others, by TCP; nacks and awareness; probes for others."""

from collections.abc import Callable

import pytest

from gossip.config import Timing
from gossip.instructions import OpenStream, SendPacket
from gossip.layers import State
from gossip.messages import Ack, IndirectPing, Message, Nack, Ping, Suspect, decode, encode
from gossip.packets import split
from gossip.probe import RELAYS_MAX
from tests.fakes.swim_group import STRANGER, Group, Peer

UNHURRIED = Timing(gossip_interval_s=1000.0, push_pull_interval_s=1000.0)
"""Nothing but probes, so that what is sent is known."""


def joined(count: int, **options: object) -> Group:
    group = Group(count, **options)  # type: ignore[arg-type]
    group.join_all()
    group.run(20.0)
    for peer in group.peers.values():
        peer.sent.clear()
    return group


def sent(peer: Peer, kind: type[Message]) -> list[Message]:
    return [message for _, message in peer.sent if type(message) is kind]


def no_streams(sender: Peer, receiver: Peer) -> bool:
    return False


def cut(one: str, other: str) -> Callable[[Peer, Peer, bytes], bool]:
    """Return a network in which these two do not hear each other."""
    return lambda sender, receiver, payload: {sender.name, receiver.name} != {one, other}


def test_a_healthy_group_probes_each_second_and_suspects_nobody() -> None:
    group = joined(5)
    group.run(60.0)
    for peer in group.peers.values():
        assert 59 <= len(sent(peer, Ping)) <= 61
        assert not sent(peer, Suspect) + sent(peer, IndirectPing)
        assert peer.swim.statistics().probes_failed_total == 0


def test_an_ack_brings_the_round_trip_and_the_payload() -> None:
    group = joined(2)
    group.run(1.0)
    name, rtt_s, payload = group["a"].upper.probes[-1]
    assert (name, payload) == ("b", b"\x01here")
    assert rtt_s == pytest.approx(0.002)


def test_when_the_direct_way_is_cut_others_answer_for_the_target() -> None:
    group = joined(5)
    group.passes, group.streams_pass = cut("a", "b"), no_streams
    probes_count = len(group["a"].upper.probes)
    group.run(30.0)
    assert group.all_alive()
    assert sent(group["a"], IndirectPing)
    assert group["a"].swim.statistics().probes_failed_total == 0
    names = {name for name, _, _ in group["a"].upper.probes[probes_count:]}
    assert names == set("cde"), "a way through others says nothing of the distance"


def test_when_udp_is_blocked_tcp_answers_and_a_warning_tells() -> None:
    group = joined(3)
    group.passes = lambda sender, receiver, payload: receiver.name != "c"
    group.run(30.0)
    assert group["a"].state_of("c") is State.ALIVE
    assert any("UDP" in log.text for log in group["a"].logs)


def test_nobody_reachable_by_any_way_stays_alive() -> None:
    group = joined(5)
    group.stop("e")
    took_s = group.run_until(group.all_alive, within_s=30.0)
    assert took_s < 3.0, "suspected"
    group.run(24.0)
    assert all(group[name].state_of("e") in (State.DEAD, None) for name in "abcd")


def test_nacks_acquit_the_prober() -> None:
    group = joined(5)
    group.stop("e")
    group.run(6.0)
    failed = [peer for peer in group.peers.values() if peer.swim.statistics().probes_failed_total]
    assert failed
    assert all(peer.swim.statistics().health_score == 0 for peer in failed)


def test_missing_nacks_count_against_the_prober() -> None:
    group = joined(5)
    group.passes, group.streams_pass = (
        (lambda sender, receiver, payload: "a" not in (sender.name, receiver.name)),
        no_streams,
    )
    group.run_until(lambda: group["a"].swim.statistics().probes_failed_total == 1, within_s=3.0)
    assert group["a"].swim.statistics().health_score == 3


def test_with_nobody_to_ask_a_failure_counts_one() -> None:
    group = joined(2)
    group.stop("b")
    group.run_until(lambda: group["a"].swim.statistics().probes_failed_total == 1, within_s=3.0)
    assert group["a"].swim.statistics().health_score == 1


def test_an_ailing_member_probes_more_slowly_and_recovers_with_each_success() -> None:
    group = joined(5)
    group["a"].swim._awareness.add(3)
    group.passes, group.streams_pass = (lambda sender, receiver, payload: sender.name != "a"), no_streams
    group.run_until(lambda: bool(sent(group["a"], IndirectPing)), within_s=3.0)
    started_s = group.now_s
    group.run_until(lambda: group["a"].swim.statistics().probes_failed_total == 1, within_s=5.0)
    assert group.now_s - started_s == pytest.approx(3.5)
    score = group["a"].swim.statistics().health_score
    group.passes = lambda sender, receiver, payload: True
    group.run(40.0)
    assert score > 0
    assert group["a"].swim.statistics().health_score == 0


def test_a_suspect_is_told_with_the_ping_so_that_it_can_refute_at_once() -> None:
    group = joined(3)
    a, b = group["a"], group["b"]
    a.swim._rumours.suspect(group.now_s, Suspect(incarnation=1, node="b", sender="a"))
    group.passes = lambda sender, receiver, payload: receiver.name != "b" or payload[:1] == b"\x07"
    group.run_until(lambda: b.swim.local.incarnation == 2, within_s=3.0)
    group.run_until(lambda: a.state_of("b") is State.ALIVE, within_s=1.0)


def test_without_lifeguard_there_is_no_nack_no_score_and_no_word_to_the_suspect() -> None:
    group = joined(5, lifeguard=False)
    group.stop("e")
    group.run_until(group.all_alive, within_s=30.0)
    group.run(3.0)
    for name in "abcd":
        assert not any(each.nack for each in sent(group[name], IndirectPing))  # type: ignore[attr-defined]
        assert not sent(group[name], Nack)
        assert group[name].swim.statistics().health_score == 0
    group.run(1.5)
    assert all(group[name].state_of("e") in (State.DEAD, None) for name in "abcd")


def test_acks_and_nacks_of_nothing_mean_nothing() -> None:
    group = joined(2)
    group.passes = lambda sender, receiver, payload: False
    group.run_until(lambda: bool(sent(group["a"], Ping)), within_s=2.0)
    sequence = group["a"].swim._prober._probe.sequence  # type: ignore[union-attr]
    count = len(group["a"].upper.probes)
    for message in (Ack(sequence=sequence - 1), Ack(sequence=sequence + 1), Nack(sequence=sequence), Nack(sequence=9)):
        group.deliver("a", encode(message))
    assert group["a"].swim._prober._probe is not None
    group.deliver("a", encode(Ack(sequence=sequence)))
    group.deliver("a", encode(Ack(sequence=sequence)))
    assert len(group["a"].upper.probes) == count + 1


# Probes for others


def test_who_is_asked_answers_with_the_askers_number_and_without_payload() -> None:
    group = joined(2, timing=UNHURRIED)
    group["a"].sent.clear()
    group.deliver("a", encode(IndirectPing(sequence=77, target="10.0.0.2", port=8301, node="b", nack=True)))
    group.run(0.9)
    assert (STRANGER, Ack(sequence=77)) in group["a"].sent
    assert not sent(group["a"], Nack)


def test_who_hears_nothing_either_says_so_before_the_asker_gives_up_and_passes_on_what_comes_later() -> None:
    group = joined(2, timing=UNHURRIED)
    delay_s = 0.45
    group.latency_s = lambda sender, receiver: delay_s / 2
    group.deliver("a", encode(IndirectPing(sequence=77, target="10.0.0.2", port=8301, node="b", nack=True)))
    start_s = group.now_s
    group.run_until(lambda: (STRANGER, Nack(sequence=77)) in group["a"].sent, within_s=1.0)
    assert group.now_s - start_s == pytest.approx(0.4)
    group.run_until(lambda: (STRANGER, Ack(sequence=77)) in group["a"].sent, within_s=1.0)
    assert group.now_s - start_s == pytest.approx(delay_s)


def test_nobody_gets_a_nack_without_wanting_it() -> None:
    group = joined(2)
    group.deliver("a", encode(IndirectPing(sequence=77, target="10.0.0.99", port=8301, node="b", nack=False)))
    group.run(2.0)
    assert not sent(group["a"], Nack)
    assert not group["a"].swim._prober._relays


def test_probes_for_others_are_bounded() -> None:
    group = joined(1)
    for number in range(RELAYS_MAX + 10):
        group.deliver("a", encode(IndirectPing(sequence=number, target="10.0.0.99", port=8301, node="b", nack=True)))
    assert len(group["a"].swim._prober._relays) == RELAYS_MAX
    group.run(1.0)
    assert len(group["a"].swim._prober._relays) == 0


def test_port_zero_means_our_own() -> None:
    group = joined(2)
    group.deliver("a", encode(IndirectPing(sequence=77, target="10.0.0.2", node="b")))
    group.run(0.1)
    assert (STRANGER, Ack(sequence=77)) in group["a"].sent


# Pings to us


@pytest.mark.parametrize(("node", "answered"), [("a", True), ("", True), ("b", False), ("A", False)])
def test_a_ping_is_answered_if_it_is_for_us(node: str, answered: bool) -> None:
    group = joined(1)
    group.deliver("a", encode(Ping(sequence=5, node=node)))
    assert ((STRANGER, Ack(sequence=5, payload=b"\x01here")) in group["a"].sent) is answered


def test_a_probe_asks_by_tcp_with_its_own_deadline() -> None:
    group = joined(2, timing=UNHURRIED)
    swim = group["a"].swim
    out: list[object] = []
    while not any(isinstance(each, OpenStream) for each in out):
        now_s = swim.next_deadline_s()
        swim.tick(now_s)
        out += group["a"].out
        group["a"].out.clear()
    pings = [each for each in out if isinstance(each, SendPacket)]
    stream = next(each for each in out if isinstance(each, OpenStream))
    ping = decode(split(pings[-1].payload)[0])
    assert decode(stream.message) == ping == Ping(sequence=ping.sequence, node="b")  # type: ignore[attr-defined]
    assert stream.deadline_s == pytest.approx(now_s + 0.5)
