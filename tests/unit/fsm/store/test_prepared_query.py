"""Prepared queries in the state: names, templates, sessions, indexes. Source: state store, sections 3 and 12."""

import pytest

from fsm.commands.refusal import Refusal
from fsm.store import prepared_query
from fsm.store.tables import PREPARED_QUERIES
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
SESSION_ID = "00000000-0000-0000-0000-0000000000aa"


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
    replica.register("n1")
    assert replica.session(SESSION_ID, "n1") == SESSION_ID
    for query_id, name, session in ((A, "a", SESSION_ID), (B, "b", SESSION_ID.upper()), (C, "c", "")):
        assert not isinstance(replica.query(CREATE, query(query_id, name, session=session)), Refusal)
    replica.end_sessions(SESSION_ID)
    with replica.machine.read() as view:
        assert [left.query_id for left in prepared_query.every(view)] == [C]
        assert view.index_row(PREPARED_QUERIES.name) == view.index
    replica.check()
