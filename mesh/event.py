"""User events."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mesh.query import DEFAULT_READ, Answer, Read
from structs.event import UserEvent

if TYPE_CHECKING:
    from mesh.client import Client


class Events:
    """`client.event`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def fire(self, name: str, payload: bytes = b"", *, node: str = "", service: str = "", tag: str = "") -> str:
        """Send an event to all agents where the regular expressions match; returns its id. It may be lost."""
        filters = {"node": node, "service": service, "tag": tag}
        parameters = {key: text for key, text in filters.items() if text}
        return str(self._client.write("PUT", f"/v1/event/fire/{name}", parameters, body=payload).json()["ID"])

    def list(self, name: str = "", read: Read = DEFAULT_READ) -> Answer[Sequence[UserEvent]]:
        """Return the last events that the agent has seen, oldest first; `name`: only these.

        The index of the answer is that of its last event: it has no order, and blocks while it stays the same.
        """
        answer = self._client.read("/v1/event/list", read, {"name": name} if name else {})
        return answer.with_value(
            [
                UserEvent(
                    event_id=row["ID"],
                    name=row["Name"],
                    payload=base64.b64decode(row.get("Payload") or ""),
                    node_filter=row.get("NodeFilter") or "",
                    service_filter=row.get("ServiceFilter") or "",
                    tag_filter=row.get("TagFilter") or "",
                    version=row.get("Version", 0),
                    lamport_time=row.get("LTime", 0),
                )
                for row in answer.value.json() or []
            ]
        )
