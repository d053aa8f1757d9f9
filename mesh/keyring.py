"""The keys of gossip."""

import json
from typing import TYPE_CHECKING

from structs.keyring import KeyringAnswer

if TYPE_CHECKING:
    from mesh.client import Client

PATH = "/v1/operator/keyring"


class Keyring:
    """`client.operator.keyring`. Keys are base64; the agent must be a server's."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, *, relay_factor: int = 0) -> list[KeyringAnswer]:
        """Return which keys are installed on how many nodes, pool by pool."""
        rows = self._client.read(PATH, parameters=_relayed(relay_factor)).value.json() or []
        return [
            KeyringAnswer(
                wan=row.get("WAN", False),
                datacenter=row.get("Datacenter") or "",
                segment=row.get("Segment") or "",
                messages=row.get("Messages") or {},
                keys=row.get("Keys") or {},
                primary_keys=row.get("PrimaryKeys") or {},
                nodes_count=row.get("NumNodes", 0),
                error=row.get("Error") or "",
            )
            for row in rows
        ]

    def install(self, key: str, *, relay_factor: int = 0) -> None:
        """Give a new key to all nodes: from then on they understand what is sealed with it."""
        self._change("POST", key, relay_factor)

    def use(self, key: str, *, relay_factor: int = 0) -> None:
        """Make all nodes seal with an installed key."""
        self._change("PUT", key, relay_factor)

    def remove(self, key: str, *, relay_factor: int = 0) -> None:
        """Take a key that is not in use away from all nodes."""
        self._change("DELETE", key, relay_factor)

    def _change(self, method: str, key: str, relay_factor: int) -> None:
        body = json.dumps({"Key": key}).encode()
        self._client.write(method, PATH, _relayed(relay_factor), body=body)


def _relayed(relay_factor: int) -> dict[str, str]:
    return {"relay-factor": str(relay_factor)} if relay_factor else {}
