"""What the DNS server can be told, frozen. The agent fills it from its configuration. Sans-IO."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from base.secret import Secret

NO_TOKEN = Secret()
NO_TTLS: Mapping[str, int] = MappingProxyType({})


class DNSLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one DNS server. Not for operators: nothing here is ever too small for what DNS is used for."""

    query_bytes_max: int = 1232
    """A question with its options has some 300 bytes."""
    udp_bytes_max: int = 4096
    """Of an answer by UDP, whatever its asker says that it can take: answers to forged questions must not be large."""
    lookups_max: int = 1024
    """Questions that wait for servers or recursors; more by UDP are dropped, as a full network would."""
    lookups_per_source_max: int = 256
    """The same for one address that asks."""
    lookup_s: float = 8.0
    """Longest wait for servers. Resolvers ask again after 5 s or sooner."""
    connections_max: int = 1024
    connections_per_source_max: int = 64
    idle_s: float = 15.0
    """Between two questions on a TCP connection."""
    read_s: float = 5.0
    """From the first byte of a question by TCP to its last."""
    write_s: float = 5.0
    """For one answer by TCP to be taken."""
    remembered_max: int = 4096
    """Rendered answers that are kept for the next who asks the same."""


class Soa(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of the SOA record, seconds."""

    refresh: int = 3600
    retry: int = 600
    expire: int = 86400
    min_ttl: int = 0


class DNSSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about DNS but its sockets. Domains are in lower case and have no final dot."""

    domain: str = "consul"
    alt_domain: str = ""
    datacenter: str = "dc1"
    node_name: str = ""
    token: Secret = NO_TOKEN
    allow_stale: bool = True
    max_stale_s: float = 87600 * 3600.0
    use_cache: bool = True
    cache_max_age_s: float = 0.0
    """For prepared queries only, whose answers are not kept fresh; 0: they are not kept."""
    translate_wan_addresses: bool = False
    """Give out the WAN addresses of what is in another datacenter."""
    only_passing: bool = False
    node_ttl_s: int = 0
    service_ttls_s: Mapping[str, int] = NO_TTLS
    """By name or beginning of a name and "*"; "*" alone for all."""
    udp_answer_limit: int = 3
    a_record_limit: int = 0
    enable_truncate: bool = False
    disable_compression: bool = False
    node_meta_txt: bool = True
    soa: Soa = Soa()
    recursors: tuple[tuple[str, int], ...] = ()
    recursor_timeout_s: float = 2.0
    recursors_at_random: bool = False
    limits: DNSLimits = DNSLimits()

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that are ours."""
        return (self.domain, self.alt_domain) if self.alt_domain else (self.domain,)

    def service_ttl_s(self, service: str) -> int:
        """Return the TTL of a service: its own, else that of the longest beginning that fits, else 0."""
        exact = self.service_ttls_s.get(service)
        if exact is not None:
            return exact
        fitting = [
            name for name in self.service_ttls_s if name.endswith("*") and service.startswith(name.removesuffix("*"))
        ]
        return self.service_ttls_s[max(fitting, key=len)] if fitting else 0
