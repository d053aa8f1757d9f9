"""py-consul, unchanged, against an agent and against a server: the catalog, health and coordinates."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import consul
import pytest
from consul.callback import CB

from jepsen.cluster import Cluster

HOSTS = ("shop-1", "shop-2", "shop-3")
ABSENT = "nobody-knows-it"
Until = Callable[[Callable[[], Any]], Any]


def write_instance(client: Any, number: int, status: str = "passing", **fields: object) -> None:
    """Register one instance of "shop" with a check, keys in lower case as the library's users write them."""
    service = {
        "service": "shop",
        "id": f"shop/{number}",
        "tags": ["all", f"v{number}"],
        "port": 8000 + number,
        **fields,
    }
    check = {"name": "alive", "checkid": f"alive-{number}", "serviceid": f"shop/{number}", "status": status}
    of_node = {"skip_node_update": True}
    done = client.catalog.register(HOSTS[number - 1], f"10.1.0.{number}", service=service, check=check, **of_node)
    assert done is True


@pytest.fixture
def shop(client: Any) -> Iterator[Any]:
    """Three instances on three nodes that nobody but the catalog knows; the library cannot set a node's meta itself."""
    for number, host in enumerate(HOSTS, start=1):
        node = {"Node": host, "Address": f"10.1.0.{number}", "NodeMeta": {"rack": f"r{number % 2}"}}
        assert client.http.put(CB.boolean(), "/v1/catalog/register", data=json.dumps(node)) is True
        write_instance(client, number)
    yield client
    for host in HOSTS:
        assert client.catalog.deregister(host) is True


def hosts(answer: tuple[str, list[dict[str, Any]]]) -> list[str]:
    """The names of the nodes in an answer of any of the endpoints, in order of the alphabet."""
    nodes = [row["Node"] for row in answer[1]]
    return sorted(node if isinstance(node, str) else node["Node"] for node in nodes)


def test_the_only_datacenter_is_listed(client: Any) -> None:
    assert client.catalog.datacenters() == ["dc1"]


def test_nodes_are_listed_with_their_meta_and_addresses(shop: Any, cluster: Cluster) -> None:
    index, rows = shop.catalog.nodes()
    assert int(index) >= 1
    assert {row["Node"] for row in rows} >= {*HOSTS, *(node.name for node in cluster.nodes)}
    (row,) = [row for row in rows if row["Node"] == "shop-1"]
    assert (row["Address"], row["Datacenter"], row["Meta"]) == ("10.1.0.1", "dc1", {"rack": "r1"})
    assert hosts(shop.catalog.nodes(node_meta={"rack": "r1"})) == ["shop-1", "shop-3"]
    assert hosts(shop.catalog.nodes(node_meta={"rack": "r1", "floor": "2"})) == []
    assert hosts(shop.catalog.nodes(filter_expr='Meta.rack == "r0"')) == ["shop-2"]
    assert shop.catalog.nodes(near="shop-1")[1] != []


@pytest.mark.parametrize("consistency", ["default", "consistent", "stale"])
def test_every_consistency_mode_reads_the_catalog(shop: Any, consistency: str, until: Until) -> None:
    assert until(lambda: "shop" in shop.catalog.services(consistency=consistency)[1])


def test_services_show_the_tags_of_all_their_instances(shop: Any) -> None:
    services = shop.catalog.services()[1]
    assert services["consul"] == []
    assert sorted(services["shop"]) == ["all", "v1", "v2", "v3"]
    assert sorted(shop.catalog.services(node_meta={"rack": "r0"})[1]["shop"]) == ["all", "v2"]


def test_instances_are_found_by_tag_meta_near_and_filter(shop: Any) -> None:
    assert hosts(shop.catalog.service("shop")) == list(HOSTS)
    assert hosts(shop.catalog.service("shop", tag="v2")) == ["shop-2"]
    assert hosts(shop.catalog.service("shop", node_meta={"rack": "r1"})) == ["shop-1", "shop-3"]
    assert hosts(shop.catalog.service("shop", near="_agent")) == list(HOSTS)
    assert hosts(shop.catalog.service("shop", filter_expr="ServicePort == 8003")) == ["shop-3"]
    assert shop.catalog.service(ABSENT)[1] == []
    row = shop.catalog.service("shop", tag="v2")[1][0]
    seen = (row["Address"], row["ServiceID"], row["ServiceAddress"], row["ServicePort"], row["ServiceTags"])
    assert seen == ("10.1.0.2", "shop/2", "", 8002, ["all", "v2"])


def test_one_node_is_read_with_its_services(shop: Any) -> None:
    found = shop.catalog.node("shop-1")[1]
    assert found["Node"]["Address"] == "10.1.0.1"
    assert found["Services"]["shop/1"]["Service"] == "shop"
    assert shop.catalog.node(ABSENT)[1] is None


def test_an_equal_registration_moves_no_index(shop: Any) -> None:
    before = shop.catalog.service("shop")[0]
    write_instance(shop, 1)
    assert shop.catalog.service("shop")[0] == before


def test_checks_services_and_nodes_are_deregistered_one_by_one(shop: Any) -> None:
    assert shop.catalog.deregister("shop-1", check_id="alive-1") is True
    assert [row["CheckID"] for row in shop.health.node("shop-1")[1]] == []
    assert shop.catalog.deregister("shop-1", service_id="shop/1") is True
    assert hosts(shop.catalog.service("shop")) == ["shop-2", "shop-3"]
    assert shop.catalog.node("shop-1")[1]["Services"] == {}
    assert shop.catalog.deregister("shop-1") is True
    assert shop.catalog.node("shop-1")[1] is None
    assert shop.catalog.deregister("shop-1") is True


@pytest.mark.parametrize("dc", ["dc9", "no such place"])
def test_an_unknown_datacenter_is_an_error(client: Any, dc: str) -> None:
    with pytest.raises(consul.ConsulException, match="No path to datacenter"):
        client.catalog.nodes(dc=dc)


def test_health_shows_who_passes(shop: Any) -> None:
    write_instance(shop, 2, "critical")
    write_instance(shop, 3, "warning")
    assert hosts(shop.health.service("shop")) == list(HOSTS)
    assert hosts(shop.health.service("shop", passing=True)) == ["shop-1"]
    assert hosts(shop.health.service("shop", tag="v2")) == ["shop-2"]
    assert hosts(shop.health.service("shop", tag=["all", "v3"])) == ["shop-3"]
    assert hosts(shop.health.service("shop", tag=["v2", "v3"])) == []
    assert hosts(shop.health.service("shop", node_meta={"rack": "r1"})) == ["shop-1", "shop-3"]
    assert shop.health.service(ABSENT)[1] == []
    row = shop.health.service("shop", tag="v2")[1][0]
    assert row["Node"]["Meta"] == {"rack": "r0"}
    assert (row["Service"]["ID"], row["Service"]["Tags"]) == ("shop/2", ["all", "v2"])
    assert [check["Status"] for check in row["Checks"]] == ["critical"]


def test_checks_are_found_by_node_service_and_state(shop: Any) -> None:
    write_instance(shop, 2, "critical")
    assert [row["CheckID"] for row in shop.health.node("shop-2")[1]] == ["alive-2"]
    assert sorted(row["CheckID"] for row in shop.health.checks("shop")[1]) == ["alive-1", "alive-2", "alive-3"]
    critical = [row["CheckID"] for row in shop.health.state("critical")[1] if row["Node"].startswith("shop-")]
    assert critical == ["alive-2"], "the cluster is shared, and others may have critical checks"
    everything = {row["CheckID"] for row in shop.health.state("any")[1]}
    assert everything >= {"serfHealth", "alive-1", "alive-2", "alive-3"}
    assert [row["Node"] for row in shop.health.state("any", filter_expr='CheckID == "alive-1"')[1]] == ["shop-1"]


@pytest.mark.parametrize("kind", ["service", "checks", "state", "node", "catalog"])
def test_a_blocking_read_wakes_when_a_check_changes(shop: Any, kind: str) -> None:
    reads: dict[str, Callable[..., Any]] = {
        "service": lambda **wait: shop.health.service("shop", **wait),
        "checks": lambda **wait: shop.health.checks("shop", **wait),
        "state": lambda **wait: shop.health.state("any", **wait),
        "node": lambda **wait: shop.health.node("shop-2", **wait),
        "catalog": lambda **wait: shop.catalog.service("shop", **wait),
    }
    index, before = reads[kind]()
    changed = {"port": 9000} if kind == "catalog" else {}
    writer = threading.Timer(0.3, write_instance, args=(shop, 2, "critical"), kwargs=changed)
    writer.start()
    try:
        later, after = reads[kind](index=index, wait="60s")
    finally:
        writer.join()
    assert int(later) > int(index)
    assert after != before


@pytest.mark.parametrize("wait", ["10ms", "0.01s", "0h0m0.01s"])
def test_a_blocking_read_without_a_change_keeps_its_index(shop: Any, wait: str) -> None:
    index, rows = shop.health.service("shop")
    assert shop.health.service("shop", index=index, wait=wait) == (index, rows)


def test_coordinates_of_members_are_read(client: Any, cluster: Cluster, until: Until) -> None:
    names = {node.name for node in cluster.nodes}
    assert until(lambda: names <= {row["Node"] for row in client.coordinate.nodes()[1]})
    (found,) = [row for row in client.coordinate.nodes()[1] if row["Node"] == "agent-1"]
    assert set(found["Coord"]) == {"Vec", "Error", "Adjustment", "Height"}
    assert [row["Node"] for row in client.coordinate.node("agent-1")[1]] == ["agent-1"]
    assert client.coordinate.node(ABSENT)[1] is None
    assert [row["Datacenter"] for row in client.coordinate.datacenters()] == ["dc1"]


def test_coordinates_are_written_and_nonsense_is_refused(shop: Any, until: Until) -> None:
    place = {"Vec": [0.1] * 8, "Error": 0.5, "Adjustment": 0.0, "Height": 1e-5}
    assert shop.coordinate.update("shop-1", place) is True
    found = until(lambda: shop.coordinate.node("shop-1")[1])
    assert found[0]["Coord"] == place
    for nonsense in ({**place, "Vec": [0.1]}, {**place, "Error": "much"}):
        with pytest.raises(consul.ConsulException):
            shop.coordinate.update("shop-1", nonsense)
