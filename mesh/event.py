"""User events."""

from collections.abc import Sequence

from mesh.call import Call, Noun, World, method, read_call, write_call
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.rows import text_map
from mesh.shapes import EVENT
from structs.event import UserEvent


class Events(Noun[World]):
    """`client.event`."""

    @method
    def fire(self, name: str, payload: bytes = b"", *, node: str = "", service: str = "", tag: str = "") -> Call[str]:
        """Send an event to all agents where the regular expressions match; returns its id. It may be lost."""
        filters = {"node": node, "service": service, "tag": tag}
        parameters = {key: text for key, text in filters.items() if text}
        return write_call(
            f"/v1/event/fire/{name}", lambda reply: str(text_map(reply.json()).get("ID")), parameters, body=payload
        )

    @method
    def list(self, name: str = "", read: Read = DEFAULT_READ) -> Call[Answer[Sequence[UserEvent]]]:
        """Return the last events that the agent has seen, oldest first; `name`: only these.

        The index of the answer is that of its last event: it has no order, and blocks while it stays the same.
        """
        return read_call("/v1/event/list", EVENT.rows, read, {"name": name} if name else {})
