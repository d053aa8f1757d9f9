"""Sans-IO: who is cut off from whom. A shape is the set of directions in which nothing passes.

`rng` decides everything that is open; the same seed gives the same shape. Agents go with one side.
"""

import random
from collections.abc import Collection, Sequence

from jepsen.network.network import Direction

Shape = frozenset[Direction]


def between(some: Collection[str], others: Collection[str]) -> Shape:
    """Nobody of these reaches anybody of those, nor the other way round."""
    return one_way(some, others) | one_way(others, some)


def one_way(senders: Collection[str], receivers: Collection[str]) -> Shape:
    """Nothing of what these send arrives at those."""
    return frozenset((sender, receiver) for sender in senders for receiver in receivers if sender != receiver)


def halves(servers: Sequence[str], agents: Sequence[str], rng: random.Random) -> tuple[list[str], list[str]]:
    """Two sides: a majority of the servers and the rest; each agent on either."""
    shuffled = rng.sample(servers, len(servers))
    majority_count = len(servers) // 2 + 1
    sides = shuffled[:majority_count], shuffled[majority_count:]
    for agent in agents:
        rng.choice(sides).append(agent)
    return sides


def alone(one: str, servers: Sequence[str], agents: Sequence[str], rng: random.Random) -> tuple[list[str], list[str]]:
    """Two sides: this server and the other servers; each agent on either."""
    sides = [one], [server for server in servers if server != one]
    for agent in agents:
        rng.choice(sides).append(agent)
    return sides


def bridge(servers: Sequence[str], agents: Sequence[str], rng: random.Random) -> tuple[str, list[str], list[str]]:
    """One server that everybody reaches, and two sides that reach each other only through it; agents on either side.

    Needs three servers.
    """
    shuffled = rng.sample(servers, len(servers))
    middle, rest = shuffled[0], shuffled[1:]
    half = (len(rest) + 1) // 2
    sides = rest[:half], rest[half:]
    for agent in agents:
        rng.choice(sides).append(agent)
    return middle, *sides


def ring(servers: Sequence[str], agents: Sequence[str], rng: random.Random) -> tuple[list[str], Shape]:
    """The servers in a circle, each reaching a majority around itself, and no two the same one; and what that cuts.

    Needs five servers: of three, each majority around a server is all three. An agent stands beside a server and
    reaches whom that one reaches.
    """
    circle = rng.sample(servers, len(servers))
    count = len(circle)
    reach = (count // 2 + 1) // 2
    cut: set[Direction] = set()
    for position, server in enumerate(circle):
        for other_position, other in enumerate(circle):
            steps = abs(position - other_position)
            if min(steps, count - steps) > reach:
                cut.add((server, other))
    for agent in agents:
        beside = rng.choice(circle)
        unreached = [other for server, other in cut if server == beside]
        cut |= between([agent], unreached)
    return circle, frozenset(cut)
