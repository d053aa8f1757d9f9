"""Sans-IO: what waits for the application: in order, news of members put together, and never more than a bound.

A flood of joins or events may come faster than the application takes them. It gets what has gathered as one batch, so
that a thousand joins cost it one look at its members; events and queries beyond the bound are dropped and counted,
as the network might have dropped them. News of members never are: they are as many as there are members.
"""

from gossip.instructions import Instruction, MembersChanged, QueryArrived, UserEventArrived

WAITING_MAX = 1024
"""Events and queries that wait: four times what an agent keeps, made up for in some 20 ms."""


class Deliveries:
    """One queue."""

    def __init__(self) -> None:
        self._waiting: list[Instruction] = []
        self._droppable_count = 0
        self.dropped_count = 0
        """Events and queries that had no room since the last `take`."""
        self.members_changed = False
        """Whether news of members wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, instruction: Instruction) -> None:
        """Queue what is for the application."""
        if isinstance(instruction, UserEventArrived | QueryArrived):
            if self._droppable_count >= WAITING_MAX:
                self.dropped_count += 1
                return
            self._droppable_count += 1
        elif isinstance(instruction, MembersChanged):
            self.members_changed = True
            last = self._waiting[-1] if self._waiting else None
            if isinstance(last, MembersChanged) and last.kind == instruction.kind:
                last.members.extend(instruction.members)
                return
            instruction = MembersChanged(kind=instruction.kind, members=list(instruction.members))
        self._waiting.append(instruction)

    def take(self) -> list[Instruction]:
        """Remove and return everything."""
        waiting, self._waiting = self._waiting, []
        self._droppable_count = self.dropped_count = 0
        self.members_changed = False
        return waiting
