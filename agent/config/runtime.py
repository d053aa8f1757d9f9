"""The configuration as everybody reads it: complete, frozen, with all defaults, implications and units resolved.

Nothing reads raw configuration after `load`. Field names carry their units; addresses are resolved.
"""

import msgspec

from agent.dns.settings import DNSSettings
from agent.local.definitions import Definitions
from agent.local.state import OutputSettings
from agent.watch_plan import WatchDefinition
from base.secret import Secret
from base.telemetry import TelemetrySettings


class HostPort(msgspec.Struct, frozen=True):
    """A TCP address to listen on or to dial."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixPath(msgspec.Struct, frozen=True):
    """A unix socket to listen on."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


Listen = HostPort | UnixPath


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Port numbers; -1 is off."""

    http: int
    https: int
    server: int
    dns: int
    serf_lan: int
    serf_wan: int
    grpc: int
    grpc_tls: int


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """Where to find others. Addresses are "host:port" of gossip; a host may be a name."""

    start: tuple[str, ...]
    retry: tuple[str, ...]
    retry_interval_s: float
    retry_attempts_max: int
    """0: no limit."""


class GossipPoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One pool of gossip."""

    listen: HostPort
    advertise: HostPort
    join: Join
    allowed_networks: tuple[str, ...]
    """CIDR texts; empty: everybody."""
    gossip_interval_s: float
    gossip_nodes_count: int
    probe_interval_s: float
    probe_timeout_s: float
    suspicion_multiplier: int
    retransmit_multiplier: int
    reconnect_timeout_s: float


class GossipSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Gossip of this process. `wan` None: it is a client agent, or WAN gossip is off."""

    lan: GossipPoolSettings
    wan: GossipPoolSettings | None
    key: Secret
    """base64, "" for gossip in clear unless there is a keyring file."""
    verify_incoming: bool
    verify_outgoing: bool
    keeps_keyring: bool
    rejoin_after_leave: bool
    coordinates: bool


class AutopilotSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the first leader of a new cluster writes down as its autopilot configuration."""

    cleanup_dead_servers: bool
    last_contact_threshold_s: float
    max_trailing_logs: int
    server_stabilization_time_s: float


class TLSSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TLS of one use (between members, or HTTPS), implications resolved. Files are paths or ""."""

    ca_file: str
    ca_path: str
    cert_file: str
    key_file: str
    version_min: str
    """"1.2" or "1.3"."""
    verify_incoming: bool
    verify_outgoing: bool
    verify_server_hostname: bool
    server_name: str
    datacenter: str
    domain: str
    """Without the final dot."""


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What files say of this agent's own services and checks."""

    definitions: Definitions
    outputs: OutputSettings
    scripts_from_anywhere: bool
    scripts_from_files: bool
    own_tls: bool
    """Checks show the agent's certificate, that of the API."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that an operator may move."""

    http_connections_per_client_max: int
    http_head_bytes_max: int
    rpc_connections_per_client_max: int
    rpc_handshake_timeout_s: float
    rpc_rate_per_s: float
    """Requests a client agent may send; infinite is -1."""
    rpc_burst_max: int
    kv_value_bytes_max: int
    txn_body_bytes_max: int
    query_wait_s_default: float
    query_wait_s_max: float


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of consensus and of waiting for it."""

    raft_multiplier: int
    rpc_hold_timeout_s: float
    leave_drain_time_s: float
    raft_snapshot_threshold: int
    raft_snapshot_interval_s: float
    raft_trailing_logs: int
    session_ttl_s_min: float


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an agent or server was told, and everything it was not told, resolved."""

    server: bool
    dev: bool
    """Development: one server, nothing kept, loopback only, indented JSON."""
    datacenter: str
    domain: str
    """Without the final dot."""
    node_name: str
    node_id: str
    """"" where the data directory decides."""
    node_meta: dict[str, str]
    data_dir: str
    """"" in development only."""
    pid_file: str

    bind_address: str
    advertise_address: str
    advertise_wan_address: str
    tagged_addresses: dict[str, str]
    """More addresses of this node, by name."""
    translate_wan_addresses: bool
    """Tell WAN addresses of what is in another datacenter."""
    client_addresses: tuple[str, ...]
    http_listen: tuple[Listen, ...]
    https_listen: tuple[Listen, ...]
    dns_listen: tuple[HostPort, ...]
    dns: DNSSettings
    http_use_cache: bool
    discovery_stale_s_max: float
    """How old what any server says of catalog and health may be where a read does not say; 0: ask the leader."""
    rpc_listen: HostPort
    ports: Ports

    bootstrap_expect: int
    """Servers that form a new cluster together; 1 alone; 0: only join an existing one."""
    gossip: GossipSettings
    autopilot: AutopilotSettings
    leave_on_terminate: bool
    skip_leave_on_interrupt: bool

    internal_tls: TLSSettings
    https_tls: TLSSettings
    limits: Limits
    performance: Performance
    local: LocalSettings

    response_headers: dict[str, str]
    block_endpoints: tuple[str, ...]
    ui_content_path: str
    """Where the web page is; "": nowhere."""
    ui_folder: str
    """Files of another page; "": ours."""

    log_level: str
    """TRACE, DEBUG, INFO, WARN or ERR."""
    log_json: bool
    log_file: str

    telemetry: TelemetrySettings
    watches: tuple[WatchDefinition, ...]
    acl_token_default: Secret
    raw: dict[str, object]
    """Every option by its path after merging, secrets hidden: for `/v1/agent/self` and for comparing on reload."""

    @property
    def advertised(self) -> HostPort:
        """Where others reach the RPC port of this server."""
        return HostPort(self.advertise_address, self.ports.server)
