"""`mesh catalog datacenters | nodes | services`. Source: command-line specification, catalog."""

from collections.abc import Mapping, Sequence

from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context
from mesh.cli.output import pairs
from structs.catalog import Node

NONE_TEXT = "No nodes match the given query - try expanding your search."


def datacenters(context: Context) -> int:
    """Print the names of all datacenters, one a line."""
    try:
        names = context.client.catalog.datacenters()
    except MeshError as error:
        context.output.error(f"Error listing datacenters: {error}")
        return 1
    for name in names:
        context.output.line(name)
    return 0


def nodes(context: Context) -> int:
    """Print the nodes as a table."""
    given = context.given
    try:
        found = _nodes(context, pairs_of(given.texts("node-meta")))
    except InvalidRequest:
        raise
    except MeshError as error:
        context.output.error(f"Error listing nodes: {error}")
        return 1
    if not found:
        context.output.line(NONE_TEXT)
        return 0
    if given.switch("detailed"):
        rows = [["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]]
        rows += [[*_row(node, node.node_id), _map_text(node.tagged_addresses), _map_text(node.meta)] for node in found]
    else:
        rows = [["Node", "ID", "Address", "DC"]]
        rows += [_row(node, node.node_id.partition("-")[0]) for node in found]
    context.output.table(rows)
    return 0


def _nodes(context: Context, node_meta: Mapping[str, str]) -> Sequence[Node]:
    given, read = context.given, context.read()
    near, service = given.text("near"), given.text("service")
    catalog = context.client.catalog
    if not service:
        return catalog.nodes(near=near, node_meta=node_meta, read=read).value
    instances = catalog.service(service, near=near, node_meta=node_meta, read=read).value
    return list({instance.node.node: instance.node for instance in instances}.values())


def services(context: Context) -> int:
    """Print the names of services, with `-tags` the tags of each."""
    given = context.given
    node, node_meta = given.text("node"), pairs_of(given.texts("node-meta"))
    try:
        found = (
            _of_node(context, node)
            if node
            else context.client.catalog.services(node_meta=node_meta, read=context.read()).value
        )
    except MeshError as error:
        context.output.error(f"Error listing services: {error}")
        return 1
    if not found:
        context.output.error("No services match the given query - try expanding your search.")
        return 0
    names = sorted(found)
    lines = pairs([(name, ",".join(sorted(found[name]))) for name in names]) if given.switch("tags") else names
    for line in lines:
        context.output.line(line)
    return 0


def _of_node(context: Context, node: str) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for service in context.client.catalog.node(node, read=context.read()).value.services:
        tags = found.setdefault(service.service, [])
        tags += [tag for tag in service.tags or [] if tag not in tags]
    return found


def _row(node: Node, node_id: str) -> list[str]:
    return [node.node, node_id, node.address, node.datacenter]


def _map_text(values: Mapping[str, str] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((values or {}).items()))


def pairs_of(texts: list[str]) -> dict[str, str]:
    """Return `key=value` texts as a map; raises InvalidRequest for one without its sign."""
    found: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise InvalidRequest(f'Missing "=" value in argument: {text}')
        found[key] = value
    return found
