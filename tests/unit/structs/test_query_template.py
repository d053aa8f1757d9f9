"""Templates of prepared queries: what stands for what, and what is refused. Source: state store, section 12."""

import pytest
from msgspec.structs import replace

from base.errors import InvalidRequest, MeshError, Refused, TooLarge
from structs.catalog import QuerySource
from structs.prepared_query import (
    LIST_ITEMS_MAX,
    PreparedQuery,
    QueryFailover,
    QueryTemplate,
    ServiceQuery,
    check_query,
    rendered,
)

TEMPLATE = PreparedQuery(
    query_id="q",
    name="Geo-",
    template=QueryTemplate(kind="name_prefix_match", regexp="^geo-(.*?)-([^-]*?)(x)?$"),
    service=ServiceQuery(service="web"),
)


@pytest.mark.parametrize(
    ("text", "name", "meaning"),
    [
        ("plain", "geo-a-b", "plain"),
        ("${name.full}", "geo-a-b", "geo-a-b"),
        ("<${ name.prefix }|${name.suffix}>", "geo-a-b", "<Geo-|a-b>"),
        ("${match(0)}/${match(1)}/${match( 2 )}", "geo-a-b-c", "geo-a-b-c/a-b/c"),
        ("[${match(3)}${match(4)}${match(999999999)}]", "geo-a-b", "[]"),
        ("[${match(1)}]", "geo", "[]"),
        ("${agent.segment}", "geo-", "alpha"),
        ("$${name.full}$", "geo-", "${name.full}$"),
        ("${name.full}", "geo-${name.prefix}", "geo-${name.prefix}"),
    ],
)
def test_expressions_stand_for_parts_of_the_name(text: str, name: str, meaning: str) -> None:
    query = replace(TEMPLATE, service=ServiceQuery(service=text))
    assert rendered(query, name, QuerySource(segment="alpha")).service.service == meaning


def test_every_string_of_the_service_part_is_rendered_and_nothing_else() -> None:
    text = "${name.suffix}"
    service = ServiceQuery(
        service=text,
        failover=QueryFailover(nearest_n=2, datacenters=[text, "dc2"]),
        only_passing=True,
        ignore_check_ids=[text],
        near=text,
        tags=[text, "!x", "${match(9)}"],
        node_meta={text: text},
    )
    full = replace(TEMPLATE, service=service, token=text)
    found = rendered(full, "geo-db", QuerySource())
    assert found == replace(
        full,
        service=ServiceQuery(
            service="db",
            failover=QueryFailover(nearest_n=2, datacenters=["db", "dc2"]),
            only_passing=True,
            ignore_check_ids=["db"],
            near="db",
            tags=["db", "!x", ""],
            node_meta={text: "db"},
        ),
    )
    trimmed = replace(full, template=replace(full.template, remove_empty_tags=True))
    assert rendered(trimmed, "geo-db", QuerySource()).service.tags == ["db", "!x"]


@pytest.mark.parametrize(
    ("query", "kind", "text"),
    [
        (PreparedQuery(service=ServiceQuery(service="s")), Refused, "Must be bound to a session"),
        (PreparedQuery(name="n"), Refused, "Must provide a Service name to query"),
        (replace(TEMPLATE, token="<hidden>"), Refused, "Bad Token '<hidden>'"),
        (
            PreparedQuery(name="n", service=ServiceQuery(service="s", failover=QueryFailover(nearest_n=-1))),
            Refused,
            "Invalid prepared query: Bad NearestN '-1', must be >= 0",
        ),
        (replace(TEMPLATE, dns_ttl="ten"), Refused, "Bad DNS TTL 'ten': time: invalid duration"),
        (replace(TEMPLATE, dns_ttl="-1s"), Refused, "Bad DNS TTL '-1s', must be >=0"),
        (replace(TEMPLATE, template=QueryTemplate(kind="other")), Refused, "Bad Template.Type 'other'"),
        (
            replace(TEMPLATE, template=replace(TEMPLATE.template, regexp="(")),
            Refused,
            "Bad Regexp: error parsing regexp: missing closing )",
        ),
        (replace(TEMPLATE, service=ServiceQuery(service="${")), Refused, "Bad format '${' in Service.service"),
        (
            replace(TEMPLATE, service=ServiceQuery(service="s", tags=["a", "${name.first}"])),
            Refused,
            "Bad format '${name.first}' in Service.tags[1]: unknown variable accessed: name.first",
        ),
        (replace(TEMPLATE, name="n" * 1025), TooLarge, "Query name is too long"),
        (replace(TEMPLATE, token="t" * 70_000), TooLarge, "the query is too large"),
        (
            replace(TEMPLATE, service=ServiceQuery(service="s", tags=["t"] * (LIST_ITEMS_MAX + 1))),
            TooLarge,
            "the query has too many Tags",
        ),
        (replace(TEMPLATE, service=ServiceQuery(service="${match(1)}" * 90_000)), TooLarge, "Service name is too long"),
        (replace(TEMPLATE, token="\ud800"), InvalidRequest, "the query holds what is no text"),
    ],
)
def test_what_can_be_nobodys_query_is_refused_with_its_text(
    query: PreparedQuery, kind: type[MeshError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        check_query(query)
    assert text in str(caught.value)


def test_a_rendered_string_is_bounded() -> None:
    query = replace(TEMPLATE, service=ServiceQuery(service="s", near="${name.full}" * 100))
    check_query(query)
    with pytest.raises(MeshError, match="more than 65536 characters"):
        rendered(query, "geo-" + "x" * 1000, QuerySource())
