"""Sans-IO: how the log, the newest snapshot and the configuration fit together when a server starts.

A crash may fall between any two steps of taking or installing a snapshot, so the snapshot may be ahead of the log, in
the middle of it, or (only after damage) behind its beginning. The library would clear the whole log in all of these
cases, acknowledged tail included (hazard H3).
"""

from base.errors import DataDamaged
from server.raft import membership
from server.raft.interfaces import Log, OverrideFacts, SnapshotFacts

_ADVICE = "move the raft folder away and let this server join again under a new node id"


def reconcile_log(log: Log, snapshot: SnapshotFacts | None, *, keep_tail: bool = True) -> None:
    """Make `log` continue `snapshot`: keep what follows (index, term) if it holds that entry, else begin there.

    Raises DataDamaged where entries between the two are missing, so that the state could not be rebuilt.
    """
    if snapshot is None:
        if log.first_index > membership.BASE_INDEX:
            raise DataDamaged(
                f"the log begins at {log.first_index} but there is no snapshot of what came before: {_ADVICE}"
            )
        return
    if log.first_index > snapshot.index:
        raise DataDamaged(
            f"the log begins at {log.first_index} but the newest intact snapshot ends at {snapshot.index}: {_ADVICE}"
        )
    if not keep_tail or log.term_at(snapshot.index) != snapshot.term:
        log.reset_to(snapshot.index, snapshot.term)


def first_configuration(
    log: Log, snapshot: SnapshotFacts | None, override: OverrideFacts | None
) -> membership.Configurations:
    """Return the configurations that snapshot, override and log amount to; `log` has been reconciled.

    An override set after an outage replaces everything up to `after_index`; a snapshot taken behind that already
    carries it.
    """
    scanned_index = 0
    if snapshot is not None:
        configurations = membership.Configurations(index=snapshot.configuration_index, peers=snapshot.configuration)
        scanned_index = snapshot.index
    else:
        configurations = membership.Configurations(index=0, peers=[])
    if override is not None and scanned_index <= override.after_index:
        configurations = membership.Configurations(index=override.after_index, peers=override.peers)
        scanned_index = override.after_index
    position = max(1, scanned_index + 1 - log.first_index)
    for command, index, term in log[position:]:
        if command[0] == membership.MEMBERSHIP:
            configurations.append(index, term, command)
    return configurations
