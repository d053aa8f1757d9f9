"""A journal in memory with durable and volatile halves: for tests of the core that have no business with files."""

from collections.abc import Callable
from typing import Any

from base.errors import require

Entry = tuple[bytes, int, int]


class JournalMemory:
    """What survives a crash of the process that used it."""

    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.entries: list[Entry] = list(entries) if entries else [(b"\x01", 1, 0)]
        self.term = 0
        self.vote: str | None = None
        self.commit_index = 1


class FakeJournal:
    """Same interface as `server.raft.journal.Journal`; `sync` copies into the memory that survives."""

    def __init__(self, memory: JournalMemory) -> None:
        self._memory = memory
        self.entries = list(memory.entries)
        self.term, self.vote = memory.term, memory.vote
        self.commit_index = memory.commit_index
        self.dirty = False

    def add(self, command: bytes, index: int, term: int) -> None:
        last = self.entries[-1]
        require(
            index == last[1] + 1 and term >= last[2], "an entry that does not follow the last", index, term, last[1:]
        )
        self.entries.append((command, index, term))
        self.dirty = True

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: Any) -> Any:
        return self.entries[position]

    def deleteEntriesFrom(self, position: int) -> None:
        del self.entries[position:]
        self.dirty = True

    def setRaftCommitIndex(self, index: int) -> None:
        self.commit_index = max(index, self.commit_index)

    def getRaftCommitIndex(self) -> int:
        return min(self.commit_index, self.entries[-1][1])

    def setCurrentTerm(self, term: int, voted_for_id: str | None) -> None:
        require(term > self.term or self.vote in (None, voted_for_id), "a second vote in one term", term)
        self.term, self.vote, self.dirty = term, voted_for_id, True

    def getCurrentTerm(self) -> int:
        return self.term

    def getVotedForNodeId(self) -> str | None:
        return self.vote

    def onOneSecondTimer(self) -> None:
        pass

    @property
    def first_index(self) -> int:
        return self.entries[0][1]

    @property
    def last_index(self) -> int:
        return self.entries[-1][1]

    @property
    def synced_term(self) -> int:
        return self._memory.term

    def term_at(self, index: int) -> int | None:
        position = index - self.first_index
        return self.entries[position][2] if 0 <= position < len(self.entries) else None

    def trim_to(self, index: int) -> None:
        position = index - self.first_index
        if position > 0:
            self.entries[: position + 1] = [(b"\x01", index, self.entries[position][2])]
            self.dirty = True

    def reset_to(self, index: int, term: int) -> None:
        self.entries = [(b"\x01", index, term)]
        self.commit_index = max(self.commit_index, index)
        self.dirty = True

    def begin_sync(self) -> Callable[[], None]:
        entries, term, vote, commit_index = list(self.entries), self.term, self.vote, self.commit_index
        self.dirty = False

        def run() -> None:
            memory = self._memory
            memory.entries, memory.term, memory.vote, memory.commit_index = entries, term, vote, commit_index

        return run

    def sync(self) -> None:
        self.begin_sync()()
