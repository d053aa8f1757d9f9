"""Datacenters, nodes, services and where their instances are, as registered."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mesh.call import Call, Noun, Parameters, World, method, nothing, plain_call, read_call, write_call
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.rows import checked, text_map
from mesh.shapes import CHECK, NODE, SERVICE, flat_instance
from structs.catalog import DeregisterCommand, Node, NodeService, RegisterCommand, ServiceInstance


class NodeServices(msgspec.Struct, frozen=True, kw_only=True):
    """A node and its services; `node` None: unknown."""

    node: Node | None
    services: Sequence[NodeService] = ()


class Catalog(Noun[World]):
    """`client.catalog`. Most services are better registered with their agent: `client.agent.register`."""

    @method
    def datacenters(self) -> Call[list[str]]:
        """Return the names of all known datacenters, the nearest first."""
        return plain_call("/v1/catalog/datacenters", _texts)

    @method
    def nodes(
        self,
        *,
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[Node]]]:
        """Return all nodes by name, or the nearest to `near` first; `node_meta`: only nodes that have these pairs."""
        return read_call("/v1/catalog/nodes", NODE.rows, read, selection(near=near, node_meta=node_meta, where=where))

    @method
    def services(
        self, *, node_meta: Mapping[str, str] | None = None, read: Read = DEFAULT_READ
    ) -> Call[Answer[Mapping[str, Sequence[str]]]]:
        """Return the names of all services, each with the tags that its instances have."""
        return read_call("/v1/catalog/services", text_map, read, selection(node_meta=node_meta))

    @method
    def service(
        self,
        name: str,
        *,
        tags: Sequence[str] = (),
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[ServiceInstance]]]:
        """Return the instances of a service that have all of `tags`, whatever their health, without checks."""
        chosen = selection(near=near, node_meta=node_meta, where=where, tags=tags)
        return read_call(f"/v1/catalog/service/{name}", _instances, read, chosen)

    @method
    def connect(
        self,
        name: str,
        *,
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[ServiceInstance]]]:
        """Return the instances that take mesh connections for a service."""
        chosen = selection(near=near, node_meta=node_meta, where=where)
        return read_call(f"/v1/catalog/connect/{name}", _instances, read, chosen)

    @method
    def node(
        self,
        name: str,
        *,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[NodeServices]]:
        """Return a node and its services, by the name or the beginning of the id of the node."""
        return read_call(f"/v1/catalog/node/{name}", _by_id, read, selection(where=where))

    @method
    def node_services(
        self,
        name: str,
        *,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[NodeServices]]:
        """Return the same from the endpoint of newer agents."""
        return read_call(f"/v1/catalog/node-services/{name}", _in_order, read, selection(where=where))

    @method
    def register(self, registration: RegisterCommand) -> Call[None]:
        """Put a node into the catalog, with one service and checks where given; what is there is replaced."""
        row: dict[str, Any] = {"Node": registration.node, "Address": registration.address}
        optional = {
            "ID": registration.node_id,
            "Datacenter": registration.datacenter,
            "TaggedAddresses": registration.tagged_addresses,
            "NodeMeta": registration.node_meta,
            "Service": SERVICE.write(registration.service) if registration.service is not None else None,
            "Checks": [CHECK.write(check) for check in registration.checks],
            "SkipNodeUpdate": registration.skip_node_update,
        }
        row.update({name: value for name, value in optional.items() if value})
        return write_call("/v1/catalog/register", nothing, value=row)

    @method
    def deregister(self, target: DeregisterCommand) -> Call[None]:
        """Take a service of a node out of the catalog, or a check, or the whole node; no error if it is not there."""
        optional = {"ServiceID": target.service_id, "CheckID": target.check_id}
        row = {"Node": target.node, **{name: text for name, text in optional.items() if text}}
        return write_call("/v1/catalog/deregister", nothing, value=row)


def selection(
    *,
    near: str = "",
    node_meta: Mapping[str, str] | None = None,
    where: str = "",
    tags: Sequence[str] = (),
) -> Parameters:
    """Return what narrows and orders a list, as parameters; `where` is a filter expression."""
    parameters: dict[str, str | Sequence[str]] = {}
    if near:
        parameters["near"] = near
    if node_meta:
        parameters["node-meta"] = [f"{key}:{value}" for key, value in node_meta.items()]
    if tags:
        parameters["tag"] = list(tags)
    if where:
        parameters["filter"] = where
    return parameters


def _texts(value: Any) -> list[str]:
    return [str(text) for text in checked(value, list)]


def _instances(value: Any) -> list[ServiceInstance]:
    return [flat_instance(row) for row in checked(value, list)]


def _by_id(value: Any) -> NodeServices:
    body = text_map(value)
    services = [service for _, service in sorted(SERVICE.mapped(body.get("Services")).items())]
    return NodeServices(node=NODE.read(body["Node"]) if body.get("Node") else None, services=services)


def _in_order(value: Any) -> NodeServices:
    body = text_map(value)
    services = SERVICE.rows(body.get("Services"))
    return NodeServices(node=NODE.read(body["Node"]) if body.get("Node") else None, services=services)
