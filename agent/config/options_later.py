"""Options that are known and checked, but have no effect in this version: setting one is a warning that names it.

They are here so that files written for the system we are compatible with start our servers unchanged. An entry moves to
`options.py` with the change that gives it its effect. Keys whose silence could harm carry a caution of their own.
"""

from typing import Any

from agent.config.option import Kind, Option, Reader, Status

_ACL_OFF = "access control is not enforced by this version: every request is allowed"


def _row(path: str, kind: Kind, default: object, doc: str, **more: Any) -> Option:
    return Option(path=path, kind=kind, default=default, doc=doc, status=Status.LATER, **more)


def _rows(kind: Kind, default: object, prefix: str, docs: dict[str, str], **more: Any) -> tuple[Option, ...]:
    return tuple(_row(prefix + name, kind, default, doc, **more) for name, doc in docs.items())


_PULLED = "nothing is sent there: metrics are read from /v1/agent/metrics, also as Prometheus reads them"
_CIRCONUS = (
    "api_token",
    "api_app",
    "api_url",
    "submission_interval",
    "submission_url",
    "check_id",
    "check_instance_id",
    "check_search_tag",
    "check_display_name",
    "check_tags",
    "broker_id",
    "broker_select_tag",
)
_SUITES = "the library's own choice of strong suites is used"

_PORTS = (
    _row("ports.grpc", Kind.INT, -1, "xDS for proxies.", flag="grpc-port", least=-1, most=65535),
    _row("ports.grpc_tls", Kind.INT, -1, "xDS for proxies, over TLS.", flag="grpc-tls-port", least=-1, most=65535),
    _row("ports.proxy_min_port", Kind.INT, 20000, "First port of managed proxies.", least=0, most=65535),
    _row("ports.proxy_max_port", Kind.INT, 20255, "Last port of managed proxies.", least=0, most=65535),
    _row("ports.sidecar_min_port", Kind.INT, 21000, "First port of sidecar proxies.", least=0, most=65535),
    _row("ports.sidecar_max_port", Kind.INT, 21255, "Last port of sidecar proxies.", least=0, most=65535),
    _row("ports.expose_min_port", Kind.INT, 21500, "First port of exposed checks.", least=0, most=65535),
    _row("ports.expose_max_port", Kind.INT, 21755, "Last port of exposed checks.", least=0, most=65535),
)

_ADDRESSES = (
    _row("addresses.grpc", Kind.TEXT, "", "Addresses of xDS. Default: client_addr."),
    _row("addresses.grpc_tls", Kind.TEXT, "", "Addresses of xDS over TLS. Default: client_addr."),
    _row("advertise_addr_ipv4", Kind.TEXT, "", "IPv4 address told to others."),
    _row("advertise_addr_ipv6", Kind.TEXT, "", "IPv6 address told to others."),
    _row(
        "unix_sockets.user",
        Kind.TEXT,
        "",
        "Owner of unix sockets.",
        caution="unix sockets keep the owner and mode of this process",
    ),
    _row(
        "unix_sockets.group",
        Kind.TEXT,
        "",
        "Group of unix sockets.",
        caution="unix sockets keep the owner and mode of this process",
    ),
    _row(
        "unix_sockets.mode",
        Kind.TEXT,
        "",
        "Mode of unix sockets, octal.",
        caution="unix sockets keep the owner and mode of this process",
    ),
)

_SEGMENTS = (
    _row("advertise_reconnect_timeout", Kind.DURATION, "0s", "When others shall forget this node after it failed."),
    _row("segment", Kind.TEXT, "", "Network segment.", flag="segment"),
    _row("segments", Kind.ROWS, [], "Network segments of a server."),
    _row("partition", Kind.TEXT, "", "Admin partition.", flag="partition"),
)

_SERVERS = (
    _row("protocol", Kind.INT, 2, "Gossip protocol version.", flag="protocol", least=2, most=3),
    _row(
        "raft_protocol",
        Kind.INT,
        3,
        "Raft protocol version; only 3 exists here.",
        flag="raft-protocol",
        least=0,
        most=3,
    ),
    _row(
        "non_voting_server",
        Kind.BOOL,
        False,
        "A server without a vote.",
        flag="non-voting-server",
        reader=Reader.SERVER,
    ),
    _row("read_replica", Kind.BOOL, False, "A server without a vote.", flag="read-replica", reader=Reader.SERVER),
    _row("raft_logstore", Kind.OPAQUE, {}, "Choice of the log store; here there is one.", reader=Reader.SERVER),
    _row("raft_boltdb", Kind.OPAQUE, {}, "Settings of another log store.", reader=Reader.SERVER),
    _row(
        "raft_prevote_disabled",
        Kind.BOOL,
        False,
        "Elections without pre-vote; here there is always one.",
        reader=Reader.SERVER,
    ),
    _row("performance.grpc_keepalive_interval", Kind.DURATION, "30s", "Pause between two keep-alives of xDS."),
    _row("performance.grpc_keepalive_timeout", Kind.DURATION, "20s", "When a silent xDS connection is dropped."),
    _row("primary_datacenter", Kind.TEXT, "", "Datacenter that owns tokens, intentions and the CA."),
    _row("primary_gateways", Kind.TEXTS, [], "Mesh gateways of the primary datacenter.", flag="primary-gateway"),
    _row("primary_gateways_interval", Kind.DURATION, "30s", "Pause between two looks for gateways."),
    _row("audit", Kind.OPAQUE, {}, "Audit log of another product's paid edition."),
    _row("license_path", Kind.TEXT, "", "Licence file of another product; not needed."),
    *_rows(Kind.BOOL, False, "autopilot.", {"disable_upgrade_migration": "Keep old servers voting during an upgrade."}),
    _row("autopilot.min_quorum", Kind.INT, 0, "Servers that are never removed automatically.", least=0),
    _row("autopilot.redundancy_zone_tag", Kind.TEXT, "", "Node meta key of the zone."),
    _row("autopilot.upgrade_version_tag", Kind.TEXT, "", "Node meta key of the version."),
)

_ACL = (
    _row("acl.enabled", Kind.BOOL, False, "Enforce access control.", caution=_ACL_OFF),
    _row(
        "acl.default_policy",
        Kind.TEXT,
        "allow",
        "What is done without a matching rule.",
        choices=("allow", "deny"),
        caution=_ACL_OFF,
    ),
    _row(
        "acl.down_policy",
        Kind.TEXT,
        "extend-cache",
        "What is done while no server can be asked.",
        choices=("allow", "deny", "extend-cache", "async-cache"),
    ),
    *_rows(
        Kind.DURATION,
        "30s",
        "acl.",
        {"token_ttl": "Cache of tokens.", "policy_ttl": "Cache of policies.", "role_ttl": "Cache of roles."},
    ),
    *_rows(
        Kind.BOOL,
        False,
        "acl.",
        {
            "enable_token_persistence": "Keep tokens set by HTTP across restarts.",
            "enable_token_replication": "Replicate tokens from the primary datacenter.",
            "enable_key_list_policy": "Ask for list on recursive KV reads.",
            "enable_token_sharing": "Share tokens.",
        },
    ),
    *_rows(
        Kind.SECRET,
        "",
        "acl.tokens.",
        {
            "initial_management": "Secret of the first management token.",
            "agent": "Token of the agent's own work.",
            "agent_recovery": "Token for the agent's API while servers are away.",
            "default": "Token of requests that carry none.",
            "replication": "Token for replication.",
            "config_file_service_registration": "Token of services in files.",
            "dns": "Token of DNS.",
        },
    ),
    _row("acl.tokens.managed_service_provider", Kind.ROWS, [], "Tokens of a service provider."),
    _row("acl_enforce_version_8", Kind.BOOL, True, "Enforce access control on agents."),
    _row("acl_disabled_ttl", Kind.DURATION, "120s", 'Cache of "access control is off".'),
)

_DNS = (_row("dns_config.prefer_namespace", Kind.BOOL, False, "Read a lone label as a namespace."),)

_CHECKS = (
    _row("disable_anonymous_signature", Kind.BOOL, False, "No signature in update checks."),
    _row("disable_update_check", Kind.BOOL, False, "No update check; there is none."),
    _row(
        "disable_http_unprintable_char_filter", Kind.BOOL, False, "Accept unprintable characters in paths; here never."
    ),
    _row("disable_host_node_id", Kind.BOOL, True, "Make node ids at random; here always.", flag="disable-host-node-id"),
    _row("exposed_checks", Kind.OPAQUE, {}, "Exposed checks."),
)

_MESH = (
    _row("connect", Kind.OPAQUE, {}, "Identity of services."),
    _row("config_entries", Kind.OPAQUE, {}, "Entries a server makes at start.", reader=Reader.SERVER),
    _row(
        "auto_config",
        Kind.OPAQUE,
        {},
        "Configuration from servers.",
        caution="not available: configure this agent by its own files",
    ),
    _row(
        "auto_encrypt",
        Kind.OPAQUE,
        {},
        "Certificates from servers.",
        caution="not available: give this agent a certificate of its own",
    ),
    _row("tls.grpc", Kind.OPAQUE, {}, "TLS of xDS."),
    _row("enable_central_service_config", Kind.BOOL, True, "Merge central settings into services."),
    _row("peering.enabled", Kind.BOOL, True, "Peering of clusters."),
    _row("xds.update_max_per_second", Kind.FLOAT, 250.0, "xDS updates per second."),
    _row("locality", Kind.OPAQUE, {}, "Region and zone."),
    _row("cloud", Kind.OPAQUE, {}, "Link to a hosted product."),
    _row("experiments", Kind.TEXTS, [], "Features of another product."),
)

_REST = (
    _row(
        "http_config.allow_write_http_from",
        Kind.TEXTS,
        [],
        "Networks allowed to write.",
        caution="not enforced by this version: any client may write",
    ),
    _row("limits.request_limits", Kind.OPAQUE, {}, "Limits of reads and writes by server."),
    _row("limits.rpc_client_timeout", Kind.DURATION, "60s", "Time for an RPC that does not block."),
    _row("cache", Kind.OPAQUE, {}, "Refresh rate of the agent's cache."),
    _row("rpc.enable_streaming", Kind.BOOL, True, "Streaming of health."),
    _row("use_streaming_backend", Kind.BOOL, True, "Streaming of health."),
    _row("auto_reload_config", Kind.BOOL, False, "Reload when a file changes.", flag="auto-reload-config"),
    _row("raft_logstore_verification", Kind.OPAQUE, {}, "Checksums of the log; here always."),
    _row("reporting", Kind.OPAQUE, {}, "Usage reports; there are none."),
    _row("enable_syslog", Kind.BOOL, False, "Log to syslog.", flag="syslog"),
    _row("syslog_facility", Kind.TEXT, "LOCAL0", "Facility of syslog."),
    _row("log_rotate_bytes", Kind.INT, 0, "Rotate the log file at this size.", flag="log-rotate-bytes", least=0),
    _row(
        "log_rotate_duration", Kind.DURATION, "24h", "Rotate the log file after this time.", flag="log-rotate-duration"
    ),
    _row("log_rotate_max_files", Kind.INT, 0, "Old log files to keep.", flag="log-rotate-max-files", least=-1),
    _row("telemetry.statsd_address", Kind.TEXT, "", "A statsd server.", caution=_PULLED),
    _row("telemetry.statsite_address", Kind.TEXT, "", "A statsite server.", caution=_PULLED),
    _row("telemetry.dogstatsd_addr", Kind.TEXT, "", "A DogStatsD server.", caution=_PULLED),
    _row("telemetry.dogstatsd_tags", Kind.TEXTS, [], "Tags for it.", caution=_PULLED),
    *_rows(Kind.TEXT, "", "telemetry.circonus_", dict.fromkeys(_CIRCONUS, "Circonus."), caution=_PULLED),
    _row("telemetry.circonus_check_force_metric_activation", Kind.BOOL, False, "Circonus.", caution=_PULLED),
    _row("telemetry.enable_host_metrics", Kind.BOOL, False, "Measure the machine, not only this process."),
    _row("telemetry.disable_per_tenancy_usage_metrics", Kind.BOOL, False, "Leave out usage by tenancy."),
    _row("telemetry.retry_failed_connection", Kind.BOOL, True, "Try a sink again that cannot be reached."),
    _row("ui_config.metrics_provider", Kind.TEXT, "", "Source of metrics for the web pages."),
    _row("ui_config.metrics_provider_files", Kind.TEXTS, [], "Files of that source."),
    _row("ui_config.metrics_provider_options_json", Kind.TEXT, "", "Options of that source."),
    _row("ui_config.metrics_proxy", Kind.OPAQUE, {}, "Proxy to that source."),
    _row("ui_config.dashboard_url_templates", Kind.TEXT_MAP, {}, "Links to dashboards."),
    _row("ui_config.hcp_enabled", Kind.BOOL, False, "Link to a hosted product."),
    *(
        _row(f"tls.{section}.tls_cipher_suites", Kind.TEXT, "", "Cipher suites, separated by commas.", caution=_SUITES)
        for section in ("defaults", "internal_rpc", "https")
    ),
    _row("limits.https_handshake_timeout", Kind.DURATION, "5s", "Time for the TLS handshake of an HTTPS connection."),
    _row("tls_prefer_server_cipher_suites", Kind.BOOL, False, "Prefer the server's order of cipher suites."),
)

LATER: tuple[Option, ...] = (*_PORTS, *_ADDRESSES, *_SEGMENTS, *_SERVERS, *_ACL, *_DNS, *_CHECKS, *_MESH, *_REST)
