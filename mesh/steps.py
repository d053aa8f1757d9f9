"""Sans-IO: procedures for both worlds: generators that yield what is to be done and are sent what came of it.

    now_s = yield Now()                  # monotonic seconds
    session_id = yield Ask(call)         # what the call finds; its MeshError is raised here
    stopped = yield Pause(seconds)       # whether the procedure is to end

`mesh/lock.py` and `mesh/trio_lock.py` carry them out; tests do it with a store and a clock of their own.
"""

from collections.abc import Generator
from typing import Any, TypeVar

import msgspec

from mesh.call import Call

T = TypeVar("T")


class Ask(msgspec.Struct, frozen=True):
    """Carry out a call."""

    call: Call[Any]


class Pause(msgspec.Struct, frozen=True):
    """Wait, unless told to stop."""

    seconds: float


class Now(msgspec.Struct, frozen=True):
    """Look at the monotonic clock."""


Step = Ask | Pause | Now
Procedure = Generator[Step, Any, T]
