"""Scenarios of gossip with fixed seeds: what must hold in them, and that the simulation is what it says."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gossip.config import LAN
from gossip.instructions import PacketReceived
from gossip.messages import IndirectPing, encode
from gossip.suspicion import limits_of
from tests.sim.gossip.__main__ import main
from tests.sim.gossip.crowd import Crowd
from tests.sim.gossip.links import NEVER_S, Links
from tests.sim.gossip.plot import draw
from tests.sim.gossip.scenarios import Plan, play
from tests.sim.gossip.sharing import shared_decoding
from tests.sim.gossip_world import SOCKET_PACKETS, SimMember

ROOT = Path(__file__).resolve().parents[2]
SEED = 7
SPREAD_S = 3.0
"""For a verdict to reach everybody among a few hundred: some rounds of gossip."""


@cache
def figures_of(scenario: str, nodes: int, minutes: float = 1.0, lifeguard: bool = True, loss: float = 0.0) -> Any:
    """Play one scenario; printed, so that a failure shows what it was."""
    plan = Plan(scenario=scenario, nodes=nodes, seed=SEED, minutes=minutes, lifeguard=lifeguard, loss=loss)
    figures = play(plan)
    print(plan, {name: value for name, value in figures.items() if not isinstance(value, dict)})
    return figures


@pytest.mark.parametrize("nodes", [5, 100])
def test_every_death_is_known_to_all_within_the_bound_of_suspicion(nodes: int) -> None:
    figures = figures_of("death", nodes)
    limits = limits_of(LAN, nodes)
    assert figures["deaths"] == max(1, nodes // 10)
    assert figures["known by 100 %"]["missing"] == 0
    for suspected_s, known_s in zip(figures["suspected"]["all"], figures["known by 100 %"]["all"], strict=True):
        assert suspected_s + limits.least_s <= known_s <= suspected_s + limits.most_s + SPREAD_S
    # Several suspect the dead one on their own, so the bound is far away.
    assert figures["declared"]["p50"] <= figures["suspected"]["p50"] + limits.least_s + SPREAD_S


@pytest.mark.parametrize("nodes", [5, 100])
def test_without_loss_nobody_who_lives_is_suspected(nodes: int) -> None:
    figures = figures_of("death", nodes)
    assert figures["suspicions of healthy"] == figures["false deaths of healthy"] == figures["mistaken views"] == 0


def test_one_datagram_in_a_hundred_lost_makes_no_false_death() -> None:
    figures = figures_of("lossy", 100, loss=0.01)
    assert figures["false deaths of healthy"] == figures["mistaken views"] == 0


def test_with_much_loss_lifeguard_is_at_least_not_worse() -> None:
    kept, without = (figures_of("lossy", 40, lifeguard=lifeguard, loss=0.3, minutes=0.5) for lifeguard in (True, False))
    assert without["suspicions of healthy"] > 0, "else there was nothing to be saved from"
    assert kept["false deaths of healthy"] <= without["false deaths of healthy"]


def test_members_that_hear_late_suspect_healthy_ones_far_less_with_lifeguard() -> None:
    kept, without = (figures_of("deaf", 60, lifeguard=lifeguard, minutes=0.5) for lifeguard in (True, False))
    assert kept["suspicions of healthy"] * 4 < without["suspicions of healthy"]
    assert kept["false deaths of healthy"] <= without["false deaths of healthy"]


def test_members_that_stand_still_mislead_nobody_and_are_taken_for_dead_less_often_with_lifeguard() -> None:
    kept, without = (figures_of("starved", 100, lifeguard=lifeguard, minutes=0.5) for lifeguard in (True, False))
    assert kept["suspicions of slow"] > 0, "else nobody was slow"
    assert kept["false deaths of healthy"] == without["false deaths of healthy"] == 0
    assert kept["false deaths of slow"] <= without["false deaths of slow"]
    assert kept["known by 100 %"]["missing"] == 0


def test_a_newcomer_knows_all_at_once_and_is_known_to_all_within_seconds() -> None:
    figures = figures_of("join", 100, minutes=0.25)
    assert figures["knows all"]["max"] <= 0.2
    assert figures["known by 100 %"]["missing"] == 0
    assert figures["known by 50 %"]["max"] <= 1.0
    assert figures["disagreements"] == 0


def test_all_may_join_at_one_time_through_the_same_one() -> None:
    figures = figures_of("mass-join", 60)
    assert figures["99 % know all after s"] <= 15.0
    assert figures["100 % know all after s"] is not None
    assert figures["mistaken views"] == 0


@pytest.mark.parametrize("scenario", ["partition", "loss50"])
def test_after_healing_all_agree_and_nothing_wrong_is_left(scenario: str) -> None:
    figures = figures_of(scenario, 30)
    assert figures["false deaths until it healed"] > 0, "else there was nothing to be healed"
    assert figures["all records right after s"] is not None
    assert figures["disagreements left"] == 0


def test_an_idle_member_sends_what_it_is_known_to_send() -> None:
    """A ping and an ack a second, of some 50 and 140 bytes; a table twice in 30 s times the factor for the size."""
    figures = figures_of("idle", 30, minutes=0.5)
    assert figures["udp packets"] == pytest.approx(2.0, rel=0.02)
    assert 120 <= figures["udp bytes"] <= 240
    assert figures["tcp messages"] == pytest.approx(2 / 30, rel=0.1)
    assert figures["machine us"] > 0 < figures["packing us"]


# The simulation itself


def test_what_is_shared_between_members_changes_nothing() -> None:
    def crowd() -> Crowd:
        crowd = Crowd(seed=SEED, nodes_count=20, loss=0.2, slow_share=0.1)
        crowd.plan(crowd.now_s + 5.0, crowd.kill_one)
        crowd.run(40.0)
        return crowd

    apart = crowd()
    with shared_decoding():
        together = crowd()
    assert together.events_count == apart.events_count
    assert together.ledger.__dict__ == apart.ledger.__dict__
    assert apart.ledger.suspicions


def test_the_seed_decides_whatever_the_hash_seed_is(tmp_path: Path) -> None:
    words = ["--scenario", "starved,loss50", "--nodes", "12", "--loss", "0.2", "--minutes", "0.3", "--worlds", "2"]
    found = []
    for hash_seed in ("0", "4242"):
        path = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, "-m", "tests.sim.gossip", *words, "--json", str(path)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        found.append([{**each, "cpu seconds": 0} for each in json.loads(path.read_text(encoding="utf-8"))])
    assert found[0] == found[1]
    assert [each["worlds"] for each in found[0]] == [2, 2]


def test_a_stalled_member_reads_what_its_socket_kept_when_it_goes_on() -> None:
    crowd = Crowd(seed=SEED, nodes_count=3)
    crowd.run(5.0)
    slow, other = list(crowd.members.values())[:2]
    crowd.stall(slow, 4.0)
    before_count = slow.packets_count
    for _ in range(SOCKET_PACKETS + 100):
        crowd.tell(other, other_pings(crowd, other, slow))
    crowd.run(3.9)
    assert slow.packets_count == before_count, "nothing is done meanwhile"
    crowd.run(0.2)
    acks_count = slow.packets_count - before_count
    assert SOCKET_PACKETS - 10 <= acks_count <= SOCKET_PACKETS + 10
    assert slow.machine._swim.statistics().stalls_total == 1


def other_pings(crowd: Crowd, source: SimMember, target: SimMember) -> PacketReceived:
    """Return an event that makes `source` ping `target`."""
    ask = IndirectPing(sequence=1, target=target.address.host, port=target.address.port, node=target.name)
    return PacketReceived(at_s=crowd.now_s, source=source.address, payload=encode(ask))


def test_streams_over_bad_links_take_longer_or_fail() -> None:
    member: Any = None
    for loss, late_share in ((0.0, 0.0), (0.01, 0.03), (0.5, 0.8)):
        links = Links(SEED, loss)
        delays_s = [links.stream_delay_s(member, member, 1000, True) for _ in range(2000)]
        assert sum(each > 0.1 for each in delays_s) / 2000 == pytest.approx(late_share, abs=0.1)
    assert max(delays_s) > 10.0
    assert LAN.tcp_timeout_s < NEVER_S


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--scenario", "nonsense"], ["--nodes", "1"], ["--nodes", "x"], ["--loss", "1.5"]):
        with pytest.raises(SystemExit):
            main(words)
    assert "no such scenario: nonsense" in capsys.readouterr().err


def test_the_drawings_are_made_from_figures(tmp_path: Path) -> None:
    for words in (
        ["--scenario", "death,idle", "--nodes", "5,10", "--minutes", "0.2"],
        ["--scenario", "lossy,starved", "--nodes", "10", "--lifeguard", "both", "--loss", "0,0.3", "--minutes", "0.2"],
    ):
        assert main([*words, "--json", str(tmp_path / "found.json")]) == 0
    for path in draw(tmp_path / "found.json", tmp_path):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<svg ")
        assert 'xmlns="http://www.w3.org/2000/svg"' in text
