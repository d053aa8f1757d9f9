"""Who is a server, and with whom a pool may be shared."""

import pytest
from msgspec.structs import replace

from structs.cluster import Member, Peer
from structs.members import callable_server, lan_merge_refused, server_facts, wan_merge_refused
from tests.fakes.members import FOREIGN_BUILD, client, server


def without(member: Member, tag: str) -> Member:
    return replace(member, tags={key: value for key, value in member.tags.items() if key != tag})


def test_a_server_is_read_from_its_tags() -> None:
    member = server("s1", port="8400", expect="3", wan_join_port="8302", use_tls="1", id="ABC")
    facts = server_facts(member)
    assert facts is not None
    assert (facts.datacenter, facts.build, facts.protocol, facts.raft_protocol) == ("dc1", "1.9.0", 2, 3)
    assert (facts.expect, facts.wan_join_port, facts.uses_tls, facts.bootstrap) == (3, 8302, True, False)
    assert facts.is_ours
    assert facts.peer == Peer(server_id="abc", name="s1", address="10.0.0.1:8400")


def test_the_rpc_address_is_the_gossip_address_with_the_announced_port() -> None:
    facts = server_facts(server("s1", address="fe80::1"))
    assert facts is not None
    assert facts.address == "[fe80::1]:8300"


@pytest.mark.parametrize(
    "tags",
    [
        {"role": "node"},
        {"port": ""},
        {"port": "http"},
        {"port": "0"},
        {"port": "65536"},
        {"port": "8300 "},
        {"port": "\u0668\u0663"},  # digits of another script
        {"port": "9" * 5000},
        {"vsn": "two"},
        {"build": "1.2"},
        {"build": "dev"},
        {"expect": "three"},
        {"wan_join_port": "x"},
        {"raft_vsn": ""},
        {"sl_alpha": "nowhere"},
    ],
)
def test_whatever_is_wrong_with_its_tags_makes_it_no_server(tags: dict[str, str]) -> None:
    member = server("s1")
    assert server_facts(replace(member, tags=member.tags | tags)) is None


@pytest.mark.parametrize("tag", ["role", "port", "vsn", "build"])
def test_a_server_has_these_tags(tag: str) -> None:
    assert server_facts(without(server("s1"), tag)) is None


def test_only_who_is_there_and_speaks_what_we_do_can_be_called() -> None:
    facts = callable_server(server("s1"))
    assert facts is not None
    assert facts.address == "10.0.0.1:8300"
    for gone in ("LEAVING", "LEFT", "FAILED"):
        assert callable_server(server("s1", status=gone)) is None
    assert callable_server(server("s1", vsn="1")) is None
    assert callable_server(server("s1", build="dev")) is None
    assert callable_server(client("c1")) is None


def test_a_build_is_found_wherever_it_stands() -> None:
    facts = server_facts(server("s1", build="v1.2.1-dev:0123abcd"))
    assert facts is not None
    assert facts.build == "1.2.1"
    assert not facts.is_ours


def test_members_of_one_datacenter_share_a_pool() -> None:
    members = [server("s1"), server("s2"), client("c3")]
    assert lan_merge_refused(members, mine=server("s4")) is None
    assert lan_merge_refused(members, mine=client("c4")) is None


def test_our_id_under_another_name_is_a_conflict() -> None:
    text = lan_merge_refused([client("x", id="id-1")], mine=server("s1"))
    assert text == "Member 'x' has conflicting node ID 'id-1' with this agent's ID"
    assert lan_merge_refused([server("s1")], mine=server("s1")) is None


def test_two_members_of_one_message_may_not_share_an_id() -> None:
    text = lan_merge_refused([client("x2"), client("y", id="id-2")], mine=server("s1"))
    assert text == "Member 'y' has conflicting node ID 'id-2' with member 'x2'"


def test_ids_of_very_old_members_may_be_shared() -> None:
    old = [client("x2", build="0.8.4:"), client("y", id="id-2", build="0.8.4:")]
    assert lan_merge_refused(old, mine=client("c1")) is None
    assert lan_merge_refused([client("x2", id=""), client("y", id="")], mine=client("c1")) is None


@pytest.mark.parametrize("stranger", [client("x", dc="dc2"), server("x", dc="dc2")])
def test_another_datacenter_is_refused(stranger: Member) -> None:
    assert lan_merge_refused([stranger], mine=client("c1")) == "Member 'x' part of wrong datacenter 'dc2'"


def test_another_segment_is_refused() -> None:
    text = lan_merge_refused([client("x", segment="alpha")], mine=client("c1"))
    assert text == "Member 'x' part of wrong segment 'alpha' (expected '')"
    assert lan_merge_refused([without(client("x"), "segment")], mine=client("c1")) is None


def test_our_server_refuses_foreign_servers_and_says_what_to_do() -> None:
    text = lan_merge_refused([server("f2", build=FOREIGN_BUILD)], mine=server("s1"))
    assert text is not None
    assert "'f2' is a server of another system (build '1.2.1:')" in text
    assert "over WAN" in text


def test_a_foreign_server_with_broken_tags_is_refused_as_well() -> None:
    assert lan_merge_refused([server("f2", build="dev")], mine=server("s1")) is not None


def test_our_server_takes_foreign_clients_and_our_client_foreign_servers() -> None:
    assert lan_merge_refused([client("c2", build=FOREIGN_BUILD)], mine=server("s1")) is None
    assert lan_merge_refused([server("f2", build=FOREIGN_BUILD)], mine=client("c1")) is None


def test_a_client_does_not_tie_two_systems_together() -> None:
    ours, foreign = server("s2"), server("f3", build=FOREIGN_BUILD)
    assert lan_merge_refused([ours, foreign], mine=client("c1")) is not None
    text = lan_merge_refused([foreign], mine=client("c1"), known=[client("c1"), ours])
    assert text is not None
    assert "'s2' and 'f3' are servers of two systems" in text
    gone = server("s2", status="LEFT")
    assert lan_merge_refused([foreign], mine=client("c1"), known=[gone]) is None


def test_only_servers_share_the_wan_pool() -> None:
    assert wan_merge_refused([server("s1.dc1"), server("s2.dc2", dc="dc2", build=FOREIGN_BUILD)]) is None
    assert wan_merge_refused([server("s1.dc1"), client("c.dc1")]) == "Member 'c.dc1' is not a server"
