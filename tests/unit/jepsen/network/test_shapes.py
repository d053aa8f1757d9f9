"""Shapes of partitions."""

import random

import pytest

from jepsen.network import shapes

SERVERS = [f"server-{number}" for number in range(1, 6)]
AGENTS = ["agent-1", "agent-2"]
SEEDS = range(30)


def reached(node: str, others: list[str], cut: shapes.Shape) -> set[str]:
    return {other for other in others if (node, other) not in cut}


def test_between_cuts_both_directions_and_nothing_inside_a_side() -> None:
    assert shapes.between(["a", "b"], ["c"]) == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}


def test_one_way_cuts_one_direction_and_nobody_from_itself() -> None:
    assert shapes.one_way(["a"], ["a", "b"]) == {("a", "b")}


@pytest.mark.parametrize("servers_count", [3, 4, 5])
def test_halves_leave_a_majority_of_servers_together_and_put_each_agent_somewhere(servers_count: int) -> None:
    servers = SERVERS[:servers_count]
    for seed in SEEDS:
        majority, rest = shapes.halves(servers, AGENTS, random.Random(seed))
        assert sorted(majority + rest) == sorted(servers + AGENTS)
        assert len(set(majority) & set(servers)) == servers_count // 2 + 1


def test_halves_differ_from_seed_to_seed_and_not_from_time_to_time() -> None:
    drawn = [shapes.halves(SERVERS, AGENTS, random.Random(seed)) for seed in SEEDS]
    assert drawn == [shapes.halves(SERVERS, AGENTS, random.Random(seed)) for seed in SEEDS]
    assert len({tuple(sorted(majority)) for majority, _ in drawn}) > 10


def test_the_one_alone_has_no_other_server_beside_it() -> None:
    for seed in SEEDS:
        near, far = shapes.alone("server-2", SERVERS, AGENTS, random.Random(seed))
        assert set(near) & set(SERVERS) == {"server-2"}
        assert sorted(near + far) == sorted(SERVERS + AGENTS)


@pytest.mark.parametrize("servers_count", [3, 4, 5])
def test_a_bridge_leaves_one_server_that_belongs_to_both_sides(servers_count: int) -> None:
    servers = SERVERS[:servers_count]
    for seed in SEEDS:
        middle, left, right = shapes.bridge(servers, AGENTS, random.Random(seed))
        assert sorted([middle, *left, *right]) == sorted(servers + AGENTS)
        assert set(left) & set(servers)
        assert set(right) & set(servers)


@pytest.mark.parametrize("servers_count", [5, 7])
def test_in_a_ring_every_server_reaches_a_majority_and_no_two_the_same(servers_count: int) -> None:
    servers = [f"server-{number}" for number in range(servers_count)]
    for seed in SEEDS:
        circle, cut = shapes.ring(servers, AGENTS, random.Random(seed))
        assert sorted(circle) == sorted(servers)
        views = [frozenset(reached(server, servers, cut)) for server in servers]
        assert all(servers_count // 2 + 1 <= len(view) < servers_count for view in views)
        assert len(set(views)) == servers_count
        assert all((there, here) in cut for here, there in cut)


def test_an_agent_beside_a_ring_reaches_what_some_server_reaches() -> None:
    for seed in SEEDS:
        _, cut = shapes.ring(SERVERS, AGENTS, random.Random(seed))
        views = [reached(server, SERVERS, cut) for server in SERVERS]
        assert all(reached(agent, SERVERS, cut) in views for agent in AGENTS)
