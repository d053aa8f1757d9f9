"""Options of DNS, and of the agent's cache; see `options.py`."""

from typing import Any

from agent.config.option import Kind, Option


def _row(path: str, kind: Kind, default: object, doc: str, **more: Any) -> Option:
    return Option(path=path, kind=kind, default=default, doc=doc, **more)


TTL_S_MAX = 2**31 - 1
"""What a record can say (RFC 2181, section 8)."""

DNS: tuple[Option, ...] = (
    _row("ports.dns", Kind.INT, 8600, "DNS, UDP and TCP; -1 turns it off.", flag="dns-port", least=-1, most=65535),
    _row("addresses.dns", Kind.TEXT, "", "Addresses of DNS. Default: client_addr."),
    _row("alt_domain", Kind.TEXT, "", "A second DNS domain that is answered like the first.", flag="alt-domain"),
    _row(
        "recursors",
        Kind.TEXTS,
        [],
        "Name servers for other domains: IP or IP:port, may be templates. None: other domains are refused.",
        flag="recursor",
    ),
    _row("dns_config.only_passing", Kind.BOOL, False, "Leave out instances in warning state, too."),
    _row("dns_config.enable_truncate", Kind.BOOL, False, "Say in UDP answers that something was left out."),
    _row("dns_config.disable_compression", Kind.BOOL, False, "Do not compress names."),
    _row(
        "dns_config.use_cache",
        Kind.BOOL,
        True,
        "Answer from the agent's cache where stale answers are allowed. Default true, where Consul has false.",
    ),
    _row("dns_config.allow_stale", Kind.BOOL, True, "Let any server answer, and the cache."),
    _row("dns_config.enable_additional_node_meta_txt", Kind.BOOL, True, "Add node meta as TXT to answers about nodes."),
    _row("dns_config.max_stale", Kind.DURATION, "87600h", "Older answers are asked again of the leader."),
    _row("dns_config.node_ttl", Kind.DURATION, "0s", "TTL of node records.", most=TTL_S_MAX),
    _row(
        "dns_config.service_ttl",
        Kind.TEXT_MAP,
        {},
        'TTL of service records by name; "web-*" for all that begin so, "*" for all.',
    ),
    _row("dns_config.udp_answer_limit", Kind.INT, 3, "Records in one UDP answer without EDNS, at most 8.", least=0),
    _row("dns_config.a_record_limit", Kind.INT, 0, "Address records in one answer; 0: no limit.", least=0),
    _row("dns_config.recursor_timeout", Kind.DURATION, "2s", "Time for each recursor.", least=0.01, most=60),
    _row(
        "dns_config.recursor_strategy", Kind.TEXT, "sequential", "Order of recursors.", choices=("sequential", "random")
    ),
    _row(
        "dns_config.cache_max_age",
        Kind.DURATION,
        "0s",
        "Oldest cached answer of a prepared query; 0: they are not cached. All others are kept fresh.",
    ),
    _row("dns_config.soa", Kind.OPAQUE, {}, "refresh, retry, expire and min_ttl of the SOA record, whole seconds."),
    _row("http_config.use_cache", Kind.BOOL, True, "Answer requests that say `cached` from the agent's cache."),
)
