"""What the catalog and the configuration need, row by row of the specified table."""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from server.leader.reconcile import (
    Action,
    CatalogNode,
    Deregister,
    Readdress,
    Register,
    RemoveServer,
    Situation,
    plan_member,
    plan_members,
    plan_unknown,
)
from structs.cluster import Member, Peer
from structs.members import server_facts
from tests.fakes.members import FOREIGN_BUILD, client, server


@dataclass
class Catalog:
    nodes: dict[str, CatalogNode] = field(default_factory=dict)

    def node(self, name: str) -> CatalogNode | None:
        return self.nodes.get(name)

    def serf_nodes(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.serf_status]


def node(member: Member, status: str = "passing", port: int | None = None) -> CatalogNode:
    return CatalogNode(address=member.address, serf_status=status, consul_port=port)


def peer(member: Member) -> Peer:
    facts = server_facts(member)
    assert facts is not None
    return facts.peer


def situation(*voters: Member, proven: tuple[Member, ...] = (), alive: tuple[Member, ...] = ()) -> Situation:
    peers = [peer(member) for member in voters]
    ids = frozenset(each.server_id for each in [*peers, *map(peer, proven)])
    there = frozenset(map(peer, alive))
    return Situation(self_name="s1", datacenter="dc1", configuration=peers, proven=ids, alive=there)


S1 = server("s1")
LEADER = node(S1, port=8300)


def only(actions: list[Action]) -> Action:
    assert len(actions) == 1, actions
    return actions[0]


def test_a_client_that_is_alive_is_registered_with_a_passing_check() -> None:
    action = only(plan_member(client("c5"), Catalog(), situation(S1)))
    assert isinstance(action, Register)
    command = action.command
    assert (command.node, command.node_id, command.address, command.datacenter) == ("c5", "id-5", "10.0.0.5", "dc1")
    assert command.skip_node_update
    assert command.service is None
    (check,) = command.checks
    assert (check.node, check.check_id, check.name) == ("c5", "serfHealth", "Serf Health Status")
    assert (check.status, check.output) == ("passing", "Agent alive and reachable")


def test_a_server_that_is_alive_carries_the_service_consul() -> None:
    action = only(plan_member(S1, Catalog(), situation(S1)))
    assert isinstance(action, Register)
    service = action.command.service
    assert service is not None
    assert (service.service_id, service.service, service.port) == ("consul", "consul", 8300)


def test_who_only_claims_to_be_a_server_carries_no_service() -> None:
    claimed = server("s2")
    action = only(plan_member(claimed, Catalog(), situation(S1)))
    assert isinstance(action, Register)
    assert action.command.service is None
    assert plan_member(claimed, Catalog({"s2": node(claimed)}), situation(S1)) == []
    later = only(plan_member(claimed, Catalog({"s2": node(claimed)}), situation(S1, proven=(claimed,))))
    assert isinstance(later, Register)
    assert later.command.service is not None


def test_what_the_catalog_has_already_is_not_written_again() -> None:
    c5 = client("c5")
    assert plan_member(c5, Catalog({"c5": node(c5)}), situation(S1)) == []
    assert plan_member(S1, Catalog({"s1": LEADER}), situation(S1)) == []
    failed = client("c5", status="FAILED")
    assert plan_member(failed, Catalog({"c5": node(failed, "critical")}), situation(S1)) == []


@pytest.mark.parametrize(
    "known",
    [
        CatalogNode(address="10.9.9.9", serf_status="passing", consul_port=8300),
        CatalogNode(address="10.0.0.1", serf_status="critical", consul_port=8300),
        CatalogNode(address="10.0.0.1", serf_status="", consul_port=8300),
        CatalogNode(address="10.0.0.1", serf_status="passing", consul_port=None),
        CatalogNode(address="10.0.0.1", serf_status="passing", consul_port=8999),
    ],
)
def test_what_differs_is_written_anew(known: CatalogNode) -> None:
    assert isinstance(only(plan_member(S1, Catalog({"s1": known}), situation(S1))), Register)


def test_a_member_that_failed_is_critical() -> None:
    action = only(plan_member(client("c5", status="FAILED"), Catalog(), situation(S1)))
    assert isinstance(action, Register)
    assert action.command.checks[0].status == "critical"
    assert action.command.checks[0].output == "Agent not live or unreachable"


def test_a_server_that_failed_stays_in_the_configuration() -> None:
    failed = server("s2", status="FAILED")
    actions = plan_member(failed, Catalog({"s2": node(failed, port=8300)}), situation(S1, failed))
    assert isinstance(only(actions), Register)


def test_who_is_leaving_is_left_alone() -> None:
    leaving = server("s2", status="LEAVING")
    assert plan_member(leaving, Catalog({"s2": node(leaving)}), situation(S1, leaving)) == []


@pytest.mark.parametrize("reaped", [False, True])
def test_a_server_that_left_or_was_forgotten_is_taken_out_and_deregistered(reaped: bool) -> None:
    gone = server("s2", status="FAILED" if reaped else "LEFT")
    actions = plan_member(gone, Catalog({"s2": node(gone, port=8300)}), situation(S1, gone), reaped=reaped)
    assert [type(action) for action in actions] == [RemoveServer, Deregister]
    assert isinstance(actions[0], RemoveServer)
    assert actions[0].peer.server_id == "id-2"
    assert isinstance(actions[1], Deregister)
    assert actions[1].command.node == "s2"
    assert not actions[1].command.service_id


def test_who_left_and_is_unknown_needs_nothing() -> None:
    assert plan_member(client("c5", status="LEFT"), Catalog(), situation(S1)) == []


def test_a_server_that_is_back_under_another_name_is_not_taken_out() -> None:
    gone, back = server("s2", status="LEFT"), server("new", id="id-2", address="10.0.0.2")
    actions = plan_member(gone, Catalog({"s2": node(gone)}), situation(S1, gone, alive=(back,)))
    assert isinstance(only(actions), Deregister)


def test_the_leader_never_deregisters_itself() -> None:
    catalog = Catalog({"s1": LEADER})
    assert plan_member(server("s1", status="LEFT"), catalog, situation(S1)) == []
    assert plan_unknown([], catalog, situation(S1)) == []


def test_a_server_at_another_address_is_given_it() -> None:
    moved = server("s2", address="10.0.7.7")
    actions = plan_member(moved, Catalog(), situation(S1, server("s2")))
    assert isinstance(actions[0], Readdress)
    assert actions[0].peer == Peer(server_id="id-2", name="s2", address="10.0.7.7:8300")


def test_a_copied_disk_does_not_take_the_place_of_who_is_there() -> None:
    original, copy = server("s2"), server("s9", id="id-2")
    assert [type(a) for a in plan_member(copy, Catalog(), situation(S1, original, alive=(original, copy)))] == [
        Register
    ]
    assert isinstance(plan_member(copy, Catalog(), situation(S1, original, alive=(copy,)))[0], Readdress)


def test_who_is_not_in_the_configuration_is_not_added_here() -> None:
    assert [type(action) for action in plan_member(server("s4"), Catalog(), situation(S1))] == [Register]


@pytest.mark.parametrize("stranger", [client("c5", dc="dc2"), server("s5", dc="dc2"), client("c5", role="")])
def test_strangers_are_none_of_our_business(stranger: Member) -> None:
    assert plan_member(stranger, Catalog(), situation(S1)) == []
    left = replace(stranger, status=server("x", status="LEFT").status)
    assert plan_member(left, Catalog({stranger.name: node(stranger)}), situation(S1)) == []


def test_a_foreign_server_is_never_moved_or_given_a_service() -> None:
    foreign = server("s2", build=FOREIGN_BUILD, address="10.0.7.7")
    actions = plan_member(foreign, Catalog(), situation(S1))
    action = only(actions)
    assert isinstance(action, Register)
    assert action.command.service is None


def test_a_pass_deregisters_what_gossip_once_knew_and_leaves_the_rest() -> None:
    external = CatalogNode(address="10.8.8.8", serf_status="", consul_port=None)
    catalog = Catalog({"s1": LEADER, "gone": node(client("gone")), "external": external, "C5": node(client("c5"))})
    members = [S1, client("c5")]
    whole = Catalog(catalog.nodes | {"c5": node(client("c5"))})
    assert plan_members(members, whole, situation(S1)) == []
    action = only(plan_unknown(members, whole, situation(S1)))
    assert isinstance(action, Deregister)
    assert action.command.node == "gone"
