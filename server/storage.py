"""From a data directory to a Raft node and its state machine: what is read at start, and in which order.

    DATA/raft/          log segments, snapshots, peers.json, the bootstrap pin: what is durable
    DATA/state/         the working copy of the state machine, rebuilt at every start

Journal first (a torn tail is cut, any other damage refuses the start), then the newest intact snapshot the log
continues, then the working copy from it; the log's tail is applied by the first rounds of the driver.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from base.disk import Disk
from base.log import get_logger
from fsm.machine import Machine
from fsm.snapshot import open_copy
from fsm.store.store import Store
from fsm.watch import WatchRegistry
from rpc.pool import RPCPool
from server.config import ServerConfig
from server.raft.journal import Journal
from server.raft.node import RaftNode, RaftSettings
from server.raft.recovery import recover
from server.raft.snapshots import SnapshotStore
from server.raft.snapshotting import STATE_FOLDERS, Snapshotting
from server.raft.timings import Timings
from structs.cluster import Peer

RAFT_FOLDER = "raft"
SNAPSHOTS_FOLDER = "snapshots"
STATE_FOLDER = "state"

_log = get_logger("server.storage")


@dataclass(frozen=True, slots=True)
class Opened:
    """What a server's data directory has become."""

    node: RaftNode
    machine: Machine


def open_raft(config: ServerConfig, *, disk: Disk, peer: Peer, pool: RPCPool, rng: random.Random) -> Opened:
    """Read the data directory; raises ConfigInvalid, DataDamaged or DiskFailed."""
    folder = Path(config.data_dir)
    raft_folder = folder / RAFT_FOLDER
    journal = Journal.open(disk, raft_folder)
    snapshots = SnapshotStore(disk, raft_folder / SNAPSHOTS_FOLDER)
    snapshot = snapshots.newest_intact(journal.first_index)
    recovery = recover(disk, raft_folder, log_last_index=journal.last_index)
    for line in [*journal.repairs, *snapshots.repairs, *recovery.notes]:
        _log.warn(line)
    state_folder = folder / STATE_FOLDER
    working_folder = state_folder / STATE_FOLDERS[0]
    if snapshot is not None:
        store = open_copy(Path(snapshots.state_path(snapshot)), working_folder)
    else:
        store = Store.create(working_folder)
    machine = Machine(store, WatchRegistry())
    node = RaftNode(
        self_peer=peer,
        settings=RaftSettings(
            datacenter=config.datacenter,
            timings=Timings().multiplied(config.raft_multiplier),
            snapshot_threshold_count=config.raft_snapshot_threshold,
            trailing_count=config.raft_trailing_logs,
        ),
        journal=journal,
        snapshot=snapshot,
        override=recovery.override,
        snapshotting=Snapshotting(
            snapshots=snapshots, newest=snapshot, state_folder=state_folder, machine=machine, pool=pool
        ),
        machine=machine,
        pool=pool,
        rng=rng,
    )
    return Opened(node=node, machine=machine)
