"""Sans-IO. What is in another datacenter, with the addresses under which it is reached from outside of it.

`translate_wan_addrs`: a node's `wan` address takes the place of its own, a service's `wan` address and port take those
of the service, where there are such. Source: agent specification, sections 3 and 9.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from structs.catalog import Node, NodeService, ServiceInstance

WAN: Final = "wan"
T = TypeVar("T")


def from_afar(item: T) -> T:
    """Return a node, a service or an instance as another datacenter sees it; anything else unchanged."""
    translate = _TRANSLATIONS.get(type(item))
    return item if translate is None else translate(item)


def _node(node: Node) -> Node:
    address = (node.tagged_addresses or {}).get(WAN)
    return replace(node, address=address) if address else node


def _service(service: NodeService) -> NodeService:
    there = (service.tagged_addresses or {}).get(WAN)
    if there is None:
        return service
    return replace(service, address=there.address or service.address, port=there.port or service.port)


def _instance(instance: ServiceInstance) -> ServiceInstance:
    return replace(instance, node=_node(instance.node), service=_service(instance.service))


_TRANSLATIONS: Mapping[type, Callable[[Any], Any]] = MappingProxyType(
    {Node: _node, NodeService: _service, ServiceInstance: _instance}
)
