"""All workloads by name, in reading order.

To add one: a file here with one subclass of `Workload` and a docstring that says what its operations look like, a
checker in `jepsen/checkers/` that its `checkers()` returns, and a line below. `tests/unit/jepsen/workloads/` then
runs it against a store in memory, a right one and broken ones.
"""

from jepsen.workloads.register import Register
from jepsen.workloads.set import Set
from jepsen.workloads.workload import Workload

WORKLOADS: dict[str, type[Workload]] = {workload.name: workload for workload in (Register, Set)}
