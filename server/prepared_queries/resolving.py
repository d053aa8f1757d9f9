"""Which query an id or a name leads to. Source: state store specification, section 12."""

from base.errors import InvalidRequest, NotFound, Refused
from fsm.store import prepared_query
from fsm.store.store import View
from structs.catalog import QuerySource
from structs.prepared_query import NOT_FOUND_TEXT, PreparedQuery, rendered
from structs.registration import check_name, is_uuid

TEMPLATE_BY_ID_TEXT = "prepared query templates can only be resolved up by name, not by ID"


def resolve(view: View, name: str, agent: QuerySource) -> PreparedQuery:
    """Return the query with this id, else this name, else the longest template for it, rendered for the agent.

    Raises: NotFound; Refused for a template by its id, or one that cannot be rendered; TooLarge.
    """
    check_name("Query name", name)
    if is_uuid(name):
        found = prepared_query.get(view, name)
        if found is not None:
            if found.is_template:
                raise Refused(TEMPLATE_BY_ID_TEXT)
            return found
    found = prepared_query.by_name(view, name) or (prepared_query.template_for(view, name) if name else None)
    if found is None:
        raise NotFound(NOT_FOUND_TEXT)
    if not found.is_template:
        return found
    try:
        return rendered(found, name, agent)
    except InvalidRequest as error:
        raise Refused(str(error)) from error
