"""Prepared queries in the state: names, templates, sessions, indexes. Source: state store, sections 3 and 12."""

import pytest
from msgspec.structs import replace

from fsm.commands.refusal import Refusal
from fsm.store import prepared_query
from fsm.store.names import key
from fsm.store.tables import PREPARED_QUERIES, SESSIONS
from structs.prepared_query import (
    PreparedQuery,
    PreparedQueryApplyReply,
    PreparedQueryOp,
    QueryTemplate,
    ServiceQuery,
)
from tests.fakes.replica import Replica

A, B, C = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "abc")
PREFIX = QueryTemplate(kind="name_prefix_match")
CREATE, UPDATE, DELETE = PreparedQueryOp


def query(query_id: str, name: str = "", **fields: object) -> PreparedQuery:
    return PreparedQuery(query_id=query_id, name=name, **{"service": ServiceQuery(service="web"), **fields})  # type: ignore[arg-type]


def stored(replica: Replica, query_id: str) -> PreparedQuery | None:
    with replica.machine.read() as view:
        return prepared_query.get(view, query_id)


def names_found(replica: Replica, *names: str) -> list[str | None]:
    """The name of the template that each name leads to."""
    with replica.machine.read() as view:
        found = [prepared_query.template_for(view, name) for name in names]
    return [None if each is None else each.name for each in found]


def test_a_query_is_stored_replaced_and_deleted_and_moves_its_counter_only_then(replica: Replica) -> None:
    assert replica.query(CREATE, query(A, "Web")) == PreparedQueryApplyReply(query_id=A)
    found = stored(replica, A.upper())
    assert found is not None
    assert (found.create_index, found.modify_index, replica.counters()) == (1, 1, {"prepared-queries": 1})
    replica.set("another", b"table")
    before = replica.dump()["prepared-queries"]
    assert replica.query(UPDATE, query(A, "Web")) == PreparedQueryApplyReply(query_id=A)
    assert replica.dump()["prepared-queries"] == before, "what is the same is not written"
    assert replica.counters()["prepared-queries"] == 1
    replica.query(UPDATE, query(A, "Other", dns_ttl="3s"))
    found = stored(replica, A)
    assert found is not None
    assert (found.name, found.dns_ttl, found.create_index, found.modify_index) == ("Other", "3s", 1, 4)
    assert replica.query(CREATE, query(B, "WEB")) == PreparedQueryApplyReply(query_id=B), "the old name is free"
    assert replica.query(DELETE, PreparedQuery(query_id=A)) == PreparedQueryApplyReply(query_id=A)
    assert stored(replica, A) is None
    assert replica.counters()["prepared-queries"] == replica.machine.index_applied


@pytest.mark.parametrize(
    ("op", "refused", "text"),
    [
        (CREATE, query(A, "n"), f"a new prepared query cannot have the ID '{A}'"),
        (CREATE, query("", "n"), "a new prepared query cannot have the ID ''"),
        (UPDATE, query(C, "n"), f"Cannot modify non-existent prepared query: '{C}'"),
        (DELETE, query(C), f"Cannot modify non-existent prepared query: '{C}'"),
        (CREATE, query(C, "WEB"), "name 'WEB' aliases an existing query name"),
        (CREATE, query(C, "web", template=PREFIX), "name 'web' aliases an existing query name"),
        (CREATE, query(C, "", template=PREFIX), "a query template with an empty name already exists"),
        (CREATE, query(C, A.upper()), f"name '{A.upper()}' aliases an existing query ID"),
        (CREATE, query(C, "n", session="s"), 'invalid session "s"'),
        (UPDATE, query(B, "web"), "name 'web' aliases an existing query name"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_text(
    replica: Replica, op: PreparedQueryOp, refused: PreparedQuery, text: str
) -> None:
    replica.query(CREATE, query(A, "Web"))
    replica.query(CREATE, query(B, "", template=PREFIX))
    before = replica.dump()
    assert replica.query(op, refused) == Refusal(text=text)
    assert replica.dump() == before


def test_the_longest_template_that_a_name_begins_with_answers(replica: Replica) -> None:
    for query_id, name in ((A, "geo-"), (B, "Geo-DB-")):
        replica.query(CREATE, query(query_id, name, template=PREFIX))
    assert names_found(replica, "geo-web", "GEO-db-1", "geo-db", "geo", "") == ["geo-", "Geo-DB-", "geo-", None, None]
    replica.query(CREATE, query(C, "", template=PREFIX))
    assert names_found(replica, "geo", "", "ge\x00o") == ["", "", ""]
    with replica.machine.read() as view:
        found = prepared_query.by_name(view, "GEO-")
        assert found is not None
        assert found.query_id == A
        assert prepared_query.by_name(view, "") is None
    replica.query(UPDATE, query(A, "geo-"))
    assert names_found(replica, "geo-web") == [""], "it is no template any more"


def test_queries_of_a_session_go_with_it(replica: Replica) -> None:
    machine = replica.machine
    for query_id, name in ((A, "a"), (B, "b"), (C, "c")):
        replica.query(CREATE, query(query_id, name))
    batch = machine.store.write()
    try:
        batch.raft_index = batch.index = replica.raft_index + 1
        batch.write(SESSIONS, key("s1"), b"", None)
        for query_id in (A, B):
            found = prepared_query.get(batch, query_id)
            assert found is not None
            bound = replace(found, session="S1")
            assert prepared_query.complaint(batch, bound) == ""
            prepared_query.put(batch, bound)
        prepared_query.delete_of_session(batch, "s1")
        assert [left.query_id for left in prepared_query.every(batch)] == [C]
        assert set(batch.touched_keys[PREPARED_QUERIES.name]) == {A.encode(), B.encode()}
    finally:
        batch.abort()
