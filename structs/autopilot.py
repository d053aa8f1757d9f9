"""Autopilot: its configuration and what it knows of the servers.

Source: servers specification, section 5; state store specification, section 14; HTTP API, section 11.
"""

from base.codec import Record
from structs.cluster import MemberStatus
from structs.query import QueryOptions, WriteOptions

MS = 1_000_000
SECOND = 1_000_000_000


class AutopilotConfig(Record, frozen=True, kw_only=True):
    """One for the whole cluster; durations in nanoseconds."""

    cleanup_dead_servers: bool = True
    last_contact_threshold_ns: int = 200 * MS
    max_trailing_logs: int = 250
    server_stabilization_time_ns: int = 10 * SECOND
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


class AutopilotCommand(Record, frozen=True, kw_only=True):
    """Logged: replaces the configuration; with `cas` only if its ModifyIndex is the one given in `config`."""

    config: AutopilotConfig
    cas: bool = False
    only_if_absent: bool = False
    """The first leader writes what it was configured with, and no later one does."""


class AutopilotGetRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.AutopilotGetConfiguration."""

    options: QueryOptions = QueryOptions()


class AutopilotSetRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.AutopilotSetConfiguration."""

    config: AutopilotConfig
    cas: bool = False
    options: WriteOptions = WriteOptions()


class AutopilotSetReply(Record, frozen=True, kw_only=True):
    """`ok` False: the compare-and-set did not match."""

    ok: bool


class ServerHealth(Record, frozen=True, kw_only=True):
    """What the leader knows of one server."""

    server_id: str
    name: str
    address: str
    serf_status: MemberStatus
    version: str
    leader: bool
    last_contact_ns: int
    """-1: unknown."""
    last_term: int
    last_index: int
    healthy: bool
    voter: bool
    stable_since_unix_s: float
    meta: dict[str, str] = {}


class ServerHealthRequest(Record, frozen=True, kw_only=True):
    """RPC Operator.ServerHealth."""

    options: QueryOptions = QueryOptions()


class ServerHealthReply(Record, frozen=True, kw_only=True):
    """`servers` None: before the first round of this leader."""

    healthy: bool
    failure_tolerance: int
    servers: list[ServerHealth] | None
