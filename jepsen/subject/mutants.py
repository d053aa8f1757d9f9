"""Servers that are wrong on purpose: each breaks one promise, and the harness must convict it.

A mutant replaces names of the product from outside, and refuses to (`NameGone`) where such a name is no longer there:
then it must be written anew, or it would break nothing and prove nothing. `convictions.py` says which workload and
fault find it out.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jepsen.subject import mutants_clients, mutants_disk, mutants_raft, mutants_services

BREAK_VARIABLE = "MESH_BREAK"


@dataclass(frozen=True)
class Mutant:
    """One way to be wrong."""

    name: str
    what: str
    """What it does, in a line for people."""
    apply: Callable[[], None]
    """Replaces names of the product in this process; raises NameGone."""
    leaks: bool = True
    """Whether some of what was not synced reaches the disk all the same (`lossy.py`)."""


_ALL = (
    Mutant("no_fsync", "batches of the log are written and never synced", mutants_disk.no_fsync, leaks=False),
    Mutant(
        "ack_before_sync",
        "votes and acknowledgements leave while the log is still being synced",
        mutants_disk.ack_before_sync,
    ),
    Mutant("vote_not_stored", "term and vote are kept in memory only", mutants_disk.vote_not_stored),
    Mutant(
        "snapshot_without_tail",
        "a snapshot takes the place of the whole log, of what was acknowledged behind it, too",
        mutants_disk.snapshot_without_tail,
    ),
    Mutant(
        "stale_read_without_lease",
        "a leader answers default reads without looking at its lease",
        mutants_raft.stale_read_without_lease,
    ),
    Mutant(
        "consistent_without_round",
        "a leader answers consistent reads without asking whether it still leads",
        mutants_raft.consistent_without_round,
    ),
    Mutant(
        "leader_reads_at_once",
        "a new leader answers reads before it knows what the one before it had committed",
        mutants_raft.leader_reads_at_once,
    ),
    Mutant(
        "skip_prevote",
        "whoever misses the leader raises its term and is voted for, though the others hear the leader well",
        mutants_raft.skip_prevote,
    ),
    Mutant(
        "truncate_acked",
        "a follower that loses its leader cuts what it acknowledged and does not know to be committed",
        mutants_raft.truncate_acked,
    ),
    Mutant(
        "one_is_enough",
        "a leader takes an entry for committed when it alone has it",
        mutants_raft.one_is_enough,
    ),
    Mutant(
        "retry_unknown_write",
        "a server sends a write again of which it does not know whether it happened",
        mutants_clients.retry_unknown_write,
    ),
    Mutant(
        "lost_leadership_refuses",
        "a leader that steps down says of every open write that it will not happen",
        mutants_clients.lost_leadership_refuses,
    ),
    Mutant("lost_wakeup", "now and then a change wakes nobody", mutants_clients.lost_wakeup),
    Mutant("apply_twice", "now and then an entry is applied twice, everywhere alike", mutants_clients.apply_twice),
    Mutant(
        "one_replica_skips",
        "one server passes over an entry now and then",
        mutants_clients.one_replica_skips,
    ),
    Mutant(
        "txn_in_pieces",
        "a transaction that is refused keeps what it did before it was",
        mutants_clients.txn_in_pieces,
    ),
    Mutant(
        "lock_without_delay",
        "a lock that was lost is given away at once",
        mutants_services.lock_without_delay,
    ),
    Mutant("lock_stolen", "now and then a lock is given away while it is held", mutants_services.lock_stolen),
    Mutant("renewal_ignored", "a session's time runs from its creation on", mutants_services.renewal_ignored),
    Mutant(
        "keys_kept",
        "now and then a session ends and its keys stay locked by it",
        mutants_services.keys_kept,
    ),
    Mutant(
        "deregistered_stays",
        "now and then a deregistration is acknowledged and not carried out",
        mutants_services.deregistered_stays,
    ),
    Mutant(
        "service_index_kept",
        "now and then a service changes, and its index does not",
        mutants_services.service_index_kept,
    ),
)
MUTANTS: dict[str, Mutant] = {mutant.name: mutant for mutant in _ALL}
