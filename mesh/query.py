"""How a read wants to be answered, and what is known about the answer."""

from typing import Generic, TypeVar

import msgspec

from structs.query import Consistency

T = TypeVar("T")
U = TypeVar("U")
WAIT_S_DEFAULT = 300.0
"""What agents wait at most for a blocking read that does not say."""


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a read. `index` > 0 blocks until the view is newer, at most `wait_s` (0: the agent's default)."""

    consistency: Consistency = Consistency.DEFAULT
    index: int = 0
    wait_s: float = 0.0
    datacenter: str = ""

    def parameters(self) -> dict[str, str]:
        """As query parameters."""
        found: dict[str, str] = {}
        if self.datacenter:
            found["dc"] = self.datacenter
        if self.consistency is not Consistency.DEFAULT:
            found[self.consistency.value] = ""
        if self.index:
            found["index"] = str(self.index)
            if self.wait_s:
                found["wait"] = f"{round(self.wait_s * 1000)}ms"
        return found

    def blocking_s(self) -> float:
        """How much longer than usual the answer may take: the wait and the agent's jitter of a sixteenth."""
        return (self.wait_s or WAIT_S_DEFAULT) * 17 / 16 if self.index else 0.0


DEFAULT_READ = Read()


class Answer(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A value and its meta data."""

    value: T
    index: int
    """To be handed to the next blocking read of the same view; 0 where the endpoint has none."""
    known_leader: bool
    last_contact_s: float
    """How old the answering server's knowledge may be; 0 at the leader."""

    def with_value(self, value: U) -> "Answer[U]":
        """Return the same meta data with another value."""
        return Answer(value=value, index=self.index, known_leader=self.known_leader, last_contact_s=self.last_contact_s)
