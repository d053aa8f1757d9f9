"""Sessions and the keys they hold. Source: state store specification, sections 1, 2 and 5.

| table    | key                 | value                               |
| -------- | ------------------- | ----------------------------------- |
| sessions | id, in lower case   | encoded `Session`, 16-byte hash     |

A session belongs to a node that exists, and names checks on it that exist and are not critical. It ends with any of
them: `checks._write`, `checks.remove` and the deletion of a node are the places where that is seen to, in the same
entry. Which sessions hang on a check, and which keys a session holds, is found by second ways.
"""

from collections.abc import Iterator
from itertools import islice

from msgspec.structs import replace

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store import keys, kv, prepared_query, secondary
from fsm.store.names import key
from fsm.store.store import Batch, View
from fsm.store.tables import KVS, SESSIONS
from structs.session import LOCK_DELAY_NS_MAX, Session, SessionBehavior


def of_row(row: bytes) -> Session:
    """Return a stored row as the record."""
    return decode(Session, memoryview(row)[:-DIGEST_BYTES])


def get(view: View, session_id: str) -> Session | None:
    """Return a session by its id in any case, or None."""
    row = view.get(SESSIONS, key(session_id)) if session_id else None
    return of_row(row) if row is not None else None


def every(view: View) -> Iterator[Session]:
    """Yield all sessions, by id."""
    for _, row in keys.scan(view.txn, view.handles.pair(SESSIONS), b""):
        yield of_row(row)


def slice_after(view: View, session_key: bytes, count_max: int) -> list[tuple[bytes, Session]]:
    """Return up to `count_max` sessions, with their keys, that come after `session_key`."""
    found: list[tuple[bytes, Session]] = []
    pair = view.handles.pair(SESSIONS)
    target = session_key + b"\x00"
    while len(found) < count_max and (item := keys.seek(view.txn, pair, target)) is not None:
        found.append((item[0], of_row(item[1])))
        target = item[0] + b"\x00"
    return found


def count(view: View) -> int:
    """Return how many sessions there are."""
    return int(view.txn.stat(view.handles.pair(SESSIONS).main)["entries"])


def of_node(view: View, node: str) -> list[Session]:
    """Return the sessions of a node, by id."""
    return [of_row(_row(view, row_key)) for row_key in view.found(secondary.SESSIONS_BY_NODE, key(node))]


def keys_held_count(view: View, session_id: str, count_max: int) -> int:
    """Return how many keys a session holds, counting no further than `count_max`."""
    return sum(1 for _ in islice(view.found(secondary.KEYS_BY_SESSION, key(session_id)), count_max))


def keys_held(view: View, session_id: str, count_max: int) -> list[str]:
    """Return the keys that a session holds, in order, no more than `count_max`."""
    return [held.decode() for held in islice(view.found(secondary.KEYS_BY_SESSION, key(session_id)), count_max)]


def _row(view: View, row_key: bytes) -> bytes:
    row = view.get(SESSIONS, row_key)
    assert row is not None, "an entry without its row"
    return row


def create(batch: Batch, session: Session) -> None:
    """Store a new session; what it names is there."""
    row = replace(session, create_index=batch.index, modify_index=batch.index)
    row_key = key(session.session_id)
    batch.write(SESSIONS, row_key, encode(row), None)
    _touched(batch, row_key)


def destroy(batch: Batch, row_key: bytes) -> None:
    """End a session, if it is there: its keys are let go or deleted. What hangs on sessions ends here, nowhere else."""
    row = batch.get(SESSIONS, row_key)
    if row is None:
        return
    session = of_row(row)
    deletes = session.behavior is SessionBehavior.DELETE
    for held in list(batch.found(secondary.KEYS_BY_SESSION, row_key)):
        held_row = batch.get(KVS, held)
        assert held_row is not None, "a held key without its row"
        if deletes:
            kv.delete(batch, held, held_row)
        else:
            kv.release(batch, held, held_row)
        if session.lock_delay_ns > 0:
            batch.locks_lost.append((held, min(session.lock_delay_ns, LOCK_DELAY_NS_MAX)))
    prepared_query.delete_of_session(batch, session.session_id)
    batch.remove(SESSIONS, row_key, row)
    _touched(batch, row_key)


def end_with_check(batch: Batch, check_key: bytes) -> None:
    """End the sessions that name a check which has turned critical or goes away; `check_key`: that of its row."""
    for row_key in list(batch.found(secondary.SESSIONS_BY_CHECK, check_key)):
        destroy(batch, row_key)


def end_with_node(batch: Batch, node_key: bytes) -> None:
    """End the sessions of a node that goes away."""
    for row_key in list(batch.found(secondary.SESSIONS_BY_NODE, node_key)):
        destroy(batch, row_key)


def _touched(batch: Batch, row_key: bytes) -> None:
    batch.bump(SESSIONS.name)
    batch.touched_keys[SESSIONS.name][row_key] = None
