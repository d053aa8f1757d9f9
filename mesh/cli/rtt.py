"""`mesh rtt`. Source: command-line specification, rtt."""

import math
from collections.abc import Sequence

from base.errors import MeshError
from mesh.cli.context import Context
from structs.coordinate import Coordinate, NodeCoordinate, distance_s

Positions = dict[str, Coordinate]
"""Of one node, by segment."""


def rtt(context: Context) -> int:
    """Print the estimated round trip between two nodes, or between one and the agent's own."""
    names = list(context.given.arguments)
    wan = context.given.switch("wan")
    if len(names) not in (1, 2):
        context.output.error("One or two node names must be specified")
        return 1
    try:
        if len(names) == 1:
            names.append(_own_name(context, wan=wan))
        if wan and not all(name.rpartition(".")[0] for name in names):
            context.output.error("Node names must be specified as <node name>.<datacenter> with -wan")
            return 1
        found = [_positions(rows, name) for rows, name in _rows(context, names, wan=wan)]
    except MeshError as error:
        context.output.error(f"Error getting coordinates: {error}")
        return 1
    for name, positions in zip(names, found, strict=True):
        if not positions:
            context.output.error(f'Could not find a coordinate for node "{name}"')
            return 1
    shared = sorted(set(found[0]) & set(found[1]))
    estimate_s = distance_s(found[0][shared[0]], found[1][shared[0]]) if shared else math.inf
    if math.isinf(estimate_s):
        context.output.error(f"The coordinates of {names[0]} and {names[1]} cannot be compared")
        return 1
    pool = "WAN" if wan else "LAN"
    context.output.line(
        f"Estimated {names[0]} <-> {names[1]} rtt: {estimate_s * 1000:.3f} ms (using {pool} coordinates)"
    )
    return 0


def _own_name(context: Context, *, wan: bool) -> str:
    config = context.client.agent.self().get("Config") or {}
    name = str(config.get("NodeName", ""))
    return f"{name}.{config.get('Datacenter', '')}" if wan else name


def _rows(context: Context, names: Sequence[str], *, wan: bool) -> list[tuple[Sequence[NodeCoordinate], str]]:
    """Return for each name the rows to look in, and the name as it stands there."""
    if not wan:
        rows = context.client.coordinate.nodes().value
        return [(rows, name) for name in names]
    maps = {each.datacenter: each.coordinates for each in context.client.coordinate.datacenters()}
    parts = [name.rpartition(".") for name in names]
    return [(maps.get(datacenter, []), name) for name, _, datacenter in parts]


def _positions(rows: Sequence[NodeCoordinate], name: str) -> Positions:
    return {row.segment: row.coordinate for row in rows if row.node == name and row.coordinate is not None}
