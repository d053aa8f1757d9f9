"""Bytes <-> questions and replies. Sans-IO. The only file that knows dnspython.

Source: RFC 1035 (messages), RFC 2782 (SRV), RFC 6891 (EDNS), RFC 7871 (client subnet).
"""

import io
import ipaddress
import struct
from functools import lru_cache
from typing import Any, Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import msgspec

from agent.dns.answers import (
    AAAA,
    CNAME,
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    A,
    Reply,
    Row,
    SoaData,
    Srv,
)
from agent.dns.names import is_name

HEADER: Final = struct.Struct("!HHHHHH")
HEADER_BYTES: Final = 12
FLAG_RESPONSE: Final = 0x8000
FLAG_AA: Final = 0x0400
FLAG_TC: Final = 0x0200
FLAG_RD: Final = 0x0100
FLAG_RA: Final = 0x0080
FLAG_CD: Final = 0x0010
OPCODE_MASK: Final = 0x7800
CODE_MASK: Final = 0x000F
MESSAGE_BYTES_MAX: Final = 65_535
BADVERS: Final = 16
OPT_BYTES: Final = 11
"""An OPT record without options."""
TTL_MAX: Final = 2**31 - 1
_POINTER: Final = (0xC000 | HEADER_BYTES).to_bytes(2, "big")
"""To the name of the question, where compression is allowed."""
_ROW: Final = struct.Struct("!HHIH")
_TYPE_NUMBERS: Final = {A: 1, AAAA: 28}
_FOLLOWED_TYPES: Final = (1, 5, 28)
_CODES: Final = {
    code: int(dns.rcode.from_text(code)) for code in (NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED)
}
_TYPES: Final = {int(value): text for text, value in dns.rdatatype.RdataType.__members__.items()}
_IN: Final = dns.rdataclass.IN


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A query for one name."""

    number: int
    """Id of the message."""
    name: str
    """Lower case, without the final dot."""
    type: str
    """Its mnemonic, "TYPE<n>" for what has none."""
    wants_recursion: bool = False
    edns_bytes: int | None = None
    """What the asker can take by UDP; None without EDNS."""
    dnssec_ok: bool = False
    """The bit DO, which is copied into the answer (RFC 3225)."""
    subnet: str = ""
    """Address of the asker behind a resolver, "" where that is not told."""
    wire_name: bytes = b""
    """The name as it was written, with its letters' case; uncompressed."""
    type_number: int = 0
    class_number: int = int(_IN)
    flags: int = 0


def parse(data: bytes) -> Question | bytes | None:
    """Return the question of a message, the bytes of a refusal, or None for what must not be answered."""
    if len(data) < HEADER_BYTES:
        return None
    number, flags, questions, answers, authorities, _ = HEADER.unpack_from(data)
    if flags & FLAG_RESPONSE:
        return None  # answering answers would make two servers talk for ever
    if flags & OPCODE_MASK:
        return refusal(number, flags, NOTIMP)
    if questions != 1 or answers or authorities:
        return refusal(number, flags, FORMERR)
    try:
        message = dns.message.from_wire(data)
        asked = message.question[0]
        options = [option for option in message.options if isinstance(option, dns.edns.ECSOption)]
        wire_name = asked.name.to_wire()
        assert wire_name is not None
        text = asked.name.to_text(omit_final_dot=True).lower()
    except (dns.exception.DNSException, ValueError, IndexError, AssertionError, struct.error):
        return refusal(number, flags, FORMERR)
    question = Question(
        number=number,
        name="" if text == "." else text,
        type=_TYPES.get(int(asked.rdtype), f"TYPE{int(asked.rdtype)}"),
        wants_recursion=bool(flags & FLAG_RD),
        edns_bytes=message.payload if message.edns >= 0 else None,
        dnssec_ok=bool(message.ednsflags & dns.flags.DO),
        subnet=str(options[0].address) if options else "",
        wire_name=wire_name,
        type_number=int(asked.rdtype),
        class_number=int(asked.rdclass),
        flags=flags,
    )
    if message.edns > 0:
        return _version_refusal(question)
    if question.class_number not in (int(_IN), int(dns.rdataclass.ANY)):
        return render(question, Reply(code=REFUSED, authoritative=False), recursion=False, compress=True)
    return question


def refusal(number: int, flags: int, code: str) -> bytes:
    """Return an answer without a question, to a message that has none that can be read."""
    echoed = flags & (OPCODE_MASK | FLAG_RD | FLAG_CD)
    return HEADER.pack(number, FLAG_RESPONSE | echoed | _CODES[code], 0, 0, 0, 0)


def _version_refusal(question: Question) -> bytes:
    """Return BADVERS: half of the code is in the OPT record (RFC 6891, section 6.1.3)."""
    flags = FLAG_RESPONSE | (question.flags & FLAG_RD) | (BADVERS & CODE_MASK)
    head = HEADER.pack(question.number, flags, 1, 0, 0, 1) + _question_bytes(question)
    return head + struct.pack("!BHHBBHH", 0, dns.rdatatype.OPT, question.edns_bytes or 0, BADVERS >> 4, 0, 0, 0)


def _question_bytes(question: Question) -> bytes:
    return question.wire_name + struct.pack("!HH", question.type_number, question.class_number)


def render(question: Question, reply: Reply, *, recursion: bool, compress: bool) -> bytes:
    """Return the bytes of a reply; raises ValueError above 64 KiB.

    `recursion`: names of other domains can be asked for here. The question is repeated letter for letter.
    """
    flags = FLAG_RESPONSE | (question.flags & (FLAG_RD | FLAG_CD)) | _CODES[reply.code]
    flags |= FLAG_AA if reply.authoritative else 0
    flags |= FLAG_TC if reply.truncated else 0
    flags |= FLAG_RA if recursion else 0
    own, _ = dns.name.from_wire(question.wire_name, 0)
    known: dict[dns.name.Name, int] | None = {} if compress else None
    output = io.BytesIO()
    has_edns = question.edns_bytes is not None
    sections = (reply.answers, reply.authority, reply.additional)
    counts = [len(rows) for rows in sections]
    output.write(HEADER.pack(question.number, flags, 1, counts[0], counts[1], counts[2] + has_edns))
    own.to_wire(output, known)
    output.write(struct.pack("!HH", question.type_number, question.class_number))
    for rows in sections:
        for row in rows:
            if row.type in (A, AAAA):
                assert isinstance(row.data, str)
                packed = _packed(row.data)
                if compress and not row.name:
                    output.write(_POINTER)
                else:
                    (_name(row.name) if row.name else own).to_wire(output, known)
                output.write(_ROW.pack(_TYPE_NUMBERS[row.type], _IN, row.ttl, len(packed)) + packed)
            else:
                _write(output, known, _name(row.name) if row.name else own, row)
    if has_edns:
        edns_flags = int(dns.flags.DO) if question.dnssec_ok else 0
        output.write(struct.pack("!BHHIH", 0, dns.rdatatype.OPT, question.edns_bytes, edns_flags, 0))
    if output.tell() > MESSAGE_BYTES_MAX:
        raise ValueError("the answer is larger than a message can be")
    return output.getvalue()


@lru_cache(maxsize=8192)
def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def compressed_size(question: Question, reply: Reply) -> int | None:
    """Return the bytes of a reply that only has addresses of the name that was asked for, without rendering it."""
    if reply.authority or reply.additional:
        return None
    size = HEADER_BYTES + len(question.wire_name) + 4 + (OPT_BYTES if question.edns_bytes is not None else 0)
    for row in reply.answers:
        if row.name or row.type not in (A, AAAA):
            return None
        size += len(_POINTER) + _ROW.size + (4 if row.type == A else 16)
    return size


def _write(output: io.BytesIO, known: dict[dns.name.Name, int] | None, name: dns.name.Name, row: Row) -> None:
    """Write one record. The library's sets of records would lose their order."""
    kind, make = _MAKERS[row.type]
    name.to_wire(output, known)
    output.write(_ROW.pack(kind, _IN, row.ttl, 0))
    start = output.tell()
    make(row.data).to_wire(output, known)
    end = output.tell()
    output.seek(start - 2)
    output.write(struct.pack("!H", end - start))
    output.seek(end)


_A: Any = dns.rdtypes.IN.A.A
_AAAA: Any = dns.rdtypes.IN.AAAA.AAAA
_CNAME: Any = dns.rdtypes.ANY.CNAME.CNAME
_NS: Any = dns.rdtypes.ANY.NS.NS
_PTR: Any = dns.rdtypes.ANY.PTR.PTR
_SOA: Any = dns.rdtypes.ANY.SOA.SOA
_SRV: Any = dns.rdtypes.IN.SRV.SRV
_TXT: Any = dns.rdtypes.ANY.TXT.TXT


@lru_cache(maxsize=8192)
def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _soa(data: SoaData) -> Any:
    return _SOA(
        _IN, dns.rdatatype.SOA, _name(data.server), _name(data.mailbox), data.serial, data.refresh, data.retry,
        data.expire, data.min_ttl,
    )  # fmt: skip


def _srv(data: Srv) -> Any:
    return _SRV(_IN, dns.rdatatype.SRV, 1, data.weight, data.port & 0xFFFF, _name(data.target))


_MAKERS: Final[dict[str, tuple[int, Any]]] = {
    A: (1, lambda text: _A(_IN, dns.rdatatype.A, text)),
    AAAA: (28, lambda text: _AAAA(_IN, dns.rdatatype.AAAA, text)),
    CNAME: (5, lambda text: _CNAME(_IN, dns.rdatatype.CNAME, _name(text))),
    "NS": (2, lambda text: _NS(_IN, dns.rdatatype.NS, _name(text))),
    "PTR": (12, lambda text: _PTR(_IN, dns.rdatatype.PTR, _name(text))),
    "TXT": (16, lambda parts: _TXT(_IN, dns.rdatatype.TXT, parts)),
    "SOA": (6, _soa),
    "SRV": (33, _srv),
}


# Recursors


class Looked(msgspec.Struct, frozen=True):
    """What a recursor said of a name: its code and the address records among its answers."""

    code: str
    rows: tuple[Row, ...]
    truncated: bool


def address_query(number: int, name: str, type_name: str) -> bytes:
    """Return a question for a recursor; raises ValueError for what is no name."""
    if not is_name(name):
        raise ValueError(f"{name!r} is not a name")
    message = dns.message.make_query(_name(name), AAAA if type_name == AAAA else A, use_edns=True, payload=1232)
    message.id = number
    return message.to_wire()


def looked(data: bytes) -> Looked | None:
    """Return what an answer of a recursor says, None where it makes no sense."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
    except (dns.exception.DNSException, ValueError, struct.error):
        return None
    rows = []
    for rrset in message.answer:
        if int(rrset.rdtype) in _FOLLOWED_TYPES and rrset.rdclass == _IN:
            name = rrset.name.to_text(omit_final_dot=True).lower()
            rows += [Row(name, _TYPES[int(rrset.rdtype)], min(rrset.ttl, TTL_MAX), _data(item)) for item in rrset]
    return Looked(dns.rcode.to_text(message.rcode()), tuple(rows), bool(message.flags & dns.flags.TC))


def _data(item: Any) -> str:
    if item.rdtype == dns.rdatatype.CNAME:
        return str(item.target.to_text(omit_final_dot=True).lower())
    return str(ipaddress.ip_address(item.address))


def answers_question(query: bytes, answer: bytes) -> bool:
    """Whether `answer` is one to `query`: same id, and the same question if any. The whole defence against forgers."""
    if len(answer) < HEADER_BYTES or answer[:2] != query[:2] or not answer[2] & 0x80:
        return False
    if answer[4:6] == b"\0\0":
        return answer[3] & CODE_MASK != 0  # a refusal may leave the question out
    end = question_end(query)
    return end > 0 and answer[HEADER_BYTES:end].lower() == query[HEADER_BYTES:end].lower()


def question_end(data: bytes) -> int:
    """Return where the first question of a message ends, 0 where that is no plain name."""
    at = HEADER_BYTES
    while at < len(data):
        size = data[at]
        if size == 0:
            return at + 5 if at + 5 <= len(data) else 0
        if size > 63:
            return 0
        at += size + 1
    return 0


def with_number(data: bytes, number: int) -> bytes:
    """Return a message under another id."""
    return number.to_bytes(2, "big") + data[2:]
