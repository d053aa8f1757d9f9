"""Time that also passes while the machine sleeps: what leases run by. Without trio: the command line starts sooner."""

import time

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_s() -> float:
    """Monotonic seconds that also count the time for which the machine was suspended.

    The usual monotonic clock of Linux stands still meanwhile, so whoever wakes up would still believe in a lease that
    the others saw end long ago. Not for trio's deadlines. Source: clock_gettime(2), CLOCK_BOOTTIME.
    """
    return time.clock_gettime(_BOOT_CLOCK)
