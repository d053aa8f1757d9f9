"""Every option: name, type, default, flag, who reads it, whether a reload changes it, and one line of text.

The keys, their nesting and their defaults are those of the agent specification, section 2, and of the later renames
(modern deltas, section 11). A default that differs says so in its text. Keys without an effect in this version are in
`options_later.py`; both make up OPTIONS. `scripts/config_docs.py` prints the documentation from it.
"""

from typing import Any

from agent.config.option import Kind, Option, Reader
from agent.config.options_dns import DNS
from agent.config.options_gossip import GOSSIP
from agent.config.options_later import LATER

PORT_MAX = 65535


def _row(path: str, kind: Kind, default: object, doc: str, **more: Any) -> Option:
    return Option(path=path, kind=kind, default=default, doc=doc, **more)


def _port(path: str, default: int, doc: str, flag: str, **more: Any) -> Option:
    return Option(path=path, kind=Kind.INT, default=default, doc=doc, flag=flag, least=-1, most=PORT_MAX, **more)


_SERVER = Reader.SERVER

_UI = (
    _row("ui_config.enabled", Kind.BOOL, True, "Serve the web page; on by default here.", flag="ui"),
    _row("ui_config.dir", Kind.TEXT, "", "Folder with another page.", flag="ui-dir"),
    _row("ui_config.content_path", Kind.TEXT, "/ui/", "Path of the web page.", flag="ui-content-path"),
)

_IDENTITY = (
    _row("node_name", Kind.TEXT, "", "Name of this node; must be unique. Default: the host's name.", flag="node"),
    _row(
        "node_id",
        Kind.TEXT,
        "",
        "UUID of this node. Default: made once and kept in the data directory.",
        flag="node-id",
    ),
    _row(
        "node_meta",
        Kind.TEXT_MAP,
        {},
        "Key and value pairs about this node, at most 64.",
        flag="node-meta",
        reloadable=True,
    ),
    _row("datacenter", Kind.TEXT, "dc1", "Name of the datacenter, in lower case.", flag="datacenter"),
    _row("domain", Kind.TEXT, "consul.", "DNS domain; part of the names in certificates.", flag="domain"),
    _row("data_dir", Kind.TEXT, "", "Where state is kept. Required unless in development mode.", flag="data-dir"),
    _row("server", Kind.BOOL, False, "Be a server. mesh-server implies it.", flag="server"),
    _row("pid_file", Kind.TEXT, "", "File to hold the process id.", flag="pid-file"),
)

_ADDRESSES = (
    _row(
        "bind_addr",
        Kind.TEXT,
        "0.0.0.0",  # noqa: S104
        "Address to listen on for other members. One IP, may be a template.",
        flag="bind",
    ),
    _row(
        "advertise_addr",
        Kind.TEXT,
        "",
        "Address told to others. Default: bind_addr, or the only private IPv4.",
        flag="advertise",
    ),
    _row(
        "client_addr", Kind.TEXT, "127.0.0.1", "Addresses for HTTP and DNS clients, separated by spaces.", flag="client"
    ),
    _row("addresses.http", Kind.TEXT, "", "Addresses of the HTTP API, or unix:///path. Default: client_addr."),
    _row("addresses.https", Kind.TEXT, "", "Addresses of the HTTPS API, or unix:///path. Default: client_addr."),
    _port("ports.http", 8500, "HTTP API; -1 turns it off.", "http-port"),
    _port("ports.https", -1, "HTTPS API; -1 turns it off.", "https-port"),
    _port("ports.server", 8300, "RPC between servers and from agents.", "server-port"),
)

_CLUSTER = (
    _row(
        "bootstrap",
        Kind.BOOL,
        False,
        "Be the first and only server of a new cluster.",
        flag="bootstrap",
        reader=_SERVER,
    ),
    _row(
        "bootstrap_expect",
        Kind.INT,
        0,
        "Wait for so many servers, then form a new cluster; once.",
        flag="bootstrap-expect",
        reader=_SERVER,
        least=0,
    ),
    _row(
        "leave_on_terminate",
        Kind.BOOL,
        None,
        "Leave the cluster on SIGTERM. Default: true on agents, false on servers.",
    ),
    _row(
        "skip_leave_on_interrupt", Kind.BOOL, None, "Do not leave on SIGINT. Default: false on agents, true on servers."
    ),
    _row(
        "disable_remote_exec", Kind.BOOL, True, "Run no commands for `exec`; false lets the cluster run programs here."
    ),
)

_RAFT = (
    _row(
        "performance.raft_multiplier",
        Kind.INT,
        1,
        "Scales heartbeats (0.1 s) and elections (0.6 to 1.2 s). Default 1, where Consul has 5.",
        reader=_SERVER,
        least=1,
        most=10,
    ),
    _row(
        "performance.rpc_hold_timeout",
        Kind.DURATION,
        "7s",
        "How long a request waits for a leader to appear.",
        least=0,
        most=600,
    ),
    _row(
        "performance.leave_drain_time",
        Kind.DURATION,
        "5s",
        "How long a leaving server stays to let requests drain.",
        reader=_SERVER,
        least=0,
        most=600,
    ),
    _row("raft_snapshot_threshold", Kind.INT, 16384, "Log entries between two snapshots.", reader=_SERVER, least=1),
    _row(
        "raft_snapshot_interval",
        Kind.DURATION,
        "30s",
        "Least time between two snapshots, unless the log fills its 32 MiB of memory.",
        reader=_SERVER,
        least=0.1,
    ),
    _row(
        "raft_trailing_logs",
        Kind.INT,
        10000,
        "Log entries kept behind a snapshot, for followers that were away.",
        reader=_SERVER,
        least=1,
    ),
    _row("session_ttl_min", Kind.DURATION, "10s", "Shortest TTL of a session.", reader=_SERVER, least=0, most=86400),
)

_HTTP = (
    _row("http_config.response_headers", Kind.TEXT_MAP, {}, "Headers added to every HTTP answer."),
    _row(
        "discovery_max_stale",
        Kind.DURATION,
        "0s",
        "Reads of catalog and health that name no mode may be answered by any server that is not older than this.",
    ),
    _row("http_config.block_endpoints", Kind.TEXTS, [], "Path prefixes that are answered with 403."),
    _row("http_config.max_header_bytes", Kind.INT, 16384, "Bytes of one request head.", least=1024, most=1 << 20),
    _row(
        "limits.http_max_conns_per_client",
        Kind.INT,
        200,
        "Open HTTP connections from one address.",
        reloadable=True,
        least=1,
    ),
    _row("limits.kv_max_value_size", Kind.INT, 524288, "Bytes of one KV value.", least=1, most=1 << 20),
    _row("limits.txn_max_req_len", Kind.INT, 524288, "Bytes of a transaction's body.", least=1, most=2 << 20),
    _row(
        "limits.rpc_handshake_timeout",
        Kind.DURATION,
        "5s",
        "Time for the first byte and the TLS handshake of an RPC connection.",
        least=0.1,
    ),
    _row(
        "limits.rpc_max_conns_per_client",
        Kind.INT,
        100,
        "Open RPC connections from one address.",
        reader=_SERVER,
        reloadable=True,
        least=1,
    ),
    _row(
        "limits.rpc_rate",
        Kind.FLOAT,
        -1.0,
        "Requests per second that an agent sends to servers; -1: no limit.",
        reloadable=True,
    ),
    _row(
        "limits.rpc_max_burst",
        Kind.INT,
        1000,
        "Requests that may exceed rpc_rate for a moment.",
        reloadable=True,
        least=1,
    ),
    _row(
        "default_query_time",
        Kind.DURATION,
        "300s",
        "How long a blocking query waits if it does not say.",
        flag="default-query-time",
        least=1,
    ),
    _row(
        "max_query_time",
        Kind.DURATION,
        "600s",
        "The longest that a blocking query may wait.",
        flag="max-query-time",
        least=1,
    ),
)

_LOG = (
    _row("log_level", Kind.TEXT, "INFO", "TRACE, DEBUG, INFO, WARN or ERR.", flag="log-level", reloadable=True),
    _row("log_json", Kind.BOOL, False, "Write log lines as JSON.", flag="log-json"),
    _row("log_file", Kind.TEXT, "", "Append log lines to this file too; reopened on SIGHUP.", flag="log-file"),
)

_VERSIONS = ("", "tls10", "tls11", "tls12", "tls13", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3", "TLS_AUTO")


def _tls(section: str, whose: str) -> tuple[Option, ...]:
    rows = [
        _row(f"tls.{section}.ca_file", Kind.TEXT, "", f"Certificates of the authorities trusted {whose}, PEM."),
        _row(f"tls.{section}.ca_path", Kind.TEXT, "", f"Folder of such files, {whose}."),
        _row(f"tls.{section}.cert_file", Kind.TEXT, "", f"Own certificate {whose}, PEM."),
        _row(f"tls.{section}.key_file", Kind.TEXT, "", f"Key of that certificate {whose}, PEM."),
        _row(
            f"tls.{section}.tls_min_version",
            Kind.TEXT,
            "",
            f"Oldest TLS version {whose}: TLSv1_2 or TLSv1_3. Default TLSv1_2.",
            choices=_VERSIONS,
        ),
        _row(f"tls.{section}.verify_incoming", Kind.BOOL, None, f"Ask the other side for a certificate {whose}."),
        _row(f"tls.{section}.verify_outgoing", Kind.BOOL, None, f"Dial with TLS and check the certificate {whose}."),
    ]
    return tuple(rows)


_TLS = (
    *_tls("defaults", "wherever nothing else is said"),
    *_tls("internal_rpc", "between members"),
    *_tls("https", "on the HTTPS API"),
    _row(
        "tls.internal_rpc.verify_server_hostname",
        Kind.BOOL,
        False,
        "Insist on server.<datacenter>.<domain> in a server's certificate. Implies verify_outgoing.",
    ),
    _row("server_name", Kind.TEXT, "", "Name this node asks for in TLS. Default: server.<datacenter>.<domain>."),
)

_TELEMETRY = (
    _row("enable_debug", Kind.BOOL, False, "Serve /debug/tasks. Development mode does."),
    _row("telemetry.metrics_prefix", Kind.TEXT, "consul", "First part of the name of every metric."),
    _row("telemetry.disable_hostname", Kind.BOOL, False, "Leave the host's name out of the names of gauges."),
    _row("telemetry.filter_default", Kind.BOOL, True, "Show metrics that no filter names.", reloadable=True),
    _row(
        "telemetry.prefix_filter",
        Kind.TEXTS,
        [],
        'Beginnings of names to show ("+") or not ("-").',
        reloadable=True,
    ),
    _row(
        "telemetry.prometheus_retention_time",
        Kind.DURATION,
        "0s",
        "Above 0, metrics can be read in Prometheus' format; counters run from the start in any case.",
        reloadable=True,
    ),
)

_WATCHES = (
    _row("watches", Kind.ROWS, [], "Programs or requests to run when a view of the cluster changes.", reloadable=True),
)

_LOCAL = (
    _row("service", Kind.ROWS, [], "A service to register.", reloadable=True),
    _row("services", Kind.ROWS, [], "Services to register.", reloadable=True),
    _row("check", Kind.ROWS, [], "A check to run.", reloadable=True),
    _row("checks", Kind.ROWS, [], "Checks to run.", reloadable=True),
    _row(
        "check_update_interval",
        Kind.DURATION,
        "5m",
        "How long news of a check's output alone may wait; 0: not at all.",
    ),
    _row("check_output_max_size", Kind.INT, 4096, "Bytes kept of a check's output.", least=1, most=65_536),
    _row("discard_check_output", Kind.BOOL, False, "Do not keep what checks say.", reloadable=True),
    _row("enable_agent_tls_for_checks", Kind.BOOL, False, "Show the agent's own certificate in checks over TLS."),
    _row(
        "enable_script_checks",
        Kind.BOOL,
        False,
        "Allow checks that run programs, from whoever may register one.",
        flag="enable-script-checks",
    ),
    _row(
        "enable_local_script_checks",
        Kind.BOOL,
        False,
        "Allow checks that run programs, from configuration files only.",
        flag="enable-local-script-checks",
    ),
)

OPTIONS: tuple[Option, ...] = (
    *_IDENTITY, *_ADDRESSES, *_CLUSTER, *GOSSIP, *DNS, *_RAFT, *_HTTP, *_UI, *_LOG, *_TLS,
    *_TELEMETRY, *_WATCHES, *_LOCAL, *LATER,
)  # fmt: skip
BY_PATH: dict[str, Option] = {option.path: option for option in OPTIONS}
BY_FLAG: dict[str, Option] = {option.flag: option for option in OPTIONS if option.flag}
SECTIONS: frozenset[str] = frozenset(
    path.rsplit(".", depth)[0] for path in BY_PATH for depth in range(1, path.count(".") + 1)
)

assert len(BY_PATH) == len(OPTIONS), "a key is listed twice"
assert len(BY_FLAG) == sum(1 for option in OPTIONS if option.flag), "a flag is listed twice"
assert not SECTIONS & BY_PATH.keys(), "a key cannot be a section too"

RENAMED: dict[str, str] = {
    **{
        name: f"tls.defaults.{name}"
        for name in (
            "ca_file",
            "ca_path",
            "cert_file",
            "key_file",
            "tls_min_version",
            "tls_cipher_suites",
            "verify_incoming",
            "verify_outgoing",
        )
    },
    "verify_incoming_rpc": "tls.internal_rpc.verify_incoming",
    "verify_incoming_https": "tls.https.verify_incoming",
    "verify_server_hostname": "tls.internal_rpc.verify_server_hostname",
    "acl_datacenter": "primary_datacenter",
    "acl_default_policy": "acl.default_policy",
    "acl_down_policy": "acl.down_policy",
    "acl_ttl": "acl.token_ttl",
    "acl_token": "acl.tokens.default",
    "acl_agent_token": "acl.tokens.agent",
    "acl_master_token": "acl.tokens.initial_management",
    "acl_agent_master_token": "acl.tokens.agent_recovery",
    "acl_replication_token": "acl.tokens.replication",
    "acl.tokens.master": "acl.tokens.initial_management",
    "acl.tokens.agent_master": "acl.tokens.agent_recovery",
    "acl_enable_key_list_policy": "acl.enable_key_list_policy",
    "enable_acl_replication": "acl.enable_token_replication",
    "ui": "ui_config.enabled",
    "ui_dir": "ui_config.dir",
    "ui_content_path": "ui_config.content_path",
}
"""Older spellings -> the key they mean. Where one file has both, the older one has no effect."""

assert all(new in BY_PATH and old not in BY_PATH for old, new in RENAMED.items())
