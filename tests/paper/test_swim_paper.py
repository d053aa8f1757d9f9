"""Sentences of SWIM (Das, Gupta, Motivala, 2002) and of Lifeguard (Dadgar, Phillips, Currey, 2018), one test each.

In our own words; the number is that of the paper's section.
"""

import math

import pytest

from gossip.config import LAN
from gossip.layers import State
from gossip.messages import Ack, Alive, IndirectPing, Nack, Ping, Suspect, encode
from tests.fakes.swim_group import Group, Peer


def joined(count: int, *, seed: int = 0, lifeguard: bool = True, quiet_s: float = 20.0) -> Group:
    group = Group(count, seed=seed, lifeguard=lifeguard)
    group.join_all()
    group.run(quiet_s)
    for peer in group.peers.values():
        peer.sent.clear()
        peer.upper.events.clear()
    return group


def targets(peer: Peer) -> list[str]:
    """Return whom it pinged, in order."""
    return [message.node for _, message in peer.sent if isinstance(message, Ping)]


def batches(names: list[str], count: int) -> list[list[str]]:
    """Return whole batches of so many."""
    return [names[start : start + count] for start in range(0, len(names) - count + 1, count)]


def buried(group: Group, name: str) -> bool:
    """Whether all others hold it for dead."""
    others = [peer for peer in group.peers.values() if peer.up and peer.name != name]
    return all(peer.state_of(name) in (State.DEAD, None) for peer in others)


# --- SWIM 3.1: failure detector


def test_swim_3_1_each_member_pings_one_other_member_in_each_period() -> None:
    group = joined(6)
    group.run(30.0)
    for peer in group.peers.values():
        assert 29 <= len(targets(peer)) <= 31


def test_swim_3_1_without_an_answer_k_others_are_asked_to_ping() -> None:
    group = joined(8)
    group.stop("h")
    group.run(10.0)
    for peer in group.peers.values():
        asked = [message for _, message in peer.sent if isinstance(message, IndirectPing)]
        probed = {message.sequence for message in asked}
        assert len(asked) == LAN.indirect_checks_count * len(probed)
        assert {message.node for message in asked} <= {"h"}


def test_swim_3_1_an_ack_that_comes_back_through_another_member_is_as_good_as_a_direct_one() -> None:
    group = joined(6)
    group.passes = lambda sender, receiver, payload: {sender.name, receiver.name} != {"a", "b"}
    group.streams_pass = lambda sender, receiver: False
    group.run(60.0)
    assert group.all_alive()
    assert not any(peer.swim.statistics().suspicions_total for peer in group.peers.values())


def test_swim_3_1_sequence_numbers_keep_late_answers_from_counting_for_later_periods() -> None:
    group = joined(2)
    late = [message for _, message in group["b"].sent if isinstance(message, Ack)]
    group.run(3.0)
    late = [message for _, message in group["b"].sent if isinstance(message, Ack)] or late
    group.stop("b")
    group.run(1.0)
    for message in late * 10:
        group.deliver("a", encode(message))
    group.run_until(lambda: group["a"].state_of("b") is State.SUSPECT, within_s=4.0)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_swim_3_1_the_load_of_a_member_does_not_depend_on_the_size_of_the_group(count: int) -> None:
    group = joined(count)
    group.run(30.0)
    for peer in group.peers.values():
        assert 50 <= len(peer.sent) <= 70, "a ping a second, and an ack for each that comes"


# --- SWIM 3.2, 4.1: dissemination rides on the failure detector's packets


def test_swim_4_1_news_reach_everybody_without_packets_of_their_own() -> None:
    group = joined(8)
    for peer in group.peers.values():
        peer.swim._timers.cancel("gossip")
        peer.swim._timers.cancel("push_pull")
    group["a"].swim.set_meta(group.now_s, b"\xff\x81\xa1x\xa1y")
    group.run_until(lambda: all(p.swim.nodes["a"].incarnation == 2 for p in group.peers.values()), within_s=12.0)


def test_swim_4_1_each_member_sends_a_piece_of_news_on_a_number_of_times_logarithmic_in_the_group() -> None:
    group = joined(8)
    group["a"].swim.set_meta(group.now_s, b"\xff\x81\xa1x\xa1y")
    group.run(30.0)
    for peer in group.peers.values():
        times = [m for _, m in peer.sent if isinstance(m, Alive) and m.node == "a" and m.incarnation == 2]
        assert len(times) == LAN.retransmit_multiplier * math.ceil(math.log10(9))


def test_swim_4_1_news_that_were_sent_less_often_go_first() -> None:
    group = joined(3)
    queue = group["a"].swim._outbox.queue
    for name in ("old", "new"):
        queue.put(group.now_s, name, name.encode().ljust(600), members_count=3)
        queue.pull(group.now_s, overhead_bytes=2, bytes_max=650, members_count=3)
    queue.put(group.now_s, "fresh", b"fresh".ljust(600), members_count=3)
    pulled = queue.pull(group.now_s, overhead_bytes=2, bytes_max=1300, members_count=3)
    assert [each.split()[0] for each in pulled] == [b"fresh", b"new"]


# --- SWIM 4.2: suspicion


def test_swim_4_2_a_member_that_does_not_answer_is_suspected_first_and_not_declared_dead() -> None:
    group = joined(5)
    group.stop("e")
    group.run_until(lambda: any(group[name].state_of("e") is not State.ALIVE for name in "abcd"), within_s=10.0)
    assert {group[name].state_of("e") for name in "abcd"} <= {State.ALIVE, State.SUSPECT}


def test_swim_4_2_a_suspect_that_hears_of_it_stays_in_the_group_with_a_higher_incarnation() -> None:
    group = joined(5)
    for name in "bcde":
        group.deliver(name, encode(Suspect(incarnation=1, node="a", sender="b")))
    group.run_until(group.all_alive, within_s=5.0)
    assert {group[name].swim.nodes["a"].incarnation for name in "abcde"} == {2}
    assert not any(peer.upper.events for peer in group.peers.values())


def test_swim_4_2_only_a_member_itself_raises_its_incarnation() -> None:
    group = joined(5)
    group.run(30.0)
    group.stop("e")
    group.run(60.0)
    assert {group[name].swim.local.incarnation for name in "abcd"} == {1}


def test_swim_4_2_a_suspect_that_says_nothing_in_time_is_declared_dead_everywhere() -> None:
    group = joined(5)
    group.stop("e")
    group.run_until(lambda: buried(group, "e"), within_s=30.0)
    for name in "abcd":
        assert group[name].upper.events == [("left", "e")]


# --- SWIM 4.3: round-robin probe targets


def test_swim_4_3_within_a_turn_everybody_is_probed_once() -> None:
    group = joined(6, quiet_s=0.0)
    group.run(60.0)
    probed = targets(group["a"])
    starts = range(5)
    assert any(all(len(set(turn)) == 5 for turn in batches(probed[start:], 5)) for start in starts)


@pytest.mark.parametrize("seed", range(5))
def test_swim_4_3_a_death_is_noticed_by_each_member_within_two_turns_at_the_latest(seed: int) -> None:
    group = joined(6, seed=seed)
    group.stop("f")
    bound_s = (2 * 5 - 1) * LAN.probe_interval_s + LAN.probe_interval_s
    for peer in group.peers.values():
        peer.sent.clear()
    group.run(bound_s)
    assert all("f" in targets(group[name]) for name in "abcde")


# --- Lifeguard 4.A: local health aware probe


def test_lifeguard_4_a_failed_probes_and_missed_nacks_slow_a_member_down_and_successes_speed_it_up() -> None:
    group = joined(5)
    group.passes = lambda sender, receiver, payload: receiver.name != "a"
    group.streams_pass = lambda sender, receiver: False
    group.run(20.0)
    slow = group["a"].swim.statistics().health_score
    sent_count = len(targets(group["a"]))
    assert slow == 7
    assert sent_count < 20 / 2
    group.passes = lambda sender, receiver, payload: True
    group.run(60.0)
    assert group["a"].swim.statistics().health_score == 0


def test_lifeguard_4_a_who_must_refute_doubts_itself() -> None:
    group = joined(3)
    group.deliver("a", encode(Suspect(incarnation=1, node="a", sender="b")))
    assert group["a"].swim.statistics().health_score == 1


def test_lifeguard_4_a_nacks_come_before_the_probe_ends_so_that_a_true_death_blames_nobody() -> None:
    group = joined(5)
    group.stop("e")
    group.run(5.0)
    assert any(isinstance(message, Nack) for name in "abcd" for _, message in group[name].sent)
    assert {group[name].swim.statistics().health_score for name in "abcd"} == {0}


# --- Lifeguard 4.B: local health aware suspicion


def lonely_suspicion_s(confirmers: str, *, lifeguard: bool = True) -> float:
    """Return how long "a", cut off, suspects "e" among five when these confirm it at once."""
    group = joined(5, lifeguard=lifeguard)
    group.passes = lambda *_: False
    group.streams_pass = lambda *_: False
    group["a"].swim._timers.cancel("probe")
    for sender in "a" + confirmers:
        group.deliver("a", encode(Suspect(incarnation=1, node="e", sender=sender)))
    return group.run_until(lambda: group["a"].state_of("e") is State.DEAD, within_s=60.0)


def test_lifeguard_4_b_a_suspicion_that_nobody_shares_takes_much_longer_to_become_a_death() -> None:
    assert lonely_suspicion_s("") == pytest.approx(24.0)


def test_lifeguard_4_b_each_independent_suspicion_shortens_it_logarithmically() -> None:
    assert lonely_suspicion_s("b") == pytest.approx(11.381)
    assert lonely_suspicion_s("bb") == pytest.approx(11.381)
    assert lonely_suspicion_s("bc") == pytest.approx(4.0)
    assert lonely_suspicion_s("bcd") == pytest.approx(4.0)


def test_lifeguard_4_b_without_it_the_time_is_fixed() -> None:
    assert lonely_suspicion_s("", lifeguard=False) == pytest.approx(4.0)


def test_lifeguard_4_b_the_first_so_many_independent_suspicions_are_passed_on() -> None:
    group = joined(6)
    group.passes = lambda *_: False
    group["a"].swim._timers.cancel("probe")
    for sender in "bcde":
        group.deliver("a", encode(Suspect(incarnation=1, node="f", sender=sender)))
        group.run(0.25)
    senders = {message.sender for _, message in group["a"].sent if isinstance(message, Suspect)}
    assert senders == {"b", "c", "d"}


# --- Lifeguard 4.C: buddy system


def test_lifeguard_4_c_whoever_pings_a_suspect_tells_it_so_with_the_ping() -> None:
    group = joined(4)
    for name in "abc":
        group[name].swim._timers.cancel("gossip")
    group.deliver("a", encode(Suspect(incarnation=1, node="d", sender="b")))
    group["a"].swim._outbox.queue.pull(group.now_s, overhead_bytes=2, bytes_max=1398, members_count=1)
    group.run_until(lambda: group["d"].swim.local.incarnation == 2, within_s=5.0)
    group.run_until(lambda: group["a"].state_of("d") is State.ALIVE, within_s=2.0)


# --- Lifeguard 2: the fault it is for


@pytest.mark.parametrize("lifeguard", [True, False])
def test_lifeguard_2_a_member_slow_to_read_takes_healthy_ones_for_dead_only_without_it(lifeguard: bool) -> None:
    false_deaths_count = 0
    for seed in range(3):
        group = joined(8, seed=seed, lifeguard=lifeguard)
        group.latency_s = lambda sender, receiver: 5.0 if receiver.name == "h" else 0.001
        group.streams_pass = lambda sender, receiver: "h" not in (sender.name, receiver.name)
        group.run(60.0)
        false_deaths_count += sum(
            kind == "left" and about != "h" for peer in group.peers.values() for kind, about in peer.upper.events
        )
    assert (false_deaths_count == 0) is lifeguard
