"""server/router.py: servers of other datacenters, and how far they are."""

import random

from server.router import SERVERS_MAX, Router
from structs.cluster import Member, MemberStatus
from structs.coordinate import Coordinate
from tests.fakes.members import FOREIGN_BUILD


def member(name: str, datacenter: str, *, port: int = 8300, status: MemberStatus = MemberStatus.ALIVE) -> Member:
    tags = {"role": "consul", "dc": datacenter, "port": str(port), "vsn": "2", "build": FOREIGN_BUILD}
    return Member(name=f"{name}.{datacenter}", address="10.0.0.1", port=8302, tags=tags, status=status)


def at(seconds: float) -> Coordinate:
    return Coordinate(vec=[seconds] + [0.0] * 7, height=0.0)


def router(*members: Member) -> Router:
    made = Router("dc1", random.Random(0))
    made.update(members)
    return made


def test_the_own_datacenter_is_known_without_anybody() -> None:
    assert router().datacenters(None, {}) == ["dc1"]
    assert router().pick("dc1") is None
    assert router().pick("dc2") is None


def test_a_server_that_fails_goes_to_the_end_and_one_that_is_gone_is_not_asked() -> None:
    known = router(member("a", "dc2"), member("b", "dc2"))
    first = known.pick("dc2")
    assert first is not None
    known.failed("dc2", first.name)
    second = known.pick("dc2")
    assert second is not None
    assert {first.name, second.name} == {"a.dc2", "b.dc2"}
    known.failed("dc2", first.name)
    assert known.pick("dc2") == second
    known.update([member("a", "dc2", status=MemberStatus.FAILED), member("b", "dc2")])
    assert known.pick("dc2") == member("b", "dc2")
    assert known.servers_count("dc2") == 1


def test_a_datacenter_without_servers_keeps_its_name_and_has_no_path() -> None:
    known = router(member("a", "dc2"))
    known.update([])
    assert known.datacenters(None, {}) == ["dc1", "dc2"]
    assert known.pick("dc2") is None


def test_datacenters_stand_by_their_median_distance_then_by_name_and_ours_first() -> None:
    known = router(
        member("s", "dc1"), member("a", "far"), member("b", "far"), member("c", "far"), member("n", "near"),
        member("x", "unknown-b"), member("y", "unknown-a"),
    )  # fmt: skip
    positions = {"a.far": at(0.001), "b.far": at(0.5), "c.far": at(0.6), "n.near": at(0.1)}
    assert known.datacenters(at(0.0), positions) == ["dc1", "near", "far", "unknown-a", "unknown-b"]


def test_maps_have_names_without_their_datacenter_and_only_known_places() -> None:
    known = router(member("s", "dc1"), member("a", "dc2"), member("b", "dc2"))
    maps = known.maps({"a.dc2": at(0.2)})
    assert [(each.datacenter, [row.node for row in each.coordinates]) for each in maps] == [("dc1", []), ("dc2", ["a"])]


def test_clients_and_nameless_datacenters_are_no_path_and_floods_are_cut() -> None:
    client = Member(name="c.dc3", address="10.0.0.1", port=1, tags={"role": "node", "dc": "dc3"})
    nameless = Member(name="c", address="10.0.0.1", port=1, tags={"role": "consul"})
    known = router(client, nameless, *(member(f"s{number}", "dc2") for number in range(1000)))
    assert known.datacenters(None, {}) == ["dc1", "dc2"]
    assert known.servers_count("dc2") == SERVERS_MAX
