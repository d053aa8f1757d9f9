"""Sans-IO. Watches: what a query read, and which of those a batch of writes touched.

How to use it without losing a wake-up:

1. build the WatchSet of the query and `register` it;
2. only then open the read view and evaluate the query;
3. if the answer isn't news, wait for the waiter's `fire()`; then evaluate again (the registration stays in force);
4. `unregister` in the end, whatever happened.

A query that learns only while reading what it depends on may register afterwards, provided that nothing was awaited
between opening its view and registering: batches are committed by the same thread.

A waiter is fired at most once a batch, after the batch is committed, and possibly for nothing: it must look again.
The cost of a batch is one look-up per touched key, plus one per touched key and distinct length of watched prefixes,
plus one call per waiter concerned.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol


class Waiter(Protocol):
    """Whoever waits. `fire` must be quick, must not raise, and must not call back into the registry."""

    def fire(self) -> None:
        """Something that was read has changed, or may have."""


class WatchSet:
    """What one query read: keys and prefixes of tables, or whole tables. Tables are named as in fsm/store/tables.py."""

    __slots__ = ("keys", "prefixes")

    def __init__(self) -> None:
        self.keys: list[tuple[str, bytes]] = []
        self.prefixes: list[tuple[str, bytes]] = []

    def key(self, table: str, key: str | bytes) -> "WatchSet":
        """Add one key, whether it exists or not; returns the set."""
        self.keys.append((table, key.encode() if isinstance(key, str) else key))
        return self

    def prefix(self, table: str, prefix: str | bytes) -> "WatchSet":
        """Add every key that starts with `prefix`; returns the set."""
        self.prefixes.append((table, prefix.encode() if isinstance(prefix, str) else prefix))
        return self

    def table(self, table: str) -> "WatchSet":
        """Add a whole table; returns the set."""
        return self.prefix(table, "")


class Handle:
    """One registration."""

    __slots__ = ("active", "waiter", "watch_set")

    def __init__(self, watch_set: WatchSet, waiter: Waiter) -> None:
        self.watch_set = watch_set
        self.waiter = waiter
        self.active = True


_Handles = dict[Handle, None]
"""An ordered set: waiters are fired in the order in which they registered, the same on every run."""


class _TableWatches:
    __slots__ = ("by_key", "by_prefix", "prefix_lengths")

    def __init__(self) -> None:
        self.by_key: dict[bytes, _Handles] = {}
        self.by_prefix: dict[bytes, _Handles] = {}
        self.prefix_lengths: dict[int, int] = {}
        """Length -> number of distinct prefixes of that length."""


class WatchRegistry:
    """All registrations of one state machine."""

    def __init__(self) -> None:
        self._tables: dict[str, _TableWatches] = {}
        self._handles: _Handles = {}

    def __len__(self) -> int:
        """Return the number of registrations."""
        return len(self._handles)

    def register(self, watch_set: WatchSet, waiter: Waiter) -> Handle:
        """Fire `waiter` for every later batch that touches `watch_set`, until the handle is unregistered."""
        handle = Handle(watch_set, waiter)
        self._handles[handle] = None
        for table, key in watch_set.keys:
            watches = self._tables.setdefault(table, _TableWatches())
            watches.by_key.setdefault(key, {})[handle] = None
        for table, prefix in watch_set.prefixes:
            watches = self._tables.setdefault(table, _TableWatches())
            handles = watches.by_prefix.get(prefix)
            if handles is None:
                handles = watches.by_prefix[prefix] = {}
                watches.prefix_lengths[len(prefix)] = watches.prefix_lengths.get(len(prefix), 0) + 1
            handles[handle] = None
        return handle

    def unregister(self, handle: Handle) -> None:
        """Forget a registration; doing it twice, or after `abandon_all`, is harmless."""
        if not handle.active:
            return
        handle.active = False
        del self._handles[handle]
        for table, key in handle.watch_set.keys:
            watches = self._tables[table]
            handles = watches.by_key.get(key)
            if handles is not None:
                handles.pop(handle, None)
                if not handles:
                    del watches.by_key[key]
        for table, prefix in handle.watch_set.prefixes:
            self._drop_prefix(self._tables[table], prefix, handle)

    @staticmethod
    def _drop_prefix(watches: _TableWatches, prefix: bytes, handle: Handle) -> None:
        handles = watches.by_prefix.get(prefix)
        if handles is None:
            return
        handles.pop(handle, None)
        if handles:
            return
        del watches.by_prefix[prefix]
        watches.prefix_lengths[len(prefix)] -= 1
        if not watches.prefix_lengths[len(prefix)]:
            del watches.prefix_lengths[len(prefix)]

    def fire(self, touched_keys: Mapping[str, Iterable[bytes]], touched_trees: Iterable[tuple[str, bytes]]) -> int:
        """Fire everyone concerned by a committed batch, once each; return how many that were."""
        if not self._handles:
            return 0
        concerned: _Handles = {}
        for table, touched in touched_keys.items():
            watches = self._tables.get(table)
            if watches is not None:
                _match_keys(watches, touched, concerned)
        for table, prefix in touched_trees:
            watches = self._tables.get(table)
            if watches is not None:
                _match_tree(watches, prefix, concerned)
        for handle in concerned:
            handle.waiter.fire()
        return len(concerned)

    def abandon_all(self) -> int:
        """Fire and forget every registration: the state was replaced, so all waiters must look again, now."""
        handles, self._handles = self._handles, {}
        self._tables.clear()
        for handle in handles:
            handle.active = False
        for handle in handles:
            handle.waiter.fire()
        return len(handles)


def _match_keys(watches: _TableWatches, touched: Iterable[bytes], concerned: _Handles) -> None:
    by_key, by_prefix = watches.by_key, watches.by_prefix
    lengths = sorted(watches.prefix_lengths)
    # Many keys under one watched prefix lead to the same waiters: they are collected once.
    prefixes_seen: set[bytes] = set()
    for key in touched:
        handles = by_key.get(key)
        if handles:
            concerned.update(handles)
        for length in lengths:
            if length > len(key):
                break
            prefix = key[:length]
            if prefix in by_prefix and prefix not in prefixes_seen:
                prefixes_seen.add(prefix)
                concerned.update(by_prefix[prefix])


def _match_tree(watches: _TableWatches, prefix: bytes, concerned: _Handles) -> None:
    for key, handles in watches.by_key.items():
        if key.startswith(prefix):
            concerned.update(handles)
    for watched, handles in watches.by_prefix.items():
        if watched.startswith(prefix) or prefix.startswith(watched):
            concerned.update(handles)
