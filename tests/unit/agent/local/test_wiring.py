"""What of the configuration becomes the node that the catalog knows."""

from agent.config.load import load
from agent.local.wiring import node_info


def test_a_node_tells_what_it_advertises_beside_the_addresses_of_its_configuration() -> None:
    flags = ["-dev", "-node=n1", "-advertise=192.0.2.1", "-advertise-wan=198.51.100.1"]
    extra = 'tagged_addresses { vpn = "10.8.0.1" lan = "203.0.113.1" }'
    config, _ = load([*flags, "-hcl", extra], environment={}, role="agent")
    addresses = {"vpn": "10.8.0.1", "lan": "192.0.2.1", "wan": "198.51.100.1"}
    assert node_info(config, node_id="id").tagged_addresses.items() >= addresses.items()
