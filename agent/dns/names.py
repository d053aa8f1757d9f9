"""What a question name asks for. Sans-IO.

Names are lower-case texts without the final dot, labels separated by dots. Source: agent specification, section 9.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
V4_SUFFIX: Final = ".in-addr.arpa"
V6_SUFFIX: Final = ".ip6.arpa"
LABEL_LENGTH_MAX: Final = 63
NAME_LENGTH_MAX: Final = 253
_LABEL_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class NodeName(msgspec.Struct, frozen=True):
    """`<node>.node`; the name may have dots."""

    node: str
    datacenter: str


class ServiceName(msgspec.Struct, frozen=True):
    """`[<tag>.]<service>.service`, `_<service>._<tag>` or `<service>.connect`; `tag` "" for any."""

    service: str
    tag: str
    datacenter: str
    connect: bool = False


class QueryName(msgspec.Struct, frozen=True):
    """`<prepared query>.query`."""

    query: str
    datacenter: str


class AddressName(msgspec.Struct, frozen=True):
    """`<hex>.addr`."""

    address: IPAddress


class ReverseName(msgspec.Struct, frozen=True):
    """`<reversed address>.in-addr.arpa` or `.ip6.arpa`."""

    address: IPAddress


class Apex(msgspec.Struct, frozen=True):
    """The domain itself."""


class NoSuchName(msgspec.Struct, frozen=True):
    """A name of our domain that can mean nothing."""


class Elsewhere(msgspec.Struct, frozen=True):
    """A name of no domain of ours."""


Asked = NodeName | ServiceName | QueryName | AddressName | ReverseName | Apex | NoSuchName | Elsewhere


def domain_of(name: str, domains: Sequence[str]) -> str | None:
    """Return which of our domains `name` is in (the longest), None for none."""
    found = [domain for domain in domains if name == domain or name.endswith("." + domain)]
    return max(found, key=len) if found else None


def parse(name: str, domain: str | None, *, is_srv: bool) -> Asked:
    """Return what `name` asks for; `domain` is that of `domain_of`. A datacenter of "" is the agent's own."""
    if domain is None:
        return _reverse(name)
    if name == domain:
        return Apex()
    labels = name[: -len(domain) - 1].split(".")
    if any(not label or len(label) > LABEL_LENGTH_MAX for label in labels):
        return NoSuchName()
    asked = _ours(labels, "", is_srv=is_srv)
    if asked is None and len(labels) > 1:
        asked = _ours(labels[:-1], labels[-1], is_srv=is_srv)
    return asked or NoSuchName()


def _ours(labels: list[str], datacenter: str, *, is_srv: bool) -> Asked | None:
    """Return what labels ask for that end in the sort of name, None where they do not."""
    if is_srv and labels[-1].startswith("_"):
        labels = [*labels, "service"]
    *rest, sort = labels
    if sort not in _SORTS:
        return None
    if not rest:
        return NoSuchName()
    if sort == "service":
        return _service(rest, datacenter)
    if sort == "connect":
        return ServiceName(rest[-1], "", datacenter, connect=True)
    if sort == "addr":
        return _address(rest)
    text = ".".join(rest)
    return NodeName(text, datacenter) if sort == "node" else QueryName(text, datacenter)


_SORTS: Final = frozenset({"service", "connect", "node", "query", "addr"})


def _service(rest: list[str], datacenter: str) -> Asked:
    if len(rest) == 2 and rest[0].startswith("_") and rest[1].startswith("_"):  # RFC 2782
        service, tag = rest[0][1:], rest[1][1:]
        if not service:
            return NoSuchName()
        return ServiceName(service, "" if tag == "tcp" else tag, datacenter)
    return ServiceName(rest[-1], ".".join(rest[:-1]), datacenter)


def _address(rest: list[str]) -> Asked:
    text = rest[0]
    if len(rest) != 1 or len(text) not in (8, 32) or not _HEX_DIGITS.issuperset(text):
        return NoSuchName()
    number = int(text, 16)
    return AddressName(ipaddress.IPv4Address(number) if len(text) == 8 else ipaddress.IPv6Address(number))


def address_label(address: IPAddress) -> str:
    """Return the label of `<hex>.addr` for an address."""
    return address.packed.hex()


def _reverse(name: str) -> Asked:
    """Return the address of a reverse name; any other name is somebody else's."""
    if name.endswith(V4_SUFFIX):
        parts = name.removesuffix(V4_SUFFIX).split(".")
        if len(parts) == 4 and all(part.isdecimal() and part.isascii() and len(part) <= 3 for part in parts):
            numbers = [int(part) for part in reversed(parts)]
            if max(numbers) <= 255:
                return ReverseName(ipaddress.IPv4Address(bytes(numbers)))
    elif name.endswith(V6_SUFFIX):
        digits = name.removesuffix(V6_SUFFIX).split(".")
        if len(digits) == 32 and all(digit in _HEX_DIGITS for digit in digits):
            return ReverseName(ipaddress.IPv6Address(int("".join(reversed(digits)), 16)))
    return Elsewhere()


def is_name(text: str) -> bool:
    """Whether `text` can be a host name that DNS can carry: labels of letters, digits, hyphens and underscores."""
    name = text.lower().rstrip(".")
    return 0 < len(name) <= NAME_LENGTH_MAX and all(
        0 < len(label) <= LABEL_LENGTH_MAX and _LABEL_CHARACTERS.issuperset(label.replace("_", "-"))
        for label in name.split(".")
    )


def node_fits(node: str) -> bool:
    """Whether a node's name can be found, and given out, by DNS."""
    return is_name(node) and "_" not in node
