"""What a journal must say, in the plainest form, and random scripts that drive both.

Used by the property tests: after any crash the journal read back equals one of the model's versions that the
disk may hold.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from server.raft.journal import Journal


@dataclass(frozen=True)
class JournalModel:
    """Base position, entries behind it, hard state, commit index."""

    base: tuple[int, int] = (1, 0)
    entries: tuple[tuple[bytes, int, int], ...] = ()
    term: int = 0
    vote: str | None = None
    commit_index: int = 1

    @property
    def last(self) -> tuple[int, int]:
        return self.entries[-1][1:] if self.entries else self.base

    def agrees_with(self, journal: Journal) -> bool:
        """Whether `journal` is this log. Its base may lie lower: segments go whole, or after a later sync."""
        if journal.first_index > self.base[0] or journal.term_at(self.base[0]) != self.base[1]:
            return False
        hard_state = (journal.getCurrentTerm(), journal.getVotedForNodeId())
        return tuple(journal.entries_from(self.base[0] + 1)) == self.entries and hard_state == (self.term, self.vote)


@dataclass
class Script:
    """Drives a journal and its model through random steps; `durable` and `syncing` are what a crash may leave."""

    journal: Journal
    rng: random.Random
    model: JournalModel = field(default_factory=JournalModel)
    durable: JournalModel = field(default_factory=JournalModel)
    syncing: JournalModel | None = None

    def step(self) -> None:
        """One random step."""
        step = self.rng.choices(
            (self.add, self.truncate, self.set_hard_state, self.commit, self.sync, self.trim, self.reset),
            weights=(40, 6, 8, 8, 25, 6, 2),
        )[0]
        step()

    def add(self) -> None:
        for _ in range(self.rng.randint(1, 4)):
            index, term = self.model.last[0] + 1, max(self.model.last[1], self.model.term)
            command = self.rng.choice(
                (b"", b"\x00" * 1500, self.rng.randbytes(self.rng.randint(1, 700)), b"\xff" * 512)
            )
            self.journal.add(command, index, term)
            self.model = replace(self.model, entries=(*self.model.entries, (command, index, term)))

    def truncate(self) -> None:
        low = max(self.model.commit_index, self.model.base[0]) + 1
        if low > self.model.last[0]:
            return
        index = self.rng.randint(low, self.model.last[0])
        self.journal.deleteEntriesFrom(index - self.journal.first_index)
        kept = tuple(entry for entry in self.model.entries if entry[1] < index)
        self.model = replace(self.model, entries=kept)

    def set_hard_state(self) -> None:
        term = self.model.term + self.rng.randint(1, 3)
        self.journal.setCurrentTerm(term, None)
        vote = self.rng.choice((None, "a" * 36, "b"))
        self.journal.setCurrentTerm(term, vote)
        self.model = replace(self.model, term=term, vote=vote)

    def commit(self) -> None:
        low, high = max(self.model.commit_index, self.model.base[0]), self.model.last[0]
        index = self.rng.randint(min(low, high), high)
        self.journal.setRaftCommitIndex(index)
        self.model = replace(self.model, commit_index=max(index, self.model.commit_index))

    def trim(self) -> None:
        if self.model.commit_index <= self.model.base[0]:
            return
        index = self.rng.randint(self.model.base[0] + 1, self.model.commit_index)
        term = self.journal.term_at(index)
        assert term >= 0
        self.journal.trim_to(index)
        kept = tuple(entry for entry in self.model.entries if entry[1] > index)
        self.model = replace(self.model, base=(index, term), entries=kept)

    def reset(self) -> None:
        index, term = self.model.last[0] + self.rng.randint(1, 50), self.model.last[1] + self.rng.randint(0, 2)
        self.journal.reset_to(index, term)
        self.model = replace(self.model, base=(index, term), entries=(), commit_index=index)

    def sync(self) -> None:
        self.syncing = self.model
        self.journal.sync()
        self.durable, self.syncing = self.model, None

    def survivor(self, journal: Journal) -> JournalModel:
        """Which version `journal`, read back after a crash, is; fails if it is none that was promised."""
        versions = [self.durable] if self.syncing is None else [self.syncing, self.durable]
        for version in versions:
            if version.agrees_with(journal):
                # What was committed later speaks of another log: this one may end with entries that were cut meanwhile.
                assert journal.getRaftCommitIndex() <= version.commit_index
                return replace(version, commit_index=max(version.base[0], journal.getRaftCommitIndex()))
        read = (journal.first_index, journal[-1][1:], journal.getCurrentTerm(), journal.getVotedForNodeId())
        raise AssertionError(f"read {read}, expected {[(v.base, v.last, v.term, v.vote) for v in versions]}")
