"""agent/servers.py: which server a client agent asks."""

import random

from agent.servers import REBALANCE_JITTER_S, REBALANCE_S_MIN, SERVERS_MAX, ServerList


def listed(*addresses: str) -> ServerList:
    servers = ServerList(random.Random(0))
    servers.update(list(addresses))
    return servers


def test_the_list_keeps_its_order_and_drops_who_is_gone() -> None:
    servers = listed("a:1", "b:1", "c:1")
    order = servers.addresses
    servers.update(["b:1", "c:1"])
    assert servers.addresses == [address for address in order if address != "a:1"]


def test_new_servers_come_in_at_random_places() -> None:
    firsts = set()
    for seed in range(40):
        servers = ServerList(random.Random(seed))
        servers.update(["a:1", "b:1"])
        servers.update(["a:1", "b:1", "c:1"])
        firsts.add(servers.addresses[0])
    assert firsts == {"a:1", "b:1", "c:1"}


def test_the_first_is_asked_until_it_fails() -> None:
    servers = listed("a:1", "b:1")
    first, second = servers.addresses
    assert servers.pick(leader_wanted=False) == first
    servers.failed(second)
    assert servers.pick(leader_wanted=False) == first
    servers.failed(first)
    assert servers.pick(leader_wanted=False) == second


def test_a_leader_is_asked_for_writes_until_it_fails_or_is_gone() -> None:
    servers = listed("a:1", "b:1", "c:1")
    servers.set_leader("c:1")
    assert servers.pick(leader_wanted=True) == "c:1"
    servers.failed("c:1")
    assert servers.leader == ""
    servers.set_leader("c:1")
    servers.update(["a:1", "b:1"])
    assert servers.leader == ""


def test_a_leader_that_gossip_does_not_know_is_not_believed_in() -> None:
    servers = listed("a:1")
    servers.set_leader("evil:1")
    assert servers.leader == ""


def test_no_server_is_no_answer_and_too_many_are_cut() -> None:
    servers = listed()
    assert servers.pick(leader_wanted=True) is None
    assert not servers.heard
    servers.update([f"s{number}:1" for number in range(1000)])
    assert len(servers) == SERVERS_MAX
    assert servers.heard


def test_the_pause_before_a_shuffle_grows_with_the_cluster() -> None:
    servers = listed("a:1", "b:1", "c:1")
    assert REBALANCE_S_MIN <= servers.rebalance_pause_s(100) <= REBALANCE_S_MIN + REBALANCE_JITTER_S
    assert servers.rebalance_pause_s(64 * 3 * 1000) >= 1000.0


def test_a_shuffle_keeps_everybody() -> None:
    servers = listed("a:1", "b:1", "c:1")
    servers.shuffle()
    assert sorted(servers.addresses) == ["a:1", "b:1", "c:1"]
