"""Sans-IO: remote execution as whoever asks for it sees it. Source: command-line specification, exec.

The job is a key, locked by a session and deleted with it; agents that the event reaches answer with keys beside it:

    _rexec/<session>/job                 {"Command", "Args", "Script", "Wait"}
    _rexec/<session>/<node>/ack          it begins
    _rexec/<session>/<node>/out/00000    what it printed; an empty one says that it still runs
    _rexec/<session>/<node>/exit         its exit code
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec

EVENT = "_rexec"
PREFIX = "_rexec"
SESSION_TTL_S = 15.0
RENEW_S = 5.0
NANOSECONDS = 1_000_000_000


def job(words: Sequence[str], *, script: bytes, wait_s: float, shell: bool) -> bytes:
    """Return the job as agents read it: words for a shell, words as they are, or a script."""
    row: dict[str, Any] = {
        "Command": " ".join(words) if shell and words else "",
        "Args": [] if shell else list(words),
        "Script": base64.b64encode(script).decode() if script else None,
        "Wait": round(wait_s * NANOSECONDS),
    }
    return json.dumps(row).encode()


def payload(session: str, prefix: str = PREFIX) -> bytes:
    """Return what the event carries."""
    return json.dumps({"Prefix": prefix, "Session": session}, separators=(",", ":")).encode()


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """A node printed something."""

    node: str
    data: bytes


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A node began, or still runs."""

    node: str
    what: str


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A node has finished; `code` is None where it wrote what is no number."""

    node: str
    code: int | None


News = Printed | Told | Finished


class Gathering:
    """What has come so far."""

    def __init__(self, folder: str) -> None:
        """`folder` is that of the session, with its slash."""
        self._folder = folder
        self._seen: set[str] = {folder + "job"}
        self.acknowledged: set[str] = set()
        self.finished: dict[str, int | None] = {}

    def unseen(self, keys: Sequence[str]) -> list[str]:
        """Return the keys to be read, in an order that shows output before the end; each is named once."""
        fresh = [key for key in keys if key.startswith(self._folder) and key not in self._seen]
        self._seen.update(fresh)
        return sorted(fresh, key=lambda key: (key.endswith("/exit"), key))

    def take(self, key: str, value: bytes) -> News | None:
        """Take one key; None where it means nothing."""
        node, _, kind = key.removeprefix(self._folder).partition("/")
        if kind == "ack":
            self.acknowledged.add(node)
            return Told(node=node, what="acknowledged event")
        if kind.startswith("out/"):
            return Printed(node=node, data=value) if value else Told(node=node, what="heartbeat received")
        if kind == "exit":
            text = value.decode("utf-8", "replace").strip()
            code = int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else None
            self.finished[node] = code
            return Finished(node=node, code=code)
        return None

    @property
    def patience_factor(self) -> int:
        """By how much longer than usual to wait for more: nodes that are at it are given twice the time."""
        return 2 if len(self.acknowledged) > len(self.finished) else 1

    def exit_code(self) -> int:
        """0 where everybody who began has finished well, else 2."""
        return 0 if all(self.finished.get(node) == 0 for node in self.acknowledged) else 2
