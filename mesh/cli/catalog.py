"""`mesh catalog datacenters | nodes`. Source: command-line specification, catalog."""

from collections.abc import Mapping

from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context
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
    node_meta = _pairs(given.texts("node-meta"))
    try:
        found = context.client.catalog.nodes(near=given.text("near"), node_meta=node_meta, read=context.read()).value
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


def _row(node: Node, node_id: str) -> list[str]:
    return [node.node, node_id, node.address, node.datacenter]


def _map_text(values: Mapping[str, str] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((values or {}).items()))


def _pairs(texts: list[str]) -> dict[str, str]:
    """Return `key=value` texts as a map; raises InvalidRequest for one without its sign."""
    found: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise InvalidRequest(f'Missing "=" value in argument: {text}')
        found[key] = value
    return found
