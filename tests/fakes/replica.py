"""One server's state machine on a folder, with a log that grows by what a test asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsm import invariants
from fsm.commands.registry import (
    AUTOPILOT,
    COORDINATES,
    DEREGISTER,
    KVS,
    PREPARED_QUERY,
    REGISTER,
    SESSION,
    TOMBSTONE,
    TXN,
    encode_command,
)
from fsm.machine import Machine
from fsm.store import kv
from fsm.store.store import Store
from fsm.store.tables import INDEXES
from fsm.watch import WatchRegistry
from structs.autopilot import AutopilotCommand, AutopilotConfig, AutopilotSetReply
from structs.catalog import DeregisterCommand, HealthCheck, NodeService, RegisterCommand
from structs.coordinate import CoordinateBatch, NodeCoordinate
from structs.kv import KVApplyReply, KVCommand, KVEntry, KVVerb, ReapReply, TombstoneCommand
from structs.prepared_query import PreparedQuery, PreparedQueryCommand, PreparedQueryOp
from structs.session import Session, SessionApplyReply, SessionCommand, SessionVerb
from structs.txn import TxnCommand, TxnOp, TxnOutcome


class Replica:
    """Applies one command after the other; commits after each unless told otherwise. Keeps the log."""

    def __init__(self, directory: Path, *, store: Store | None = None) -> None:
        self.directory = directory
        self.machine = Machine(store if store is not None else Store.create(directory), WatchRegistry())
        self.log: list[bytes] = []

    @property
    def raft_index(self) -> int:
        return self.machine.raft_index_applied

    def run(self, command: bytes, *, commit: bool = True) -> object:
        self.log.append(command)
        result = self.machine.apply(self.machine.raft_index_applied + 1, 1, command)
        if commit:
            self.machine.commit_batch()
        return result

    def write(
        self,
        verb: KVVerb,
        key: str,
        value: bytes = b"",
        *,
        flags: int = 0,
        cas_index: int = 0,
        session: str = "",
        commit: bool = True,
    ) -> object:
        command = KVCommand(verb=verb, key=key, value=value, flags=flags, cas_index=cas_index, session=session)
        return self.run(encode_command(KVS, command), commit=commit)

    def ok(self, verb: KVVerb, key: str, value: bytes = b"", *, flags: int = 0, cas_index: int = 0) -> bool:
        reply = self.write(verb, key, value, flags=flags, cas_index=cas_index)
        assert isinstance(reply, KVApplyReply), reply
        return reply.ok

    def set(self, key: str, value: bytes = b"", *, flags: int = 0) -> int:
        assert self.ok(KVVerb.SET, key, value, flags=flags)
        return self.machine.index_applied

    def delete(self, key: str) -> int:
        assert self.ok(KVVerb.DELETE, key)
        return self.machine.index_applied

    def delete_tree(self, prefix: str) -> int:
        assert self.ok(KVVerb.DELETE_TREE, prefix)
        return self.machine.index_applied

    def reap(self, index: int) -> ReapReply:
        reply = self.run(encode_command(TOMBSTONE, TombstoneCommand(index=index)))
        assert isinstance(reply, ReapReply)
        return reply

    def txn(self, *operations: TxnOp) -> TxnOutcome:
        outcome = self.run(encode_command(TXN, TxnCommand(operations=list(operations))))
        assert isinstance(outcome, TxnOutcome)
        return outcome

    def register(
        self,
        node: str,
        *,
        address: str = "10.0.0.1",
        service: NodeService | None = None,
        checks: list[HealthCheck] | None = None,
        commit: bool = True,
        **fields: Any,
    ) -> object:
        """Of `fields`: whatever else a RegisterCommand has."""
        command = RegisterCommand(node=node, address=address, service=service, checks=checks or [], **fields)
        return self.run(encode_command(REGISTER, command), commit=commit)

    def deregister(self, node: str, *, service_id: str = "", check_id: str = "") -> object:
        command = DeregisterCommand(node=node, service_id=service_id, check_id=check_id)
        return self.run(encode_command(DEREGISTER, command))

    def locate(self, *updates: NodeCoordinate) -> object:
        return self.run(encode_command(COORDINATES, CoordinateBatch(updates=list(updates))))

    def autopilot(self, config: AutopilotConfig, *, cas: bool = False, only_if_absent: bool = False) -> bool:
        command = AutopilotCommand(config=config, cas=cas, only_if_absent=only_if_absent)
        reply = self.run(encode_command(AUTOPILOT, command))
        assert isinstance(reply, AutopilotSetReply)
        return reply.ok

    def session(self, session_id: str, node: str, *checks: str, **fields: Any) -> object:
        """Create a session; returns its id, or a Refusal. Of `fields`: whatever else a Session has."""
        wanted = Session(session_id=session_id, node=node, node_checks=list(checks), **fields)
        reply = self.run(encode_command(SESSION, SessionCommand(verb=SessionVerb.CREATE, session=wanted)))
        return reply.session_id if isinstance(reply, SessionApplyReply) else reply

    def end_sessions(self, *session_ids: str) -> int:
        self.run(encode_command(SESSION, SessionCommand(verb=SessionVerb.DESTROY, session_ids=list(session_ids))))
        return self.machine.index_applied

    def lock(self, key: str, session: str, value: bytes = b"", *, flags: int = 0) -> bool:
        reply = self.write(KVVerb.LOCK, key, value, flags=flags, session=session)
        assert isinstance(reply, KVApplyReply), reply
        return reply.ok

    def unlock(self, key: str, session: str, value: bytes = b"", *, flags: int = 0) -> bool:
        reply = self.write(KVVerb.UNLOCK, key, value, flags=flags, session=session)
        assert isinstance(reply, KVApplyReply), reply
        return reply.ok

    def query(self, op: PreparedQueryOp, query: PreparedQuery) -> object:
        return self.run(encode_command(PREPARED_QUERY, PreparedQueryCommand(op=op, query=query)))

    def counters(self) -> dict[str, int]:
        """Every counter of the index table."""
        with self.machine.read() as view:
            return {name.decode(): int.from_bytes(body, "big") for name, body in invariants.rows(view, INDEXES)}

    def get(self, key: str) -> tuple[KVEntry | None, int]:
        with self.machine.read() as view:
            return kv.get(view, key)

    def entry(self, key: str) -> KVEntry:
        entry = self.get(key)[0]
        assert entry is not None, key
        return entry

    def entries(self, prefix: str) -> tuple[list[KVEntry], int]:
        with self.machine.read() as view:
            return kv.list_entries(view, prefix)

    def keys(self, prefix: str, separator: str | None = None) -> tuple[list[str], int]:
        with self.machine.read() as view:
            return kv.list_keys(view, prefix, separator)

    def check(self) -> None:
        with self.machine.read() as view:
            invariants.check(view)

    def dump(self) -> dict[str, list[tuple[bytes, bytes]]]:
        with self.machine.read() as view:
            return invariants.logical_dump(view)

    def close(self) -> None:
        self.machine.close()
