"""The membership layer under random loss, delay, duplication, cuts, stalls, crashes and restarts, one seed a world.

While it lasts: no record's incarnation falls, and none is above what its owner ever had. Afterwards: everybody that is
there is alive for everybody, and who then dies is dead for everybody.
"""

import os
import random

import pytest

from gossip.layers import Node, State
from tests.fakes.swim_group import Group, Peer

FAULTS_S = 60.0
STEP_S = 0.5
STALL_S_MAX = 20.0
CONVERGED_WITHIN_S = 60.0
DETECTED_WITHIN_S = 60.0
SEEDS = range(int(os.environ.get("MESH_SWIM_SEEDS", "40")))


class World:
    """A group, its faults, and what must hold all the time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"{seed}/faults")
        self.group = Group(self.rng.randint(3, 5), seed=seed)
        self.names = list(self.group.peers)
        self.owned = dict.fromkeys(self.names, 1)
        self.seen: dict[tuple[str, str], tuple[Node, int]] = {}
        self.loss = self.rng.choice([0.0, 0.1, 0.3, 0.6])
        self.delay_s = self.rng.choice([0.002, 0.2, 1.5])
        self.copies_max = self.rng.choice([1, 1, 3])
        self.cut: set[str] = set()

    def infect(self) -> None:
        """Make the network bad."""
        rng, group = self.rng, self.group
        group.passes = lambda sender, receiver, payload: rng.random() >= self.loss and not self.apart(sender, receiver)
        group.streams_pass = lambda sender, receiver: rng.random() >= self.loss and not self.apart(sender, receiver)
        group.latency_s = lambda sender, receiver: rng.random() * self.delay_s
        group.copies = lambda: rng.randint(1, self.copies_max)

    def heal(self) -> None:
        """Make it good again; as the layer above does, each tries the first once, lest halves have lost each other."""
        group = self.group
        group.passes, group.streams_pass = lambda *_: True, lambda *_: True
        group.latency_s, group.copies = lambda *_: 0.001, lambda: 1
        group.run(STALL_S_MAX)
        for name in self.names[1:]:
            assert group.join(name, self.names[0]) == ""

    def apart(self, sender: Peer, receiver: Peer) -> bool:
        return (sender.name in self.cut) is not (receiver.name in self.cut)

    def misfortune(self) -> None:
        """One random event, or none."""
        group, rng = self.group, self.rng
        name = rng.choice(self.names)
        draw = rng.random()
        if draw < 0.03:
            self.cut = set(rng.sample(self.names, rng.randrange(len(self.names))))
        elif draw < 0.06 and not group[name].frozen and group[name].up:
            group.freeze(name, rng.uniform(0.5, STALL_S_MAX), reads_first=rng.random() < 0.5)
        elif draw < 0.08:
            self.restart(name)
        elif draw < 0.10 and group[name].up:
            group[name].swim.set_meta(group.now_s, rng.randbytes(8))

    def restart(self, name: str) -> None:
        """Kill it and start it anew at the same address, knowing nothing."""
        group = self.group
        group.stop(name)
        peer = group.add(name)
        for other in self.names:
            if other != name:
                peer.swim.push_pull(group.now_s, group[other].address, join=True, done=lambda *_: None)
        group._after(peer)

    def check(self) -> None:
        for name in self.names:
            self.owned[name] = max(self.owned[name], self.group[name].swim.local.incarnation)
        for peer in self.group.peers.values():
            assert peer.swim.alive_count == sum(node.state is not State.DEAD for node in peer.swim.nodes.values())
            assert len(peer.swim._prober._relays) < 100
            for node in peer.swim.nodes.values():
                record, incarnation = self.seen.get((peer.name, node.name), (node, 0))
                assert record is not node or node.incarnation >= incarnation, "an incarnation fell"
                self.seen[peer.name, node.name] = (node, node.incarnation)
                assert node.incarnation <= self.owned[node.name], "somebody else raised an incarnation"


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_all_agree_in_the_end(seed: int) -> None:
    world = World(seed)
    group = world.group
    group.join_all()
    world.infect()
    end_s = group.now_s + FAULTS_S
    while group.now_s < end_s:
        world.misfortune()
        group.run(STEP_S)
        world.check()
    world.heal()
    world.check()
    group.run_until(group.all_alive, within_s=CONVERGED_WITHIN_S)
    group.run(5.0)
    world.check()
    victim = world.rng.choice(world.names)
    group.stop(victim)
    others = [group[name] for name in world.names if name != victim]
    dead = (State.DEAD, None)
    group.run_until(lambda: all(peer.state_of(victim) in dead for peer in others), within_s=DETECTED_WITHIN_S)
    assert group.all_alive(), f"somebody else is gone, too, seed {seed}"
