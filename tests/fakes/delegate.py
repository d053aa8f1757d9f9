"""A server without consensus: answers the calls of the HTTP layer out of dicts, as the real endpoints would.

The exchanges under tests/spec hold it against the real thing: both must give the same answers.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from msgspec.structs import replace

from base import codec
from base.codec import Record
from base.errors import InvalidRequest, MeshError, Refused
from structs.cluster import (
    Empty,
    LeaderReply,
    Peer,
    PeersReply,
    RaftConfigurationReply,
    RaftConfigurationRequest,
    RaftServer,
    RemovePeerRequest,
    TransferLeaderReply,
    TransferLeaderRequest,
)
from structs.kv import (
    KVApplyReply,
    KVApplyRequest,
    KVEntry,
    KVGetReply,
    KVGetRequest,
    KVKeysReply,
    KVKeysRequest,
    KVListReply,
    KVListRequest,
    KVVerb,
)
from structs.query import NO_PATH_TEXT, Consistency, QueryMeta, QueryOptions
from structs.snapshot import SnapshotRestoreReply, SnapshotSaveReply
from structs.txn import TxnError, TxnOp, TxnOutcome, TxnReply, TxnRequest, TxnResult, completed_operations
from structs.usage import UsageReply, UsageRequest
from tests.fakes.cluster_calls import ADDRESS, SERVER_ID, ClusterCalls
from tests.fakes.query_calls import QueryCalls

Reply = TypeVar("Reply", bound=Record)
WRITES = {
    "Catalog.Deregister",
    "Catalog.Register",
    "Coordinate.Update",
    "Internal.EventFire",
    "Internal.KeyringOperation",
    "KVS.Apply",
    "Operator.AutopilotSetConfiguration",
    "Operator.RaftRemovePeer",
    "Operator.RaftTransferLeader",
    "PreparedQuery.Apply",
    "Txn.Apply",
}
"""Calls that always have to be waited for."""


class FakeStream:
    """Both ends of a snapshot stream in one."""

    def __init__(self, chunks: list[bytes], on_finish: Callable[[list[bytes]], None], breaks: MeshError | None) -> None:
        self._chunks = chunks
        self._sent: list[bytes] = []
        self._on_finish = on_finish
        self._breaks = breaks

    async def receive_chunk(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._chunks:
            return self._chunks.pop(0)
        if self._breaks is not None:
            raise self._breaks
        return b""

    async def send_chunk(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._sent.append(data)

    async def finish(self) -> None:
        self._on_finish(self._sent)
        self._chunks = [codec.encode(SnapshotRestoreReply(index=1))]


class FakeDelegate(QueryCalls, ClusterCalls):
    """Holds entries by key. `error`, when set, is what every call raises; `answers_later` makes every call wait."""

    def __init__(self) -> None:
        super().__init__()
        self.index = 10
        self.entries: dict[str, KVEntry] = {}
        self.tombstones: dict[str, int] = {}
        self.calls: list[tuple[str, Record]] = []
        self.error: MeshError | None = None
        self.answers_later = False
        self.meta_extra: dict[str, Any] = {}
        self.waiting_count = 0
        self.archive = [b"archive-", b"x" * 100_000, b"-end"]
        self.archive_breaks: MeshError | None = None
        self.restored: bytes | None = None
        self.shares_replies = False
        self._shared: tuple[Any, Any] = (None, None)
        self._changed = trio.Event()

    def _operator_usage(self, request: UsageRequest) -> UsageReply:
        kinds = {"": 2, "connect-proxy": 1}
        return UsageReply(
            nodes_count=3, services_count=2, instances_count=4, keys_count=1, kinds=kinds, meta=QueryMeta(index=7)
        )

    def call(self, method: str, request: Any, reply: type[Reply]) -> Reply | Awaitable[Reply]:
        """See Delegate."""
        self.calls.append((method, request))
        if self.error is not None:
            raise self.error
        handler = getattr(self, "_" + method.replace(".", "_").lower())
        options = getattr(request, "options", None)
        if options is not None and options.datacenter not in ("", "dc1"):
            raise Refused(NO_PATH_TEXT)
        if isinstance(options, QueryOptions) and options.index_min:
            return self._block(handler, request, options)
        return self._later(handler, request) if self.answers_later or self._writes(method) else handler(request)

    @staticmethod
    def _writes(method: str) -> bool:
        return method in WRITES

    async def _later(self, handler: Callable[[Any], Any], request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return handler(request)

    async def _block(self, handler: Callable[[Any], Any], request: Any, options: QueryOptions) -> Any:
        self.waiting_count += 1
        try:
            with trio.move_on_after(options.wait_s):
                while True:
                    reply = self._evaluate(handler, request)
                    if reply.meta.index > options.index_min:
                        return reply
                    await self._changed.wait()
            return handler(request)
        finally:
            self.waiting_count -= 1

    def _evaluate(self, handler: Callable[[Any], Any], request: Any) -> Any:
        """Answer a blocked query; all who ask the same at one index get one reply if `shares_replies`."""
        if not self.shares_replies:
            return handler(request)
        key = (type(request), getattr(request, "key", None), self.index)
        if self._shared[0] != key:
            self._shared = (key, handler(request))
        return self._shared[1]

    def _meta(self, index: int, request: Any) -> QueryMeta:
        meta = QueryMeta(index=index, consistency=request.options.consistency)
        if request.options.consistency is Consistency.STALE:
            meta = replace(meta, **self.meta_extra)
        return meta

    def _touch(self) -> int:
        self.index += 1
        self._changed.set()
        self._changed = trio.Event()
        return self.index

    def _kvs_get(self, request: KVGetRequest) -> KVGetReply:
        entry = self.entries.get(request.key)
        return KVGetReply(entry=entry, meta=self._meta(entry.modify_index if entry else self.index, request))

    def _under(self, prefix: str) -> tuple[list[KVEntry], int]:
        found = [self.entries[key] for key in sorted(self.entries, key=str.encode) if key.startswith(prefix)]
        indexes = [entry.modify_index for entry in found]
        indexes += [index for key, index in self.tombstones.items() if key.startswith(prefix)]
        return found, (max(indexes, default=0) if prefix else 0) or self.index

    def _kvs_list(self, request: KVListRequest) -> KVListReply:
        found, index = self._under(request.prefix)
        return KVListReply(entries=found, meta=self._meta(index, request))

    def _kvs_listkeys(self, request: KVKeysRequest) -> KVKeysReply:
        found, index = self._under(request.prefix)
        keys: list[str] = []
        for entry in found:
            key = entry.key
            if request.separator:
                position = key.find(request.separator, len(request.prefix))
                if position >= 0:
                    key = key[: position + len(request.separator)]
            if not keys or keys[-1] != key:
                keys.append(key)
        return KVKeysReply(keys=keys, meta=self._meta(index, request))

    def _kvs_apply(self, request: KVApplyRequest) -> KVApplyReply:
        command = request.command
        if command.verb in (KVVerb.LOCK, KVVerb.UNLOCK):
            raise Refused(f'invalid session "{command.session}"' if command.session else "missing session")
        operation = TxnOp(
            verb=command.verb, key=command.key, value=command.value, flags=command.flags, index=command.cas_index
        )
        refusal, _ = self._operate(operation)
        return KVApplyReply(ok=refusal is None)

    def _operate(self, operation: TxnOp) -> tuple[str | None, list[TxnResult]]:  # noqa: C901
        """Do one operation; returns why not, or the results."""
        key, verb = operation.key, operation.verb
        held = self.entries.get(key)
        match verb:
            case "get" | "get-or-empty":
                if held is None:
                    if verb == "get-or-empty":
                        return None, [TxnResult(entry=KVEntry(key=key))]
                    return f'key "{key}" doesn\'t exist', []
                return None, [TxnResult(entry=held, with_value=True)]
            case "get-tree":
                return None, [TxnResult(entry=entry, with_value=True) for entry in self._under(key)[0]]
            case "check-not-exists":
                return (f'key "{key}" exists' if held else None), []
            case "check-index":
                if held is None or held.modify_index != operation.index:
                    return f'failed index check for key "{key}"', []
                return None, [TxnResult(entry=held)]
            case "cas" if (held.modify_index if held else 0) != operation.index:
                return f'failed to set key "{key}", index is stale', []
            case "delete-cas" if held is not None and held.modify_index != operation.index:
                return f'failed to delete key "{key}", index is stale', []
            case "set" | "cas":
                index = self._touch()
                entry = KVEntry(
                    key=key,
                    value=operation.value,
                    flags=operation.flags,
                    create_index=held.create_index if held else index,
                    modify_index=index,
                )
                self.entries[key] = entry
                return None, [TxnResult(entry=entry)]
            case "delete" | "delete-cas":
                if held is not None:
                    del self.entries[key]
                    self.tombstones[key] = self._touch()
                return None, []
            case "delete-tree":
                doomed = [name for name in self.entries if name.startswith(key)]
                for name in doomed:
                    del self.entries[name]
                if doomed:
                    self.tombstones[key] = self._touch()
                return None, []
        return f'unknown KV verb "{verb}"', []

    def _txn_read(self, request: TxnRequest) -> TxnReply:
        return TxnReply(outcome=self._txn(request), meta=self._meta(0, request))

    def _txn_apply(self, request: TxnRequest) -> TxnReply:
        return TxnReply(outcome=self._txn(request))

    def _txn(self, request: TxnRequest) -> TxnOutcome:
        _, refused = completed_operations(request.operations, datacenter="dc1")
        if refused:
            return TxnOutcome(errors=refused)
        before = (dict(self.entries), dict(self.tombstones))
        results: list[TxnResult] = []
        errors: list[TxnError] = []
        for position, operation in enumerate(request.operations):
            refusal, more = self._operate(operation)
            results += more
            if refusal is not None:
                errors.append(TxnError(position=position, what=refusal))
        if errors:
            self.entries, self.tombstones = before
            return TxnOutcome(errors=errors)
        return TxnOutcome(results=results)

    def _status_leader(self, _: Empty) -> LeaderReply:
        return LeaderReply(address=ADDRESS)

    def _status_peers(self, _: Empty) -> PeersReply:
        return PeersReply(addresses=[ADDRESS])

    def _operator_raftgetconfiguration(self, _: RaftConfigurationRequest) -> RaftConfigurationReply:
        peer = Peer(server_id=SERVER_ID, name="n1", address=ADDRESS)
        return RaftConfigurationReply(
            servers=[RaftServer(peer=peer, leader=True, voter=True, last_index=self.index)], index=1
        )

    def _operator_raftremovepeer(self, request: RemovePeerRequest) -> Empty:
        if request.server_id not in ("", SERVER_ID):
            raise Refused(f'id "{request.server_id}" was not found in the Raft configuration')
        if request.address not in ("", ADDRESS):
            raise Refused(f'address "{request.address}" was not found in the Raft configuration')
        return Empty()

    def _operator_rafttransferleader(self, _: TransferLeaderRequest) -> TransferLeaderReply:
        return TransferLeaderReply(server_id=SERVER_ID)

    @asynccontextmanager
    async def stream(self, method: str, request: Record) -> AsyncGenerator[FakeStream, None]:
        """See Delegate."""
        self.calls.append((method, request))
        if self.error is not None:
            raise self.error
        chunks = []
        if method == "Snapshot.Save":
            chunks = [codec.encode(SnapshotSaveReply(meta=QueryMeta(index=self.index))), *self.archive]
        yield FakeStream(chunks, self._restore, self.archive_breaks)

    def _restore(self, sent: list[bytes]) -> None:
        self.restored = b"".join(sent)
        if not self.restored.startswith(b"archive-"):
            raise InvalidRequest("the archive is no archive")
