"""What a server measures of itself whenever gauges are looked at. Source: servers specification, section 12."""

from typing import TYPE_CHECKING

from base.telemetry import gauge
from fsm.store import usage
from fsm.store.store import StoreClosed

if TYPE_CHECKING:
    from server.server import Server

_is_leader = gauge("server.isLeader")
_blocking = gauge("rpc.queries_blocking")
_connections = gauge("rpc.connections")
_calls = gauge("rpc.calls_in_flight")
_STATE = {name: gauge(f"state.{name}") for name in ("nodes", "services", "service_instances", "checks", "kv_entries")}
_applied_index = gauge("raft.applied_index")
_commit_index = gauge("raft.commit_index")
_last_index = gauge("raft.last_index")
_snapshot_index = gauge("raft.snapshot_index")
_term = gauge("raft.term")
_peers = gauge("raft.peers")
_pending = gauge("raft.proposals_pending")
_unknown = gauge("raft.proposals_unknown")
_journal_bytes = gauge("raft.journal_bytes")
_sync_p99_ms = gauge("raft.sync_p99_ms")
_lag_p99_ms = gauge("raft.loop_lag_p99_ms")
_contact_ms = gauge("raft.leader.lastContact")
_healthy = gauge("autopilot.healthy")
_tolerance = gauge("autopilot.failure_tolerance")


class ServerGauges:
    """Reads one server."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def read(self) -> None:
        """Set the gauges."""
        server = self._server
        self._read_raft()
        self._read_state()
        _blocking.set(server.reads.blocking.statistics().waiting_count)
        rpc = server.listener.statistics()
        _connections.set(rpc.connections)
        _calls.set(rpc.calls_in_flight)
        health = server.duties.autopilot.health()
        if server.raft.is_leader() and health.servers is not None:
            _healthy.set(float(health.healthy))
            _tolerance.set(health.failure_tolerance)
        else:
            _healthy.value = _tolerance.value = None

    def _read_raft(self) -> None:
        raft = self._server.raft
        facts = raft.statistics()
        core = facts.core
        _is_leader.set(float(raft.is_leader()))
        _applied_index.set(self._server.machine.raft_index_visible)
        _commit_index.set(core.commit_index)
        _last_index.set(core.last_index)
        _snapshot_index.set(core.snapshot_index)
        _term.set(core.term)
        _peers.set(len(raft.configuration()))
        _pending.set(facts.proposals_pending_count)
        _unknown.set(facts.proposals_unknown_total)
        _journal_bytes.set(facts.journal_bytes)
        _sync_p99_ms.set(facts.sync_p99_s * 1000)
        _lag_p99_ms.set(facts.lag_p99_s * 1000)
        contact_s = 0.0 if raft.is_leader() else raft.last_contact_s()
        _contact_ms.value = contact_s * 1000 if contact_s >= 0 else None

    def _read_state(self) -> None:
        try:
            with self._server.machine.read() as view:
                found = usage.counts(view)
        except StoreClosed:
            return  # the process is about to end
        for name, handle in _STATE.items():
            handle.set(found[name])
