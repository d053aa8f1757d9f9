"""Which workload under which fault convicts each mutant, how long that is given, and from which seed on."""

import msgspec


class Conviction(msgspec.Struct, frozen=True, kw_only=True):
    """What finds one mutant out."""

    workload: str
    """Names, comma separated."""
    fault: str = ""
    """Names, comma separated; "" is none: the mutant is wrong on a quiet day, too."""
    seconds: float = 30.0
    """Of one round."""
    rounds_max: int = 4
    """Each with the next seed."""
    seed: int = 1
    options: tuple[str, ...] = ()
    """More words for `python -m jepsen run`."""


CONVICTIONS: dict[str, Conviction] = {
    "no_fsync": Conviction(workload="set", fault="kill-all"),
    "ack_before_sync": Conviction(workload="set", fault="disk-lossy-kill-all"),
    "vote_not_stored": Conviction(workload="register", fault="disk-lossy-kill-election"),
    "snapshot_without_tail": Conviction(workload="set", fault="snapshot-forced,kill-all"),
    "stale_read_without_lease": Conviction(
        workload="register", fault="partition-leader", seconds=75.0, options=("--rate", "3")
    ),
    "consistent_without_round": Conviction(
        workload="register", fault="partition-leader", seconds=75.0, options=("--rate", "3")
    ),
    "leader_reads_at_once": Conviction(workload="register", fault="kill-all,kill-leader"),
    "skip_prevote": Conviction(workload="register", fault="partition-one"),
    "truncate_acked": Conviction(workload="set", fault="kill-leader"),
    "one_is_enough": Conviction(workload="set", fault="partition-leader"),
    "retry_unknown_write": Conviction(workload="set,append", fault="packets-loss", options=("--network", "links")),
    "lost_leadership_refuses": Conviction(workload="set,append", fault="partition-one-way"),
    "lost_wakeup": Conviction(workload="watch"),
    "apply_twice": Conviction(workload="append"),
    "one_replica_skips": Conviction(workload="set"),
    "txn_in_pieces": Conviction(workload="txn"),
    "lock_without_delay": Conviction(workload="lock"),
    "lock_stolen": Conviction(workload="lock"),
    "renewal_ignored": Conviction(workload="session"),
    "keys_kept": Conviction(workload="session"),
    "deregistered_stays": Conviction(workload="catalog", seconds=15.0),
    "service_index_kept": Conviction(workload="health-watch,catalog"),
}
