"""Every fault there is, by name, in the order in which people read them."""

from jepsen.nemesis import clock, disk, kill, membership, packets, partition, pause, restart, snapshot
from jepsen.nemesis.combined import combinations
from jepsen.nemesis.package import Fault

_SINGLE: tuple[type[Fault], ...] = (
    partition.PartitionHalves,
    partition.PartitionOne,
    partition.PartitionLeader,
    partition.PartitionRing,
    partition.PartitionBridge,
    partition.PartitionOneWay,
    partition.PartitionFlapping,
    partition.PartitionAgent,
    packets.PacketsDelay,
    packets.PacketsLoss,
    packets.PacketsSlowOneWay,
    kill.KillOne,
    kill.KillMinority,
    kill.KillMajority,
    kill.KillAll,
    kill.KillLeader,
    kill.KillAgent,
    kill.KillFailpoint,
    pause.PauseOne,
    pause.PauseLeader,
    pause.PauseMajority,
    pause.PauseAllButOne,
    pause.PauseAll,
    pause.PauseAgent,
    clock.ClockJump,
    clock.ClockStrobe,
    clock.ClockRate,
    disk.DiskSlow,
    disk.DiskFailing,
    disk.DiskFull,
    disk.DiskLossyKillOne,
    disk.DiskLossyKillMajority,
    disk.DiskLossyKillAll,
    disk.DiskLossyKillElection,
    disk.DiskTornJournal,
    disk.DiskBitFlip,
    membership.MembershipGrow,
    membership.MembershipShrink,
    membership.MembershipReplace,
    membership.MembershipRemoveLeader,
    snapshot.SnapshotForced,
    snapshot.SnapshotKilled,
    snapshot.SnapshotInstall,
    snapshot.SnapshotInstallPaused,
    snapshot.SnapshotInstallKilled,
    restart.RestartRolling,
)


def _by_name(*faults: type[Fault]) -> dict[str, type[Fault]]:
    named: dict[str, type[Fault]] = {}
    for fault in faults:
        if fault.name in named:
            raise RuntimeError(f"{fault.name} is registered twice")
        named[fault.name] = fault
    return named


FAULTS: dict[str, type[Fault]] = _by_name(*_SINGLE, *combinations(_by_name(*_SINGLE)))


def packages() -> dict[str, list[str]]:
    """Package -> its faults' names, both in reading order."""
    found: dict[str, list[str]] = {}
    for name, fault in FAULTS.items():
        found.setdefault(fault.package, []).append(name)
    return found
