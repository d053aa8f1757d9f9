"""What is answered: lookup results -> records, their order, their number, and what fits. Sans-IO.

Names of rows are without the final dot; "" is the name that was asked for, letter for letter. Chance is handed in.
Source: agent specification, section 9.
"""

import ipaddress
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from agent.dns.names import IPAddress, address_label, is_name, node_fits
from agent.dns.settings import DNSSettings
from structs.catalog import CheckStatus, Node, ServiceInstance

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = (
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
)
A, AAAA, ANY, CNAME, NS, PTR, SOA, SRV, TXT = "A", "AAAA", "ANY", "CNAME", "NS", "PTR", "SOA", "SRV", "TXT"
ADDRESS_TYPES: Final = frozenset({A, AAAA, ANY, CNAME})
UDP_BYTES_DEFAULT: Final = 512
ROW_BYTES_MIN: Final = 16
"""An A record of a name that was said before; nothing is smaller but an empty name, which no answer of ours has."""
UDP_ANSWERS_MAX: Final = 8
"""Of an answer by UDP without EDNS that would be too large, whatever `udp_answer_limit` says."""
TCP_ANSWERS_MAX: Final = 4096
TCP_SRV_MAX: Final = 1024
"""So many are shuffled into one answer by TCP at most; 64 KiB hold about as many."""
NAME_SERVERS_MAX: Final = 3
TXT_PART_BYTES: Final = 255
META_PAIRS_MAX: Final = 64
PRIORITY: Final = 1
WEIGHT_MAX: Final = 65535
_LITERAL_META: Final = "rfc1035-"


class Srv(msgspec.Struct, frozen=True):
    """Data of an SRV record."""

    weight: int
    port: int
    target: str


class SoaData(msgspec.Struct, frozen=True):
    """Data of a SOA record."""

    server: str
    mailbox: str
    serial: int
    refresh: int
    retry: int
    expire: int
    min_ttl: int


class Row(msgspec.Struct, frozen=True):
    """One record. `data`: an address, a name, the parts of a text, or one of the above."""

    name: str
    type: str
    ttl: int
    data: "str | tuple[bytes, ...] | Srv | SoaData"

    @property
    def target(self) -> str:
        """The name that it leads to, "" for none."""
        if isinstance(self.data, Srv):
            return self.data.target
        return self.data if self.type in (CNAME, NS) and isinstance(self.data, str) else ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer before it is bytes."""

    code: str = NOERROR
    answers: tuple[Row, ...] = ()
    authority: tuple[Row, ...] = ()
    additional: tuple[Row, ...] = ()
    authoritative: bool = True
    truncated: bool = False
    varies: bool = False
    """Whether chance had a part in it: then the next who asks should get another."""


class Ready(msgspec.Struct, frozen=True):
    """An instance that may be given out."""

    node: Node
    address: str
    """Of the service, else of its node."""
    ip: IPAddress | None
    """None: the address is a name."""
    port: int
    weight: int


def ready(instances: Iterable[ServiceInstance], *, only_passing: bool) -> tuple[Ready, ...]:
    """Return those that are not critical (`only_passing`: and have no warning either), with what is needed of them."""
    found = []
    for one in instances:
        statuses = {check.status for check in one.checks}
        warns = CheckStatus.WARNING in statuses
        address = one.service.address or one.node.address
        if CheckStatus.CRITICAL in statuses or (only_passing and warns) or not address:
            continue
        weights = one.service.weights
        weight = weights.warning if warns else weights.passing
        ip = parsed_ip(address)
        if ip is not None or is_name(address):
            found.append(Ready(one.node, address, ip, one.service.port, min(max(weight, 0), WEIGHT_MAX)))
    return tuple(found)


def parsed_ip(text: str) -> IPAddress | None:
    """Return the address that `text` is, None for a name."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


class Answering:
    """Makes replies. `domain` is the one the question was asked in."""

    def __init__(self, settings: DNSSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng

    def service(
        self, found: Sequence[Ready], type_name: str, *, domain: str, datacenter: str, ttl_s: int, unix_s: float,
        shuffles: bool = True,
    ) -> Reply:  # fmt: skip
        """Return the reply for instances of a service, `()` for none; `shuffles`: their order means nothing."""
        if not found:
            return self.no_such_name(domain, unix_s)
        order = list(found)
        varies = shuffles and len(order) > 1
        if varies:
            self._rng.shuffle(order)
        if type_name == SRV:
            return self._srv(order, domain, datacenter, ttl_s, varies=varies)
        if type_name == TXT:
            rows = self._meta_rows({one.node.node: one.node for one in order}.values(), "", ttl_s)
        elif type_name in ADDRESS_TYPES:
            rows = self._addresses(order, type_name, ttl_s)
        else:
            rows = []
        if not rows:
            return self.nothing(domain, unix_s)
        return Reply(answers=tuple(rows), varies=varies)

    def _addresses(self, order: Sequence[Ready], type_name: str, ttl_s: int) -> list[Row]:
        limit = self._settings.a_record_limit or TCP_ANSWERS_MAX
        rows: dict[str, Row] = {}
        alias: Row | None = None
        for one in order:
            if one.ip is None:
                alias = alias or Row("", CNAME, ttl_s, one.address.rstrip("."))
            elif one.address not in rows and _fits(one.ip, type_name) and len(rows) < limit:
                rows[one.address] = address_row("", one.ip, ttl_s)
        if rows or alias is None:
            return list(rows.values())
        return [alias]  # a CNAME stands alone

    def _srv(self, order: Sequence[Ready], domain: str, datacenter: str, ttl_s: int, *, varies: bool) -> Reply:
        answers: list[Row] = []
        additional: dict[tuple[str, str, str], Row] = {}
        seen: set[tuple[str, str, int]] = set()
        for one in order:
            if (one.node.node, one.address, one.port) in seen or len(answers) >= TCP_SRV_MAX:
                continue
            seen.add((one.node.node, one.address, one.port))
            target = self._node_name(one.node.node, datacenter, domain)
            own = address_row(target, one.ip, ttl_s) if one.ip else Row(target, CNAME, ttl_s, one.address.rstrip("."))
            if one.ip is not None and (one.address != one.node.address or not is_name(target)):
                target = f"{address_label(one.ip)}.addr.{datacenter}.{domain}"
                own = address_row(target, one.ip, ttl_s)
            elif not is_name(target):
                continue  # neither its node nor its address can be said in DNS
            answers.append(Row("", SRV, ttl_s, Srv(one.weight, one.port, target)))
            additional[(own.name, own.type, str(own.data))] = own
        return Reply(answers=tuple(answers), additional=tuple(additional.values()), varies=varies)

    def node(self, node: Node, type_name: str, *, domain: str, unix_s: float) -> Reply:
        """Return the reply for a node."""
        ttl_s = self._settings.node_ttl_s
        ip = parsed_ip(node.address)
        rows: list[Row] = []
        if type_name in ADDRESS_TYPES and node.address:
            if ip is None:
                rows = [Row("", CNAME, ttl_s, node.address.rstrip("."))] if is_name(node.address) else []
            elif _fits(ip, type_name):
                rows = [address_row("", ip, ttl_s)]
        texts = self._meta_rows([node], "", ttl_s)
        if type_name in (TXT, ANY):
            rows += texts if not (rows and rows[0].type == CNAME) else []
            texts = []
        if not rows:
            return self.nothing(domain, unix_s)
        shown = texts if self._settings.node_meta_txt and type_name in ADDRESS_TYPES else []
        return Reply(answers=tuple(rows), additional=tuple(shown))

    def address(self, address: IPAddress, type_name: str, *, domain: str, unix_s: float) -> Reply:
        """Return the reply for `<hex>.addr`."""
        if not _fits(address, type_name):
            return self.nothing(domain, unix_s)
        return Reply(answers=(address_row("", address, self._settings.node_ttl_s),))

    def pointer(self, target: str) -> Reply:
        """Return the reply for a reverse name."""
        return Reply(answers=(Row("", PTR, 0, target),))

    def apex(self, servers: Sequence[Ready], type_name: str, *, domain: str, unix_s: float) -> Reply:
        """Return the reply for the domain itself; `servers` are those of the datacenter."""
        if type_name not in (SOA, NS, ANY):
            return self.nothing(domain, unix_s)
        usable = [one for one in servers if node_fits(one.node.node) and one.ip is not None]
        chosen = self._rng.sample(usable, min(len(usable), NAME_SERVERS_MAX))
        ttl_s = self._settings.node_ttl_s
        names, glue = [], []
        for one in chosen:
            target = self._node_name(one.node.node, self._settings.datacenter, domain)
            names.append(Row("", NS, ttl_s, target))
            if one.ip is not None:
                glue.append(address_row(target, one.ip, ttl_s))
        varies = len(usable) > 1
        start = msgspec.structs.replace(self._soa(domain, unix_s), name="")
        if type_name == NS:
            if not names:
                return self.nothing(domain, unix_s)
            return Reply(answers=tuple(names), additional=tuple(glue), varies=varies)
        return Reply(answers=(start,), authority=tuple(names), additional=tuple(glue), varies=varies)

    def nothing(self, domain: str, unix_s: float) -> Reply:
        """Return the reply for a name that exists, but has nothing of the type that was asked for."""
        return Reply(authority=(self._soa(domain, unix_s),))

    def no_such_name(self, domain: str, unix_s: float) -> Reply:
        """Return the reply for a name that does not exist."""
        return Reply(code=NXDOMAIN, authority=(self._soa(domain, unix_s),))

    def _soa(self, domain: str, unix_s: float) -> Row:
        soa = self._settings.soa
        data = SoaData(
            f"ns.{domain}", f"hostmaster.{domain}", int(unix_s) & 0xFFFFFFFF, soa.refresh, soa.retry, soa.expire,
            soa.min_ttl,
        )  # fmt: skip
        return Row(domain, SOA, soa.min_ttl, data)

    def _node_name(self, node: str, datacenter: str, domain: str) -> str:
        return f"{node}.node.{datacenter}.{domain}".lower()

    def _meta_rows(self, nodes: Iterable[Node], name: str, ttl_s: int) -> list[Row]:
        rows = []
        for node in nodes:
            for key, value in sorted((node.meta or {}).items())[:META_PAIRS_MAX]:
                text = value if key.lower().startswith(_LITERAL_META) else f"{_escaped(key)}={value}"
                rows.append(Row(name, TXT, ttl_s, _parts(text.encode("utf-8", "replace"))))
            if len(rows) >= TCP_ANSWERS_MAX:
                break
        return rows


def _fits(ip: IPAddress, type_name: str) -> bool:
    return type_name == ANY or type_name == (A if ip.version == 4 else AAAA)


def address_row(name: str, ip: IPAddress, ttl_s: int) -> Row:
    """Return an A or AAAA row."""
    return Row(name, A if ip.version == 4 else AAAA, ttl_s, str(ip))


def _escaped(key: str) -> str:
    """Return an attribute's name as RFC 1464 writes it."""
    return key.replace("`", "``").replace("=", "`=")


def _parts(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + TXT_PART_BYTES] for at in range(0, len(data), TXT_PART_BYTES)) or (b"",)


def names_to_follow(reply: Reply, type_name: str) -> list[str]:
    """Return where CNAMEs lead whose targets the asker will need, too."""
    if type_name == CNAME:
        return []
    rows = (*reply.answers, *reply.additional)
    known = {row.name for row in rows if row.type in (A, AAAA)}
    return list(dict.fromkeys(row.target for row in rows if row.type == CNAME and row.target not in known))


def followed(reply: Reply, rows: Sequence[Row]) -> Reply:
    """Return the reply with the records of a CNAME's target: beside the CNAME."""
    if any(row.type == CNAME for row in reply.answers):
        return msgspec.structs.replace(reply, answers=(*reply.answers, *rows))
    return msgspec.structs.replace(reply, additional=(*reply.additional, *rows))


# What fits


def plain_size(reply: Reply, name_bytes: int) -> int:
    """Return the bytes of a reply without compression, EDNS apart; `name_bytes` are those of the question's name."""
    rows = (*reply.answers, *reply.authority, *reply.additional)
    return 12 + name_bytes + 4 + sum(_row_bytes(row, name_bytes) for row in rows)


def _row_bytes(row: Row, name_bytes: int) -> int:
    head = (len(row.name) + 2 if row.name else name_bytes) + 10
    data = row.data
    if isinstance(data, Srv):
        return head + 6 + len(data.target) + 2
    if isinstance(data, SoaData):
        return head + 20 + len(data.server) + len(data.mailbox) + 4
    if isinstance(data, tuple):
        return head + sum(len(part) + 1 for part in data)
    return head + (4 if row.type == A else 16 if row.type == AAAA else len(data) + 2)


def fitted(
    reply: Reply,
    settings: DNSSettings,
    *,
    is_udp: bool,
    edns_bytes: int | None,
    name_bytes: int,
    size_of: Callable[[Reply], int],
) -> Reply:
    """Return as much of the reply as its asker can take.

    That something is missing is told where it is configured, and where nothing is left.

    Args: `edns_bytes`: what the asker can take by UDP, None without EDNS. `size_of`: bytes of a reply as it is sent.
    """
    limit = 65_535
    count = len(reply.answers)
    kept = reply
    if is_udp:
        limit = max(UDP_BYTES_DEFAULT, min(edns_bytes or 0, settings.limits.udp_bytes_max))
        most = min(UDP_ANSWERS_MAX, settings.udp_answer_limit or UDP_ANSWERS_MAX)
        is_small = (edns_bytes or 0) <= UDP_BYTES_DEFAULT
        if is_small and count > most and plain_size(reply, name_bytes) > UDP_BYTES_DEFAULT:
            kept = first(reply, most)
    elif count > TCP_ANSWERS_MAX:
        kept = first(reply, TCP_ANSWERS_MAX)
    most = limit // (ROW_BYTES_MIN + (ROW_BYTES_MIN if kept.additional else 0))
    if len(kept.answers) > most:
        kept = first(kept, most)
    size = size_of(kept)
    if size > limit:
        kept = _largest(kept, len(kept.answers) * limit // size, limit, size_of)
    if len(kept.answers) < count and (settings.enable_truncate or not kept.answers):
        kept = msgspec.structs.replace(kept, truncated=True)
    return kept


def _largest(reply: Reply, guess: int, limit: int, size_of: Callable[[Reply], int]) -> Reply:
    """Return as many answers as fit, which are about `guess`: answers are about equally large, so a few tries do."""
    found = first(reply, guess)
    if size_of(found) <= limit:
        while len(found.answers) < len(reply.answers):
            larger = first(reply, len(found.answers) + 1)
            if size_of(larger) > limit:
                break
            found = larger
        return found
    while found.answers and size_of(found) > limit:
        found = first(reply, len(found.answers) - 1)
    if size_of(found) > limit:
        return msgspec.structs.replace(found, additional=())
    return found


def first(reply: Reply, count: int) -> Reply:
    """Return the reply with its first `count` answers, and of the additional records those that belong to them."""
    answers = reply.answers[:count]
    wanted = {row.target for row in (*answers, *reply.authority)} - {""}
    pending, reached = list(wanted), set(wanted)
    by_name: dict[str, list[Row]] = {}
    for row in reply.additional:
        by_name.setdefault(row.name, []).append(row)
    while pending:
        for row in by_name.get(pending.pop(), ()):
            if row.target and row.target not in reached:
                reached.add(row.target)
                pending.append(row.target)
    additional = tuple(row for row in reply.additional if row.name in reached)
    return msgspec.structs.replace(reply, answers=answers, additional=additional)
