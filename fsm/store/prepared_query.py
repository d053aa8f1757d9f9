"""Prepared queries: one row each. Source: state store specification, section 12.

| table            | key                | value                                       |
| ---------------- | ------------------ | ------------------------------------------- |
| prepared-queries | id, lower case     | encoded `PreparedQuery`, 16-byte hash       |

No two queries have one name, in whatever case; only one template has none. A query that is bound to a session goes with
it (`delete_of_session`), so it may be bound to one that exists only.
"""

from msgspec.structs import replace

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store import keys, secondary
from fsm.store.names import key, lower
from fsm.store.store import Batch, View
from fsm.store.tables import PREPARED_QUERIES, SESSIONS
from structs.prepared_query import PreparedQuery
from structs.registration import is_uuid


def of_row(row: bytes) -> PreparedQuery:
    """Return a stored row as the record."""
    return decode(PreparedQuery, memoryview(row)[:-DIGEST_BYTES])


def get(view: View, query_id: str) -> PreparedQuery | None:
    """Return a query by its id in any case, or None."""
    row_key = key(query_id)
    row = view.get(PREPARED_QUERIES, row_key) if row_key else None
    return of_row(row) if row is not None else None


def every(view: View) -> list[PreparedQuery]:
    """Return all queries, by id."""
    return [of_row(row) for _, row in keys.scan(view.txn, view.handles.pair(PREPARED_QUERIES), b"")]


def by_name(view: View, name: str) -> PreparedQuery | None:
    """Return the query, or template, that has exactly this name in any case, or None; nobody is found by ""."""
    return _first(view, secondary.QUERIES_BY_NAME, name) if name else None


def template_for(view: View, name: str) -> PreparedQuery | None:
    """Return the template with the longest name that `name` begins with, or None."""
    folded = lower(name)
    for length in range(len(folded), -1, -1):
        found = _first(view, secondary.TEMPLATES_BY_NAME, folded[:length])
        if found is not None:
            return found
    return None


def _first(view: View, mark: bytes, name: str) -> PreparedQuery | None:
    for row_key in view.found(mark, key(name)):
        row = view.get(PREPARED_QUERIES, row_key)
        assert row is not None, "an entry without its row"
        return of_row(row)
    return None


def complaint(view: View, query: PreparedQuery) -> str:
    """Return why a query can't be stored, or ""."""
    if query.name:
        other = by_name(view, query.name)
        if other is not None and other.query_id != query.query_id:
            return f"name '{query.name}' aliases an existing query name"
    elif query.is_template:
        other = _first(view, secondary.TEMPLATES_BY_NAME, "")
        if other is not None and other.query_id != query.query_id:
            return "a query template with an empty name already exists"
    if is_uuid(query.name) and get(view, query.name) is not None:
        return f"name '{query.name}' aliases an existing query ID"
    if query.session and not _has_session(view, query.session):
        return f'invalid session "{query.session}"'
    return ""


def _has_session(view: View, session_id: str) -> bool:
    return view.get(SESSIONS, key(session_id)) is not None


def put(batch: Batch, query: PreparedQuery) -> None:
    """Store a query without a complaint, unless it is the same already."""
    row_key = key(query.query_id)
    old_row = batch.get(PREPARED_QUERIES, row_key)
    old = of_row(old_row) if old_row is not None else None
    if old is not None and old == replace(query, create_index=old.create_index, modify_index=old.modify_index):
        return
    create_index = old.create_index if old is not None else batch.index
    row = replace(query, create_index=create_index, modify_index=batch.index)
    batch.write(PREPARED_QUERIES, row_key, encode(row), old_row)
    _touched(batch, row_key)


def delete(batch: Batch, query_id: str) -> bool:
    """Delete a query; return whether there was one."""
    row_key = key(query_id)
    row = batch.get(PREPARED_QUERIES, row_key) if row_key else None
    if row is None:
        return False
    _remove(batch, row_key, row)
    return True


def delete_of_session(batch: Batch, session_id: str) -> None:
    """Delete the queries that are bound to a session, which ends."""
    for row_key in list(batch.found(secondary.QUERIES_BY_SESSION, key(session_id))):
        row = batch.get(PREPARED_QUERIES, row_key)
        assert row is not None, "an entry without its row"
        _remove(batch, row_key, row)


def _remove(batch: Batch, row_key: bytes, row: bytes) -> None:
    batch.remove(PREPARED_QUERIES, row_key, row)
    _touched(batch, row_key)


def _touched(batch: Batch, row_key: bytes) -> None:
    batch.bump(PREPARED_QUERIES.name)
    batch.touched_keys[PREPARED_QUERIES.name][row_key] = None
