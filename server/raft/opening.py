"""Opens what a server has on disk and builds its Raft node: journal, newest snapshot, working state, configuration.

The order matters: the journal says where it begins, the newest intact snapshot must reach that far, the working
state is made from it, and the log behind it is applied by the node's first rounds. Nothing here waits; it runs
before the event loop serves anybody.

    DATA/raft/log-*.seg, DATA/raft/snapshots/, DATA/raft/peers.json    durable
    DATA/state/                                                        rebuilt at every start
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import trio

from base.disk import Disk
from base.log import get_logger
from fsm.machine import Machine
from fsm.watch import WatchRegistry
from rpc.pool import RPCPool
from server.raft.journal import Journal
from server.raft.node import RaftNode, RaftSettings
from server.raft.recovery import recover
from server.raft.snapshots import SnapshotStore
from server.raft.snapshotting import Snapshotting, prepare_state
from structs.cluster import Peer

RAFT_FOLDER = "raft"
SNAPSHOTS_FOLDER = "snapshots"
STATE_FOLDER = "state"

_log = get_logger("raft")


class Opened(NamedTuple):
    """A node that has not begun yet, and the state it will apply the log to."""

    node: RaftNode
    machine: Machine
    journal: Journal


def open_raft(
    *,
    data_folder: Path,
    disk: Disk,
    self_peer: Peer,
    settings: RaftSettings,
    pool: RPCPool,
    rng: random.Random,
    clock: Callable[[], float] = trio.current_time,
) -> Opened:
    """Return the node of the server whose files are in `data_folder`, which is locked by the caller.

    Raises DataDamaged (says which file, where, and what to do), ConfigInvalid (peers.json), DiskFailed.
    """
    folder = data_folder / RAFT_FOLDER
    journal = Journal.open(disk, folder)
    snapshots = SnapshotStore(disk, folder / SNAPSHOTS_FOLDER)
    newest = snapshots.newest_intact(journal.first_index)
    recovery = recover(disk, folder, log_last_index=journal.last_index)
    for line in [*journal.repairs, *snapshots.repairs, *recovery.notes]:
        _log.warn("found at start", note=line)
    state_folder = data_folder / STATE_FOLDER
    machine = Machine(prepare_state(disk, snapshots, newest, state_folder), WatchRegistry())
    snapshotting = Snapshotting(
        snapshots=snapshots, newest=newest, state_folder=state_folder, machine=machine, pool=pool, clock=clock
    )
    node = RaftNode(
        self_peer=self_peer,
        settings=settings,
        journal=journal,
        snapshot=newest,
        override=recovery.override,
        snapshotting=snapshotting,
        machine=machine,
        pool=pool,
        rng=rng,
        clock=clock,
    )
    return Opened(node, machine, journal)
