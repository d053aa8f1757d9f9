"""The kernel's packet filter, spoken to directly (nf_tables over netlink): what comes in from an address is dropped.

No tool is needed, only CAP_NET_ADMIN in the namespace that the socket belongs to. There is one table with one chain
on what is addressed to this host. Its rules are replaced all at once, in one transaction:

    rule     source address = A, [number drawn at random < share,] count, drop or hand to a queue

Source: linux/netfilter/nf_tables.h, linux/netfilter/xt_NFQUEUE.h.
"""

import socket
import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from jepsen.network import netlink
from jepsen.network.netlink import ACK, APPEND, CREATE, DUMP, REQUEST, attribute, nested, number, text

REPLY_BYTES_MAX: Final = 256 * 1024
REPLY_TIMEOUT_S: Final = 5

SUBSYSTEM = 10
NEWTABLE, NEWCHAIN, NEWRULE, GETRULE, DELRULE = (SUBSYSTEM << 8 | kind for kind in (0, 3, 6, 7, 8))
FAMILY_IPV4 = 2
HOOK_LOCAL_IN = 1
REGISTER_VERDICT, REGISTER_1 = 0, 1
DROP, ACCEPT = 0, 1
PAYLOAD_NETWORK_HEADER = 1
SOURCE_ADDRESS_OFFSET, SOURCE_ADDRESS_BYTES = 12, 4
COMPARE_EQUAL, COMPARE_LESS = 0, 2
NUMBER_RANDOM = 1
QUEUE_BYPASS = 1
"""Packets pass where nobody reads the queue."""
SHARE_STEPS: Final = 256
"""Shares are drawn in so many steps: the kernel compares bytes, and a single byte has no byte order."""

TABLE: Final = text(1, "mesh_jepsen")
CHAIN: Final = "in"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to packets from one address."""

    name: str
    """Comes back with the counter."""
    source: str
    """IPv4 address."""
    share: float = 1.0
    """Of the packets, above 0."""
    queue: int | None = None
    """None: drop them. Else hand them to this queue of the namespace; without a reader they pass."""


class Filter:
    """The filter of the namespace that `connection` was made in."""

    def __init__(self, connection: socket.socket) -> None:
        """Takes the netlink socket over. Raises OSError where the kernel has no such filter, or forbids it."""
        self._socket = connection
        self._socket.settimeout(REPLY_TIMEOUT_S)
        self._sequence = 0
        hook = nested(4, number(1, HOOK_LOCAL_IN), number(2, 0))
        chain = TABLE + text(3, CHAIN) + hook + number(5, ACCEPT) + text(7, "filter")
        self._transact([(NEWTABLE, CREATE, TABLE), (NEWCHAIN, CREATE, chain)])

    def replace(self, rules: Iterable[Rule]) -> None:
        """Put these rules in the place of all; their counters begin at 0. Raises OSError, and then nothing changed."""
        added = [(NEWRULE, CREATE | APPEND, _rule(rule)) for rule in rules]
        self._transact([(DELRULE, 0, TABLE + text(2, CHAIN)), *added])

    def counters(self) -> dict[str, int]:
        """Rule name -> packets that met it since it was put in; raises OSError."""
        self._sequence += 1
        body = TABLE + text(2, CHAIN)
        self._socket.send(netlink.message(GETRULE, REQUEST | DUMP, self._sequence, body, family=FAMILY_IPV4))
        found: dict[str, int] = {}
        while True:
            for received in netlink.messages(self._socket.recv(REPLY_BYTES_MAX)):
                if received.sequence != self._sequence:
                    continue  # of something that failed before
                if received.kind == netlink.DONE:
                    return found
                received.raise_for_error()
                attributes = netlink.attributes(received.payload)
                if 7 in attributes:
                    found[attributes[7].decode("utf-8")] = _packets(attributes[4])

    def close(self) -> None:
        """Forget the socket. The rules stay as long as their namespace."""
        self._socket.close()

    def _transact(self, changes: list[tuple[int, int, bytes]]) -> None:
        begin = self._next(netlink.BATCH_BEGIN, 0, b"", family=0, resource=SUBSYSTEM)
        awaited = set(range(self._sequence + 1, self._sequence + 1 + len(changes)))
        steps = [self._next(kind, ACK | flags, body, family=FAMILY_IPV4) for kind, flags, body in changes]
        end = self._next(netlink.BATCH_END, 0, b"", family=0, resource=SUBSYSTEM)
        self._socket.send(b"".join([begin, *steps, end]))
        while awaited:
            for received in netlink.messages(self._socket.recv(REPLY_BYTES_MAX)):
                if received.sequence in awaited:
                    awaited.discard(received.sequence)
                    received.raise_for_error()

    def _next(self, kind: int, flags: int, body: bytes, *, family: int, resource: int = 0) -> bytes:
        self._sequence += 1
        return netlink.message(kind, REQUEST | flags, self._sequence, body, family=family, resource=resource)


def _rule(rule: Rule) -> bytes:
    header = number(2, PAYLOAD_NETWORK_HEADER) + number(3, SOURCE_ADDRESS_OFFSET) + number(4, SOURCE_ADDRESS_BYTES)
    expressions = [
        _expression("payload", number(1, REGISTER_1) + header),
        _compare(COMPARE_EQUAL, socket.inet_aton(rule.source)),
    ]
    steps = max(1, round(rule.share * SHARE_STEPS))
    if steps < SHARE_STEPS:
        draw = number(1, REGISTER_1) + number(2, SHARE_STEPS) + number(3, NUMBER_RANDOM)
        expressions += [_expression("numgen", draw), _compare(COMPARE_LESS, struct.pack("=I", steps))]
    expressions.append(_expression("counter", b""))
    if rule.queue is None:
        verdict = nested(2, nested(2, number(1, DROP)))
        expressions.append(_expression("immediate", number(1, REGISTER_VERDICT) + verdict))
    else:
        # The older interface of the same thing: it is built into more kernels than nf_tables' own "queue".
        information = struct.pack("=HHH", rule.queue, 1, QUEUE_BYPASS) + b"\0\0"
        expressions.append(_expression("target", text(1, "NFQUEUE") + number(2, 2) + attribute(3, information)))
    return TABLE + text(2, CHAIN) + nested(4, *expressions) + attribute(7, rule.name.encode("utf-8"))


def _expression(name: str, data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, data))


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", number(1, REGISTER_1) + number(2, operator) + nested(3, attribute(1, value)))


def _packets(expressions: bytes) -> int:
    """The number in the counter among a rule's expressions."""
    for _, element in netlink.elements(expressions):
        expression = netlink.attributes(element)
        if expression[1] == b"counter\0":
            return int.from_bytes(netlink.attributes(expression[2])[2], "big")
    return 0
