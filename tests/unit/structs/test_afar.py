"""Addresses of what is in another datacenter."""

from msgspec.structs import replace

from structs.afar import from_afar
from structs.catalog import HealthCheck, Node, NodeService, ServiceAddress, ServiceInstance

NODE = Node(node="n", address="10.0.0.1", tagged_addresses={"lan": "10.0.0.1", "wan": "198.51.100.1"})
SERVICE = NodeService(
    service_id="web", service="web", address="10.0.0.2", port=80, tagged_addresses={"wan": ServiceAddress(port=8080)}
)


def test_what_has_an_address_for_outside_is_told_with_it() -> None:
    assert from_afar(NODE) == replace(NODE, address="198.51.100.1")
    assert from_afar(SERVICE) == replace(SERVICE, port=8080)
    named = replace(SERVICE, tagged_addresses={"wan": ServiceAddress(address="web.example.com")})
    assert from_afar(named) == replace(named, address="web.example.com")
    check = HealthCheck(node="n", check_id="c")
    whole = ServiceInstance(node=NODE, service=named, checks=[check])
    assert from_afar(whole) == ServiceInstance(node=from_afar(NODE), service=from_afar(named), checks=[check])


def test_what_has_none_stays_as_it_is() -> None:
    for node in (replace(NODE, tagged_addresses=None), replace(NODE, tagged_addresses={"lan": "a", "wan": ""})):
        assert from_afar(node) is node
    inside = replace(SERVICE, tagged_addresses={"lan": ServiceAddress(address="a", port=1)})
    assert from_afar(inside) is inside
    assert from_afar(None) is None
