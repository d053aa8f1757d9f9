"""Query parameters: parsed once, read by name. Sans-IO.

Source: HTTP conventions, sections 2, 4 and 5; presence-only flags count whatever their value.
"""

import re
from functools import lru_cache
from urllib.parse import quote_plus, unquote_to_bytes

from agent.cache.entry import ANYTHING, Control
from base.durations import parse_duration_s
from base.errors import InvalidRequest, Refused
from structs.query import Consistency, QueryOptions, WriteOptions

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_UINT = re.compile(r"[0-9]{1,20}", re.ASCII).fullmatch
UINT64_MAX = (1 << 64) - 1
_DEFAULT_PARTS = ("", "default")
NAME_BYTES_MAX = 1024
"""Of a node, a check status, a member: nothing longer can be registered, so there is nothing to look up."""


class Query:
    """A parsed query string; never changed. Values keep their order."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, list[str]]) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        """Whether the name is present, with whatever value."""
        return name in self.values

    def get(self, name: str) -> str:
        """Return the first value, "" where absent."""
        values = self.values.get(name)
        return values[0] if values else ""

    def encode(self) -> str:
        """Return the query as Go re-encodes it: sorted by name."""
        return "&".join(
            f"{quote_plus(name)}={quote_plus(value)}" for name in sorted(self.values) for value in self.values[name]
        )


EMPTY = Query({})
QUERIES_CACHED_MAX = 512
CACHED_LENGTH_MAX = 64
"""Clients repeat short queries ("stale", "recurse&keys"); long ones carry indexes and do not repeat."""


class QueryMalformed(Exception):
    """The query string cannot be parsed."""


def parse_query(text: str) -> Query:
    """Return the parsed query; raises QueryMalformed."""
    return _parse_cached(text) if len(text) <= CACHED_LENGTH_MAX else _parse(text)


def _parse(text: str) -> Query:
    if ";" in text or _BAD_ESCAPE(text) is not None:
        raise QueryMalformed
    values: dict[str, list[str]] = {}
    for item in text.split("&"):
        if item:
            name, _, value = item.partition("=")
            values.setdefault(_unquote(name), []).append(_unquote(value))
    return Query(values) if values else EMPTY


_parse_cached = lru_cache(maxsize=QUERIES_CACHED_MAX)(_parse)


def _unquote(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" in text:
        try:
            return unquote_to_bytes(text).decode()
        except UnicodeDecodeError as error:
            raise QueryMalformed from error
    return text


def parse_uint64(text: str) -> int:
    """Return an unsigned 64-bit integer; raises ValueError with Go's wording."""
    if _UINT(text) is None:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    value = int(text)
    if value > UINT64_MAX:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return value


_BOOLS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)


def parse_bool(text: str) -> bool:
    """Return a truth value in any of Go's spellings; raises ValueError with Go's wording."""
    try:
        return _BOOLS[text]
    except KeyError:
        raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax') from None


def uint64_parameter(query: Query, name: str) -> int:
    """Return a number that a write carries, 0 where absent; raises Refused (status 500, as clients know it)."""
    if not query.has(name):
        return 0  # but `?cas=` without its number is an error, never a condition of its own
    try:
        return parse_uint64(query.get(name))
    except ValueError as error:
        raise Refused(str(error)) from error


def checked_name(text: str, what: str) -> str:
    """Return the name at the end of a path; raises InvalidRequest where there is none, or it is too long."""
    if not text:
        raise InvalidRequest(f"Missing {what}")
    if len(text.encode("utf-8", "replace")) > NAME_BYTES_MAX:
        raise InvalidRequest(f"{what} exceeds {NAME_BYTES_MAX} byte limit")
    return text


def check_scope(query: Query) -> None:
    """Refuse namespaces and partitions other than the only ones there are; raises InvalidRequest."""
    for name in ("ns", "partition"):
        value = query.get(name)
        if value not in _DEFAULT_PARTS:
            raise InvalidRequest(f'Bad request: Invalid query parameter: "{name}" - {name} is not supported: {value}')


def datacenter_of(query: Query) -> str:
    """Return the wanted datacenter, "" for the agent's own; `datacenter` wins over `dc`."""
    return query.get("datacenter") or query.get("dc")


def write_options(query: Query, token: str) -> WriteOptions:
    """Return what every write carries."""
    if query is EMPTY:
        return WriteOptions(token=token) if token else _WRITE_DEFAULT
    check_scope(query)
    return WriteOptions(token=query.get("token") or token, datacenter=datacenter_of(query))


_WRITE_DEFAULT = WriteOptions()
_READ_DEFAULT = QueryOptions()


class ReadParameters:
    """How a read is to be answered; `stale_s_max` > 0 asks for a fresh answer where the stale one is older."""

    __slots__ = ("options", "stale_s_max")

    def __init__(self, options: QueryOptions, stale_s_max: float = 0.0) -> None:
        self.options = options
        self.stale_s_max = stale_s_max


READ_DEFAULT = ReadParameters(_READ_DEFAULT)


def read_parameters(
    query: Query, token: str, *, wait_default_s: float, wait_s_max: float, discovery_stale_s_max: float = 0.0
) -> ReadParameters:
    """Return the options of a read.

    Args: `discovery_stale_s_max` > 0 makes a read stale that does not say what it wants (catalog and health only).
    Raises: InvalidRequest, with the texts clients know.
    """
    if query is EMPTY and not discovery_stale_s_max:
        return ReadParameters(QueryOptions(token=token)) if token else READ_DEFAULT
    check_scope(query)
    stale, consistent = query.has("stale"), query.has("consistent")
    stale_s_max = 0.0
    max_stale = query.get("max_stale")
    if max_stale:
        try:
            stale_s_max = parse_duration_s(max_stale)
        except ValueError as error:
            raise InvalidRequest(f'Invalid max_stale value "{max_stale}"') from error
        stale = stale or stale_s_max > 0
    if discovery_stale_s_max > 0 and not (stale or consistent or query.has("leader") or query.has("cached")):
        stale, stale_s_max = True, discovery_stale_s_max
    if stale and consistent:
        raise InvalidRequest("Cannot specify ?stale with ?consistent, conflicting semantics.")
    if consistent and query.has("cached"):
        raise InvalidRequest("Cannot specify ?cached with ?consistent, conflicting semantics.")
    index_min, wait_s = _blocking(query, wait_default_s=wait_default_s, wait_s_max=wait_s_max)
    consistency = Consistency.STALE if stale else Consistency.CONSISTENT if consistent else Consistency.DEFAULT
    options = QueryOptions(
        consistency=consistency,
        index_min=index_min,
        wait_s=wait_s,
        token=query.get("token") or token,
        datacenter=datacenter_of(query),
    )
    return ReadParameters(options, max(stale_s_max, 0.0))


def cache_control(header: bytes) -> Control:
    """Return what the header `Cache-Control` of a request that says `cached` accepts; raises InvalidRequest.

    Directives that are for other caches are ignored. Source: HTTP conventions, section 3.
    """
    if not header:
        return ANYTHING
    age_s_max: int | None = None
    stale_if_error_s: int | None = None
    must_revalidate = False
    for directive in header.decode("latin-1").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "must-revalidate":
            must_revalidate = True
        elif name in ("max-age", "stale-if-error"):
            if _UINT(value) is None:
                raise InvalidRequest("Invalid Cache-Control header.")
            if name == "max-age":
                age_s_max = int(value)
            else:
                stale_if_error_s = int(value)
    return Control(
        age_s_max=age_s_max,
        must_revalidate=must_revalidate or age_s_max == 0,
        stale_if_error_s=stale_if_error_s,
    )


def _blocking(query: Query, *, wait_default_s: float, wait_s_max: float) -> tuple[int, float]:
    """Return index and wait, both 0 where the read does not block."""
    wait_s = 0.0
    wait = query.get("wait")
    if wait:
        try:
            wait_s = parse_duration_s(wait)
        except ValueError as error:
            raise InvalidRequest("Invalid wait time") from error
    index = query.get("index")
    if not index:
        return 0, 0.0
    try:
        index_min = parse_uint64(index)
    except ValueError as error:
        raise InvalidRequest("Invalid index") from error
    if index_min == 0:
        return 0, 0.0
    return index_min, min(wait_s, wait_s_max) if wait_s > 0 else wait_default_s
