"""Sans-IO: what all parts of the upper layer have in common, and the words in which it writes to the log."""

import random
from typing import Any

from gossip.config import Settings
from gossip.instructions import Instruction, Log
from gossip.layers import Lower
from gossip.timers import Timers


class Context:
    """One member's settings, chance, deadlines, the lower layer, and the list that instructions go to."""

    lower: Lower
    """Set once, before the first event: either layer must know the other."""

    def __init__(self, settings: Settings, *, rng: random.Random, out: list[Instruction]) -> None:
        self.settings = settings
        self.rng = rng
        self.out = out
        self.timers = Timers()

    def log(self, level: str, text: str, **fields: Any) -> None:
        """Write one line; `level` as in `Log`."""
        self.out.append(Log(level=level, text=text, fields=fields))
