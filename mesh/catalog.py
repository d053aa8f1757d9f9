"""Datacenters and nodes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mesh.query import DEFAULT_READ, Answer, Read
from structs.catalog import Node

if TYPE_CHECKING:
    from mesh.client import Client


class Catalog:
    """`client.catalog`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def datacenters(self) -> list[str]:
        """Return the names of all known datacenters, the nearest first."""
        return [str(name) for name in self._client.read("/v1/catalog/datacenters").value.json() or []]

    def nodes(
        self, *, near: str = "", node_meta: Mapping[str, str] | None = None, read: Read = DEFAULT_READ
    ) -> Answer[Sequence[Node]]:
        """Return all nodes by name, or the nearest to `near` first; `node_meta`: only nodes that have these pairs."""
        parameters: dict[str, str | Sequence[str]] = {}
        if near:
            parameters["near"] = near
        if node_meta:
            parameters["node-meta"] = [f"{key}:{value}" for key, value in node_meta.items()]
        answer = self._client.read("/v1/catalog/nodes", read, parameters)
        return answer.with_value([_node(row) for row in answer.value.json() or []])


def _node(row: Mapping[str, Any]) -> Node:
    return Node(
        node_id=row.get("ID") or "",
        node=row["Node"],
        address=row.get("Address") or "",
        datacenter=row.get("Datacenter") or "",
        tagged_addresses=row.get("TaggedAddresses"),
        meta=row.get("Meta"),
        create_index=row.get("CreateIndex", 0),
        modify_index=row.get("ModifyIndex", 0),
    )
