"""Writers that remember how each of their writes ended, and the check that nothing acknowledged was lost.

Outcomes are three: *ok* (acknowledged), *failed* (certainly did not happen), *unknown* (may have happened, or may
happen yet). Every key is written by one writer only, one write at a time, so what a key may hold at the end
follows from its own story: the last acknowledged value, or one whose write is still open.
"""

import base64
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import trio

from jepsen.http_client import HTTPConnection, NotAnswered, NotSent, Reply

RETRY_PAUSE_S = 0.02


class Outcome(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class BadAnswer(AssertionError):
    """A server said something it may never say."""


@dataclass
class KeyStory:
    """What one key may hold. None stands for "absent"."""

    acknowledged: bytes | None = None
    maybe: set[bytes] = field(default_factory=set)
    ever_failed: set[bytes] = field(default_factory=set)

    def note(self, value: bytes, outcome: Outcome, *, by_cas: bool) -> None:
        """Remember how the write of `value` ended.

        An open plain write may still arrive after a later one was acknowledged, so it stays possible for ever. An
        open compare-and-set cannot: the later one has moved the index that it waits for.
        """
        match outcome:
            case Outcome.OK:
                self.acknowledged = value
                if by_cas:
                    self.maybe.clear()
            case Outcome.FAILED:
                self.ever_failed.add(value)
            case Outcome.UNKNOWN:
                self.maybe.add(value)

    def complaint(self, found: bytes | None) -> str | None:
        """Why `found` contradicts the story, or None."""
        if found == self.acknowledged or found in self.maybe:
            return None
        if found in self.ever_failed:
            return f"holds {found!r}, whose write was said to have failed; acknowledged {self.acknowledged!r}"
        return f"holds {found!r}; acknowledged {self.acknowledged!r}, open {sorted(self.maybe)!r}"


def classify(reply: Reply) -> Outcome:
    """The outcome that the answer to a write claims; raises BadAnswer if it claims none."""
    if reply.status == 200:
        return Outcome.OK if reply.body.strip() == b"true" else Outcome.FAILED
    claim = reply.headers.get("x-mesh-outcome")
    if claim == "refused":
        return Outcome.FAILED
    if claim == "unknown":
        return Outcome.UNKNOWN
    raise BadAnswer(f"{reply.status} {reply.body[:200]!r} says neither refused nor unknown: {reply.headers}")


@dataclass
class Writer:
    """Writes keys of its own, plainly or by compare-and-set, moving on to another address when one fails."""

    name: str
    addresses: Sequence[str]
    rng: random.Random
    keys_count: int = 20
    by_cas: bool = False
    stories: dict[str, KeyStory] = field(default_factory=dict)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    acknowledged_at_s: list[float] = field(default_factory=list)
    _sequence: int = 0
    _indexes: dict[str, int] = field(default_factory=dict)

    async def run(self, stop: trio.Event) -> None:
        """Write until told to stop. A write that is under way is finished, so that its outcome is known."""
        connection = HTTPConnection(self.rng.choice(self.addresses))
        try:
            while not stop.is_set():
                outcome = await self._write_once(connection)
                self.outcomes[outcome] += 1
                if outcome is Outcome.OK:
                    self.acknowledged_at_s.append(trio.current_time())
                else:
                    connection.close()
                    connection = HTTPConnection(self.rng.choice(self.addresses))
                    await trio.sleep(RETRY_PAUSE_S)
        finally:
            connection.close()

    async def _write_once(self, connection: HTTPConnection) -> Outcome:
        self._sequence += 1
        key = f"load/{self.name}/{self._sequence % self.keys_count}"
        value = f"{self.name}:{self._sequence}".encode()
        story = self.stories.setdefault(key, KeyStory())
        path = f"/v1/kv/{key}"
        try:
            if self.by_cas:
                index = await self._index_of(connection, path)
                if index is None:
                    return Outcome.FAILED  # only the read failed: nothing was asked to change
                path += f"?cas={index}"
            outcome = classify(await connection.request("PUT", path, value))
        except NotSent:
            outcome = Outcome.FAILED
        except NotAnswered:
            outcome = Outcome.UNKNOWN
        story.note(value, outcome, by_cas=self.by_cas)
        return outcome

    async def _index_of(self, connection: HTTPConnection, path: str) -> int | None:
        """The key's ModifyIndex, 0 if absent; None if it could not be read just now."""
        try:
            reply = await connection.request("GET", path + "?consistent")
        except (NotSent, NotAnswered):
            return None
        if reply.status == 404:
            return 0
        return int(reply.json()[0]["ModifyIndex"]) if reply.status == 200 else None


async def read_all(address: str, prefix: str, *, mode: str = "consistent") -> dict[str, bytes]:
    """Every key under the prefix with its value, as the server at `address` answers in that consistency mode."""
    async with HTTPConnection(address) as connection:
        reply = await connection.request("GET", f"/v1/kv/{prefix}?recurse&{mode}", timeout_s=30.0)
    if reply.status == 404:
        return {}
    assert reply.status == 200, (reply.status, reply.body[:200])
    return {entry["Key"]: base64.b64decode(entry["Value"] or "") for entry in reply.json()}


def complaints(writers: Sequence[Writer], found: dict[str, bytes]) -> list[str]:
    """Every key whose value contradicts what its writer was told."""
    said = []
    for writer in writers:
        for key, story in writer.stories.items():
            complaint = story.complaint(found.get(key))
            if complaint:
                said.append(f"{key}: {complaint}")
    return said
