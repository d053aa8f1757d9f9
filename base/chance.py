"""Named random generators from one seed, and the only source of UUIDs.

Two components never share a generator, so that one more draw in the first does not change what the second
sees: a seed keeps its meaning when code is added.
"""

import os
import random
import uuid

SEED_BYTES = 16


class Chance:
    """A seed, and the generators that are named under it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @classmethod
    def from_system(cls) -> "Chance":
        """Return a Chance whose seed comes from the operating system; what every real process uses."""
        return cls(int.from_bytes(os.urandom(SEED_BYTES), "big"))

    def generator(self, name: str) -> random.Random:
        """Return the generator called `name`: the same seed and name give the same numbers."""
        return random.Random(f"{self.seed}/{name}")


def uuid_text(generator: random.Random) -> str:
    """Return a version 4 UUID in lower case, drawn from `generator`."""
    return str(uuid.UUID(int=generator.getrandbits(128), version=4))


def uuid_from_system() -> str:
    """Return a version 4 UUID drawn from the operating system: for names that must be unique in the world."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))
