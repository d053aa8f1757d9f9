"""What DNS is told, from the merged values of the configuration. Source: agent specification, sections 2 and 9."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.config.addresses import listens
from agent.config.interfaces import expand
from agent.config.options_dns import TTL_S_MAX
from agent.config.runtime import HostPort, UnixPath
from agent.dns.settings import DNSSettings, Soa
from base.durations import parse_duration_s
from base.errors import ConfigInvalid
from base.secret import Secret

RECURSORS_MAX = 16
RECURSOR_PORT = 53
_SOA_FIELDS = ("refresh", "retry", "expire", "min_ttl")
_UINT32_MAX = 2**32 - 1
Complain = Callable[[str, str], None]


def dns_listens(text: str, clients: Sequence[str], port: int) -> tuple[HostPort, ...]:
    """Return where DNS listens; raises ConfigInvalid. Unix sockets of `client_addr` are for HTTP only."""
    found = listens(text, [client for client in clients if not client.startswith("unix://")], port)
    for address in found:
        if isinstance(address, UnixPath):
            raise ConfigInvalid(f"addresses.dns: {address}: DNS needs an IP address")
    return tuple(address for address in found if isinstance(address, HostPort))


def dns_settings(
    values: Mapping[str, Any],
    *,
    domain: str,
    alt_domain: str,
    datacenter: str,
    node_name: str,
    listen: Sequence[HostPort],
    complain: Complain,
) -> DNSSettings:
    """Return the settings of DNS; what is wrong is handed to `complain`. Raises ConfigInvalid for templates."""
    return DNSSettings(
        domain=domain,
        alt_domain="" if alt_domain == domain else alt_domain,
        datacenter=datacenter,
        node_name=node_name,
        token=Secret(values["acl.tokens.default"]),
        allow_stale=values["dns_config.allow_stale"],
        max_stale_s=values["dns_config.max_stale"],
        use_cache=values["dns_config.use_cache"],
        cache_max_age_s=values["dns_config.cache_max_age"],
        translate_wan_addresses=values["translate_wan_addrs"],
        only_passing=values["dns_config.only_passing"],
        node_ttl_s=int(values["dns_config.node_ttl"]),
        service_ttls_s=_ttls(values["dns_config.service_ttl"], complain),
        udp_answer_limit=values["dns_config.udp_answer_limit"],
        a_record_limit=values["dns_config.a_record_limit"],
        enable_truncate=values["dns_config.enable_truncate"],
        disable_compression=values["dns_config.disable_compression"],
        node_meta_txt=values["dns_config.enable_additional_node_meta_txt"],
        soa=_soa(values["dns_config.soa"], complain),
        recursors=_recursors(values["recursors"], listen, complain),
        recursor_timeout_s=values["dns_config.recursor_timeout"],
        recursors_at_random=values["dns_config.recursor_strategy"] == "random",
    )


def _ttls(texts: Mapping[str, str], complain: Complain) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, text in texts.items():
        try:
            seconds = parse_duration_s(text)
        except ValueError:
            complain("dns_config.service_ttl", f"{name!r}: expected a duration, found {text!r}")
            continue
        if not 0 <= seconds <= TTL_S_MAX:
            complain("dns_config.service_ttl", f"{name!r}: must be 0 to {TTL_S_MAX} seconds, found {text!r}")
        elif not name or "*" in name[:-1]:
            complain("dns_config.service_ttl", f"{name!r}: '*' may only be at the end of a name")
        else:
            found[name.lower()] = int(seconds)
    return found


def _soa(given: Mapping[str, Any], complain: Complain) -> Soa:
    fields: dict[str, int] = {}
    for name, value in given.items():
        if name not in _SOA_FIELDS:
            complain("dns_config.soa", f"invalid config key {name}")
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _UINT32_MAX:
            complain("dns_config.soa", f"{name}: expected whole seconds, found {value!r}")
        else:
            fields[name] = value
    return Soa(**fields)


def _recursors(texts: Sequence[str], listen: Sequence[HostPort], complain: Complain) -> tuple[tuple[str, int], ...]:
    found: dict[tuple[str, int], None] = {}
    for text in texts:
        for word in expand("recursors", text).split():
            address = _recursor(word)
            if address is None:
                complain("recursors", f"{word!r} is not IP, IP:port or [IPv6]:port")
            elif any(_is_ours(address, own) for own in listen):
                complain("recursors", f"{word!r} is where this agent itself answers DNS")
            else:
                found[address] = None
    if len(found) > RECURSORS_MAX:
        complain("recursors", f"at most {RECURSORS_MAX} can be asked, found {len(found)}")
    return tuple(found)


def _recursor(word: str) -> tuple[str, int] | None:
    host, port = word, RECURSOR_PORT
    if word.startswith("[") or word.count(":") == 1:
        host, _, digits = word.rpartition(":")
        if word.endswith("]"):
            host = word
        elif digits.isdecimal() and 1 <= int(digits) <= 65535:
            port = int(digits)
        else:
            return None
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), port
    except ValueError:
        return None


def _is_ours(address: tuple[str, int], own: HostPort) -> bool:
    host, port = ipaddress.ip_address(address[0]), address[1]
    mine = ipaddress.ip_address(own.host)
    return port == own.port and (host == mine or (mine.is_unspecified and host.is_loopback))
