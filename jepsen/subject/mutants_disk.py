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

    def make(set_current_term: Method) -> Method:
        def in_memory(self: Any, term: int, voted_for_id: str | None) -> None:
            self._term = term
            self._vote = voted_for_id
            # A new segment repeats what the last batch said: it must not know better.
            index, index_term, _, _ = self._batch_end
            self._batch_end = (index, index_term, 0, None)

        return in_memory

    require_source(Journal._next_segment, "term, vote = self._batch_end")
    wrap_method(Journal, "setCurrentTerm", make)


def snapshot_without_tail() -> None:
    """See mutants.py."""
    guards_without("h3_keep_tail")


def guards_without(name: str) -> None:
    """Every replica of this process runs without this guard."""
    guards = Guards(**{name: False})  # raises TypeError where there is none of that name
    require_source(replica.Replica.__init__, "guards or Guards()")
    replace_name(replica, "Guards", lambda: guards)
