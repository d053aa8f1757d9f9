"""Which addresses to listen on, to tell others and to dial, from the texts of the configuration.

Source: agent specification, section 2 (bind, advertise, client, addresses); templates as in agent/config/interfaces.py.
"""

import ipaddress
import socket
from collections.abc import Sequence

from agent.config.interfaces import expand, private_ipv4s
from agent.config.runtime import HostPort, Listen, UnixPath
from base.errors import ConfigInvalid

_CONFIGURE = "Please configure one with 'bind' and/or 'advertise'."


def host_name() -> str:
    """The name of this machine, the default for the node's."""
    return socket.gethostname()


def bind_and_advertise(bind: str, advertise: str) -> tuple[str, str]:
    """Return the address to listen on and the one to tell others, both plain IPs; raises ConfigInvalid."""
    bind_address = _one_ip("bind_addr", bind)
    if advertise:
        advertise_address = _one_ip("advertise_addr", advertise)
    elif not ipaddress.ip_address(bind_address).is_unspecified:
        advertise_address = bind_address
    else:
        advertise_address = _only_private()
    if ipaddress.ip_address(advertise_address).is_unspecified:
        raise ConfigInvalid("advertise_addr: cannot be 0.0.0.0 or [::]: others could not dial it")
    return bind_address, advertise_address


def _only_private() -> str:
    found = private_ipv4s()
    if len(found) > 1:
        raise ConfigInvalid(f"bind_addr: Multiple private IPv4 addresses found. {_CONFIGURE}")
    if not found:
        raise ConfigInvalid(f"bind_addr: No private IPv4 address found. {_CONFIGURE}")
    return found[0]


def _one_ip(key: str, text: str) -> str:
    words = expand(key, text).split()
    if len(words) != 1:
        raise ConfigInvalid(f"{key}: expected one address, found {len(words)} in {text!r}")
    return _ip(key, words[0])


def _ip(key: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ConfigInvalid(f"{key}: {text!r} is not an IP address") from None


def client_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses of client_addr: IPs or unix:// paths; raises ConfigInvalid."""
    words = expand("client_addr", text).split()
    if not words:
        raise ConfigInvalid("client_addr: cannot be empty")
    return tuple(word if word.startswith("unix://") else _ip("client_addr", word) for word in words)


def listens(text: str, clients: Sequence[str], port: int) -> tuple[Listen, ...]:
    """Return where one API listens: its own addresses or the clients' ones; nothing where the port is off."""
    words = expand("addresses", text).split() or list(clients)
    found: list[Listen] = []
    for word in words:
        if word.startswith("unix://"):
            path = word.removeprefix("unix://")
            if not path.startswith("/"):
                raise ConfigInvalid(f"addresses: {word!r}: a unix socket needs an absolute path")
            found.append(UnixPath(path))
        elif port >= 0:
            found.append(HostPort(_ip("addresses", word), port))
    return tuple(found) if port >= 0 else ()


def own_or(key: str, text: str, default: str) -> str:
    """Return the one IP that `key` names, or `default` where it says nothing; raises ConfigInvalid."""
    return _one_ip(key, text) if text else default


def networks(key: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return networks in their usual form; raises ConfigInvalid."""
    try:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in texts)
    except ValueError as error:
        raise ConfigInvalid(f"{key}: {error}") from None


def join_addresses(key: str, texts: Sequence[str], port_default: int, warnings: list[str]) -> tuple[str, ...]:
    """Return "host:port" for each address to join, without doubles; raises ConfigInvalid."""
    found: dict[str, None] = {}
    for text in texts:
        if "provider=" in text or text.startswith("exec="):
            warnings.append(f"{key}: {text.split()[0]!r}: finding members by a cloud's API is not supported, skipped")
            continue
        for word in expand(key, text).split():
            found[str(_join_address(key, word, port_default))] = None
    return tuple(found)


def _join_address(key: str, word: str, port_default: int) -> HostPort:
    host, colon, digits = word.rpartition(":")
    if not colon or _is_ip(word):
        return HostPort(word.strip("[]"), port_default)
    if not digits.isdecimal() or not 1 <= int(digits) <= 65535 or not host.strip("[]"):
        raise ConfigInvalid(f"{key}: {word!r} is not host, host:port or [IPv6]:port")
    return HostPort(host.strip("[]"), int(digits))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
