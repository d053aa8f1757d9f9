"""Mutants that promise what their disk does not hold."""

import threading
from collections.abc import Callable
from typing import Any

from base.disk import DiskFile
from jepsen.subject.patching import replace_name, require_source, wrap_method
from server.raft import replica
from server.raft.journal import Journal
from server.raft.timings import Guards

Method = Callable[..., Any]


class _NeverSynced:
    """A file whose `sync` does nothing."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def sync(self) -> None:
        """Nothing."""


def no_fsync() -> None:
    """See mutants.py."""

    def make(write_batch: Method) -> Method:
        def without_sync(self: Any, *arguments: Any) -> None:
            file = self._file
            self._file = _NeverSynced(file)
            try:
                write_batch(self, *arguments)
            finally:
                self._file = file

        return without_sync

    require_source(Journal._write_batch, "self._file.write(", "self._file.sync()")
    wrap_method(Journal, "_write_batch", make)


def ack_before_sync() -> None:
    """See mutants.py."""

    def make(begin_sync: Method) -> Method:
        def in_background(self: Any) -> Callable[[], None]:
            thread: threading.Thread | None = vars(self).get("_background_sync")
            if thread is not None and thread.is_alive():
                return lambda: None  # what has come meanwhile stays in the buffer; its promises leave all the same
            run = begin_sync(self)

            def begin() -> None:
                self._background_sync = threading.Thread(target=run, daemon=True)
                self._background_sync.start()

            return begin

        return in_background

    wrap_method(Journal, "begin_sync", make)


def vote_not_stored() -> None:
    """See mutants.py."""

    def set_of(set_current_term: Method) -> Method:
        def in_memory(self: Any, term: int, voted_for_id: str | None) -> None:
            self._term = self.synced_term = term
            self._vote = voted_for_id

        return in_memory

    def remember_of(remember_batch_end: Method) -> Method:
        def without_vote(self: Any) -> None:
            # What the next segment's header repeats must not know better than the batches.
            term, vote = self._term, self._vote
            self._term, self._vote = 0, None
            remember_batch_end(self)
            self._term, self._vote = term, vote

        return without_vote

    require_source(Journal.__init__, "self.synced_term = ")
    require_source(Journal._remember_batch_end, "self._term, self._vote")
    wrap_method(Journal, "setCurrentTerm", set_of)
    wrap_method(Journal, "_remember_batch_end", remember_of)


def snapshot_without_tail() -> None:
    """See mutants.py."""
    guards_without("h3_keep_tail")


def guards_without(name: str) -> None:
    """Every replica of this process runs without this guard."""
    guards = Guards(**{name: False})  # raises TypeError where there is none of that name
    require_source(replica.Replica.__init__, "guards or Guards()")
    replace_name(replica, "Guards", lambda: guards)
