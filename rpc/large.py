"""Sans-IO: replies that are larger than one frame. They are announced with their size, and travel in parts.

The sender keeps such replies aside and hands out one part whenever nothing else is to be sent, of each reply in turn:
all other output overtakes them. The receiver agrees to the announced size before it keeps a byte, or cancels the call.
"""

from collections import deque
from typing import Final

from rpc.errors import ProtocolViolated
from rpc.frame import BODY_BYTES_MAX, CHUNK_BYTES_MAX, KIB, MIB

PART_BYTES: Final = 256 * KIB
"""What small output waits for at most; beyond this size larger parts are no cheaper."""
REPLY_BYTES_MAX: Final = 256 * MIB
"""One reply: five times all of a catalog of 50,000 instances with their nodes and checks."""
LARGE_BYTES_MAX: Final = 512 * MIB
"""Large replies under way, of all connections of a pool or a listener, with the sizes that are announced."""

assert PART_BYTES <= CHUNK_BYTES_MAX
assert BODY_BYTES_MAX < REPLY_BYTES_MAX <= LARGE_BYTES_MAX


class Budget:
    """What the connections of one process end may hold together."""

    __slots__ = ("bytes_left",)

    def __init__(self, bytes_max: int = LARGE_BYTES_MAX) -> None:
        self.bytes_left = bytes_max

    def take(self, size: int) -> bool:
        """Take so many bytes, or nothing and return False."""
        if size > self.bytes_left:
            return False
        self.bytes_left -= size
        return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.bytes_left += size


class Arriving:
    """A large reply of which not everything is here."""

    __slots__ = ("_parts", "bytes_missing", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes_missing = size
        self._parts: list[bytes] = []

    def part_received(self, part: bytes) -> bytes | None:
        """Return the reply if this was the last part of it; raises ProtocolViolated for what was not announced."""
        if not 0 < len(part) <= min(CHUNK_BYTES_MAX, self.bytes_missing):
            raise ProtocolViolated("an empty part, or one beyond the size of its reply")
        self.bytes_missing -= len(part)
        self._parts.append(part)
        return None if self.bytes_missing else b"".join(self._parts)


class Leaving:
    """The large replies of one connection that are not sent yet, the next one in turn first."""

    __slots__ = ("_budget", "_positions", "_replies")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._replies: deque[tuple[int, bytes]] = deque()
        self._positions: dict[int, int] = {}
        """By call: bytes that were handed out."""

    def __len__(self) -> int:
        """Return how many replies wait."""
        return len(self._replies)

    def add(self, seq: int, body: bytes) -> bool:
        """Keep a reply; False: too much is under way, and nothing was kept."""
        if not self._budget.take(len(body)):
            return False
        self._replies.append((seq, body))
        self._positions[seq] = 0
        return True

    def next_part(self) -> tuple[int, bytes]:
        """Return the call and the next part of the reply that is in turn; there is one."""
        seq, body = self._replies.popleft()
        start = self._positions[seq]
        end = start + PART_BYTES
        if end < len(body):
            self._positions[seq] = end
            self._replies.append((seq, body))
        else:
            del self._positions[seq]
            self._budget.give(len(body))
        return seq, body[start:end]

    def drop(self, seq: int) -> None:
        """Nobody waits for this reply any more; does nothing if there is none."""
        if self._positions.pop(seq, None) is None:
            return
        for position, (each, body) in enumerate(self._replies):
            if each == seq:
                del self._replies[position]
                self._budget.give(len(body))
                return

    def clear(self) -> None:
        """Drop all of them."""
        for _, body in self._replies:
            self._budget.give(len(body))
        self._replies.clear()
        self._positions.clear()
