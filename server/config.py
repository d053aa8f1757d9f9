"""The options that a server needs, frozen. `server/main.py` makes it from the whole configuration."""

from base.codec import Record
from structs.autopilot import AutopilotConfig


class ServerConfig(Record, frozen=True, kw_only=True):
    """Seconds are floats; addresses are host:port."""

    node_id: str
    node_name: str
    datacenter: str
    data_dir: str
    version: str
    rpc_listen_host: str
    rpc_listen_port: int
    """0: any free one; what was bound is advertised."""
    advertise_host: str
    bootstrap_expect: int
    raft_multiplier: int = 1
    raft_trailing_logs: int = 10_000
    raft_snapshot_threshold: int = 16_384
    raft_snapshot_interval_s: float = 30.0
    rpc_hold_timeout_s: float = 7.0
    leave_drain_s: float = 5.0
    write_timeout_s: float = 10.0
    """From proposal to the answer; after it the outcome of a write is unknown."""
    blocking_queries_max: int = 65_536
    """Parked waiters; each is a few kilobytes."""
    session_ttl_s_min: float = 10.0
    kv_value_bytes_max: int = 512 * 1024
    rpc_connections_per_client_max: int = 100
    rpc_handshake_timeout_s: float = 5.0
    meta: dict[str, str] = {}
    autopilot: AutopilotConfig = AutopilotConfig()
    """What the first leader of a cluster writes; afterwards the state machine has it."""
