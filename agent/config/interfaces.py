"""Addresses of this machine's interfaces, and the templates that name them: `{{ GetPrivateIP }}`.

The handful of templates that configuration files really hold is understood; any other is refused by name. Linux only
(netlink); elsewhere an address must be written out.
"""

import ipaddress
import re
import socket
import struct
from pathlib import Path

import msgspec

from base.errors import ConfigInvalid

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class InterfaceAddress(msgspec.Struct, frozen=True):
    """One address of one interface."""

    interface: str
    address: IPAddress


def interface_addresses() -> list[InterfaceAddress]:
    """All addresses of this machine in the kernel's order; raises ConfigInvalid where they cannot be listed."""
    if not hasattr(socket, "AF_NETLINK"):
        raise ConfigInvalid("cannot list the addresses of interfaces on this system: write the address out")
    found: list[InterfaceAddress] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(NETLINK_TIMEOUT_S)
        # nlmsghdr (length, type, flags, sequence, port), then rtgenmsg (family), padded to 4 bytes.
        kernel.send(struct.pack("=IHHIIB3x", 20, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, socket.AF_UNSPEC))
        while True:
            datagram = kernel.recv(NETLINK_DATAGRAM_BYTES)
            if not _collect(datagram, found):
                return found


NETLINK_TIMEOUT_S = 5.0
NETLINK_DATAGRAM_BYTES = 1 << 16
RTM_NEWADDR, RTM_GETADDR, NLMSG_ERROR, NLMSG_DONE = 20, 22, 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
IFA_ADDRESS, IFA_LOCAL = 1, 2


def _collect(datagram: bytes, found: list[InterfaceAddress]) -> bool:
    """Add the addresses of one answer; returns whether more follow."""
    offset = 0
    while offset + 16 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, offset)
        if kind in (NLMSG_DONE, NLMSG_ERROR) or length < 16:
            return False
        if kind == RTM_NEWADDR:
            _collect_one(datagram[offset + 16 : offset + length], found)
        offset += (length + 3) & ~3
    return True


def _collect_one(message: bytes, found: list[InterfaceAddress]) -> None:
    (interface,) = struct.unpack_from("=I", message, 4)
    attributes: dict[int, bytes] = {}
    offset = 8
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4:
            break
        attributes[kind] = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    data = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
    if data is not None and len(data) in (4, 16):
        found.append(InterfaceAddress(socket.if_indextoname(interface), ipaddress.ip_address(data)))


def _usable(address: IPAddress) -> bool:
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def private_ipv4s() -> list[str]:
    """Private IPv4 addresses of this machine, loopback and link-local ones left out."""
    return [
        str(row.address)
        for row in interface_addresses()
        if row.address.version == 4 and row.address.is_private and _usable(row.address)
    ]


def _default_interface() -> str:
    """The interface of the IPv4 default route, or ""."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return ""
    return next(
        (fields[0] for fields in map(str.split, lines) if len(fields) > 7 and fields[1] == fields[7] == "00000000"), ""
    )


def _private(_: str) -> list[str]:
    default = _default_interface()
    rows = [row for row in interface_addresses() if row.address.is_private and _usable(row.address)]
    rows = [row for row in rows if row.interface == default] or rows
    return [str(row.address) for row in sorted(rows, key=lambda row: row.address.version)]


def _public(_: str) -> list[str]:
    rows = [row for row in interface_addresses() if not row.address.is_private and _usable(row.address)]
    return [str(row.address) for row in sorted(rows, key=lambda row: row.address.version)]


def _of_interface(name: str) -> list[str]:
    rows = [row for row in interface_addresses() if row.interface == name and not row.address.is_link_local]
    return [str(row.address) for row in sorted(rows, key=lambda row: row.address.version)]


_FUNCTIONS = {
    "GetPrivateIP": (_private, False, True),
    "GetPrivateIPs": (_private, False, False),
    "GetPublicIP": (_public, False, True),
    "GetPublicIPs": (_public, False, False),
    "GetInterfaceIP": (_of_interface, True, True),
    "GetInterfaceIPs": (_of_interface, True, False),
}
"""Name -> (addresses, whether it takes an interface's name, whether only the first counts)."""

_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_CALL = re.compile(r"-?\s*(\w+)(?:\s+(?:\"([^\"]*)\"|`([^`]*)`))?\s*-?")


def expand(key: str, text: str) -> str:
    """Return `text` with templates replaced by addresses, separated by spaces; raises ConfigInvalid naming `key`."""
    if "{{" not in text:
        return text
    return _TEMPLATE.sub(lambda match: _value(key, match[1]), text)


def _value(key: str, inner: str) -> str:
    call = _CALL.fullmatch(inner.strip())
    known = _FUNCTIONS.get(call[1]) if call else None
    argument = (call[2] or call[3] or "") if call else ""
    if known is None or known[1] != bool(argument):
        raise ConfigInvalid(
            f"{key}: the template {{{{{inner}}}}} is not supported; supported are "
            + ", ".join(name + (' "NAME"' if takes else "") for name, (_, takes, _) in _FUNCTIONS.items())
        )
    addresses, _, only_first = known
    found = addresses(argument)
    if not found:
        raise ConfigInvalid(f"{key}: the template {{{{{inner}}}}} finds no address on this machine")
    return found[0] if only_first else " ".join(found)
