"""The state machines that simulated servers apply to: the product's own on LMDB, and a list that costs next to nothing.

Both offer the same: `apply` inside a round, `commit` once a round, a `copy` of what is committed for snapshots, and
`prepare` and `load` to go on from one. The list serves the many seeds; the real one shows that commands, results,
digests and copies are the same on every server, whatever happens around them.

Measured on /dev/shm: making a store 0.4 ms, a copy 0.3 ms, opening one 0.3 ms, applying and committing a command 20 us;
the list needs 3 us for a command and 0.1 ms for the rest.
"""

import random
import tempfile
from abc import ABC, abstractmethod
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from base import codec
from fsm.commands.registry import KVS, TXN, encode_command
from fsm.machine import Machine
from fsm.snapshot import open_copy, write_copy
from fsm.store.store import Store
from fsm.watch import WatchRegistry
from server.raft.snapshots import SnapshotMeta
from structs.kv import KVCommand, KVVerb
from structs.txn import TxnCommand, TxnOp
from tests.sim.checks import Checker, Violation

MAP_BYTES = 16 << 20
"""Far above what a run writes; a small map is made faster."""
KEYS = ("a", "b", "tree/a", "tree/b", "tree/deep/a", "tree/deep/b")
"""Few, so that commands meet: a compare-and-set has something to compare with."""
CAS_BACK_MAX = 12
"""A compare-and-set guesses an index of the last few; some are right."""
_MEMORY = Path("/dev/shm")


class Applied(NamedTuple):
    """What a proposal's waiter is told."""

    index_applied: int
    result: object


class Copy(NamedTuple):
    """The state after the entry (index_applied, term), as bytes."""

    index_applied: int
    term: int
    digest: str
    data: bytes


class SimState(ABC):
    """The core's `Applier`, and what a driver and its snapshots need of a state machine."""

    def __init__(self, server_id: str, checker: Checker) -> None:
        self.index = 0
        """Log index of the last command applied, committed or not."""
        self.position = 0
        """How many commands were applied since the beginning of time."""
        self._server_id = server_id
        self._checker = checker
        self._changed = False

    def apply(self, index: int, term: int, command: bytes) -> Applied:
        """Apply one committed command."""
        if index <= self.index:
            raise Violation(f"{self._server_id} applied index {index} twice", kind="applied twice")
        result = self._apply(index, term, command)
        self.index = index
        self.position += 1
        self._changed = True
        self._checker.applied_at(self._server_id, index, term, command, self.position, result)
        return Applied(index, result)

    def commit(self) -> None:
        """What was applied becomes visible; the driver does it once a round."""
        if self._changed:
            self._changed = False
            self._checker.digest_at(self._server_id, self.index, self._commit())

    def load(self, meta: SnapshotMeta) -> None:
        """Go on from the snapshot that was prepared."""
        digest = self._load(meta)
        if digest != meta.digest:
            raise Violation(f"{self._server_id} loaded {digest} from {meta}", kind="digest")
        self._changed = False
        self.index = meta.index
        self.position = self._checker.positions[meta.index]
        self._checker.digest_at(self._server_id, meta.index, digest)

    @property
    def history(self) -> list[bytes]:
        """Every command that this state stands for, in order."""
        return [command for index, (_, command) in sorted(self._checker.applied.items()) if index <= self.index]

    @abstractmethod
    def copy(self) -> Copy:
        """The committed state."""

    @abstractmethod
    def prepare(self, meta: SnapshotMeta, data: bytes) -> None:
        """Make a working state of a copy, for the next `load`."""

    @abstractmethod
    def close(self) -> None:
        """The process has ended."""

    @abstractmethod
    def _apply(self, index: int, term: int, command: bytes) -> object: ...

    @abstractmethod
    def _commit(self) -> str:
        """Commit, and return the digest."""

    @abstractmethod
    def _load(self, meta: SnapshotMeta) -> str:
        """Adopt what was prepared, and return its digest."""


class ListState(SimState):
    """Keeps everything it was told; its digest is a chain of hashes."""

    def __init__(self, server_id: str, checker: Checker) -> None:
        super().__init__(server_id, checker)
        self._commands: list[bytes] = []
        self._term = 0
        self._digest = b""
        self._prepared: tuple[int, bytes, list[bytes]] = (0, b"", [])

    @property
    def history(self) -> list[bytes]:
        return self._commands

    def copy(self) -> Copy:
        data = codec.pack([self._term, self._digest, self._commands])
        return Copy(self.index, self._term, self._digest.hex(), data)

    def prepare(self, meta: SnapshotMeta, data: bytes) -> None:
        term, digest, commands = codec.unpack(data)
        self._prepared = (term, digest, commands)

    def close(self) -> None:
        pass

    def _apply(self, index: int, term: int, command: bytes) -> object:
        self._commands.append(command)
        self._term = term
        self._digest = blake2b(self._digest + b"%d %d " % (index, term) + command, digest_size=16).digest()
        return None

    def _commit(self) -> str:
        return self._digest.hex()

    def _load(self, meta: SnapshotMeta) -> str:
        self._term, self._digest, self._commands = self._prepared
        return self._digest.hex()


class MachineState(SimState):
    """The product's `fsm.machine.Machine`, on LMDB in memory. Its files are unlinked as soon as they are open."""

    def __init__(self, server_id: str, checker: Checker) -> None:
        super().__init__(server_id, checker)
        with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
            self._machine = Machine(Store.create(Path(folder), map_bytes=MAP_BYTES), WatchRegistry())
        self._prepared: Store | None = None

    def copy(self) -> Copy:
        with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
            path = Path(folder) / "copy"
            facts = write_copy(self._machine.store, path)
            return Copy(facts.raft_index, facts.term, facts.digest, path.read_bytes())

    def prepare(self, meta: SnapshotMeta, data: bytes) -> None:
        if self._prepared is not None:
            self._prepared.close()
        with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
            path = Path(folder) / "copy"
            path.write_bytes(data)
            self._prepared = open_copy(path, Path(folder) / "state", map_bytes=MAP_BYTES)

    def close(self) -> None:
        self._machine.close()
        if self._prepared is not None:
            self._prepared.close()

    def _apply(self, index: int, term: int, command: bytes) -> object:
        return self._machine.apply(index, term, command)

    def _commit(self) -> str:
        self._machine.commit_batch()
        return self._machine.digest_now

    def _load(self, meta: SnapshotMeta) -> str:
        prepared, self._prepared = self._prepared, None
        assert prepared is not None
        self._machine.replace_store(prepared)
        return self._machine.digest_now


def plain_command(token: int) -> bytes:
    """A command for `ListState`; no two tokens have the same."""
    return b"%d" % token


def kv_command(rng: random.Random, token: int, index_last: int) -> bytes:
    """A command for `MachineState`: some write to some keys. The flags hold the token, so no two are the same."""

    def operation() -> tuple[KVVerb, str, bytes, int]:
        verb = rng.choice((KVVerb.SET, KVVerb.SET, KVVerb.CAS, KVVerb.CAS, KVVerb.DELETE, KVVerb.DELETE_CAS))
        index = rng.choice((0, max(0, index_last - rng.randrange(CAS_BACK_MAX))))
        return verb, rng.choice(KEYS), b"%d" % token, index

    chance = rng.random()
    if chance < 0.2:
        operations = [operation() for _ in range(rng.randrange(1, 5))]
        ops = [
            TxnOp(verb=verb, key=key, value=value, flags=token, index=index) for verb, key, value, index in operations
        ]
        return encode_command(TXN, TxnCommand(operations=ops))
    verb, key, value, index = operation()
    if chance < 0.25:
        verb, key = KVVerb.DELETE_TREE, rng.choice(("", "tree/", "tree/deep"))
    return encode_command(KVS, KVCommand(verb=verb, key=key, value=value, flags=token, cas_index=index))
