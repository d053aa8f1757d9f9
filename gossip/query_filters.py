"""Sans-IO: whom a query is meant for.

The regular expressions of others are hostile input: they are bounded, and searched for in linear time. Source: wire
format, section 8.4.
"""

from functools import lru_cache

from base.errors import InvalidRequest
from base.patterns import Pattern
from gossip.config import TAGS_BYTES_MAX
from gossip.serf_messages import Filter, NamesFilter, TagFilter, decode_filter, encode_filter

FILTERS_MAX = 16
"""A query with more of them is meant for nobody: each may cost a search, and nobody has that many tags."""
SEARCHES_CACHED_MAX = 1024


def wire_filters(names: list[str], tags: dict[str, str]) -> list[bytes]:
    """Return the filters of a query for these names ([]: all) and these tag expressions.

    Raises InvalidRequest for an expression that we could not search for ourselves, or too many of them.
    """
    filters: list[Filter] = [NamesFilter(names=names)] if names else []
    for tag, expression in tags.items():
        Pattern(expression)
        filters.append(TagFilter(tag=tag, expression=expression))
    if len(filters) > FILTERS_MAX:
        raise InvalidRequest(f"more than {FILTERS_MAX} filters in a query")
    return [encode_filter(each) for each in filters]


def meets(filters: list[bytes], name: str, tags: dict[str, str]) -> bool:
    """Return whether the member `name` with `tags` is meant; raises InvalidRequest for filters that make no sense."""
    if len(filters) > FILTERS_MAX:
        raise InvalidRequest(f"more than {FILTERS_MAX} filters in a query")
    return all(_meets_one(decode_filter(data), name, tags) for data in filters)


def _meets_one(wanted: Filter, name: str, tags: dict[str, str]) -> bool:
    if isinstance(wanted, NamesFilter):
        return name in wanted.names
    return _found(wanted.expression, tags.get(wanted.tag, "")[:TAGS_BYTES_MAX])


@lru_cache(SEARCHES_CACHED_MAX)
def _found(expression: str, text: str) -> bool:
    """Search once for all members that have the same value of a tag."""
    return Pattern(expression).found_in(text)
