"""All workloads by name, in reading order.

To add one: a file here with one subclass of `Workload` and a docstring that says what its operations look like, a
checker in `jepsen/checkers/` that its `checkers()` returns, and its name in the tuple below.
`tests/unit/jepsen/workloads/` then runs it against a store in memory, a right one and broken ones.
"""

from jepsen.workloads.append import Append
from jepsen.workloads.catalog import Catalog
from jepsen.workloads.counter import Counter
from jepsen.workloads.health_watch import HealthWatch
from jepsen.workloads.lock import Lock
from jepsen.workloads.register import Register
from jepsen.workloads.session import Session
from jepsen.workloads.set import Set
from jepsen.workloads.txn import Txn
from jepsen.workloads.watch import Watch
from jepsen.workloads.workload import Workload

_IN_READING_ORDER: tuple[type[Workload], ...] = (
    Register,
    Set,
    Append,
    Counter,
    Txn,
    Watch,
    Lock,
    Session,
    Catalog,
    HealthWatch,
)
WORKLOADS: dict[str, type[Workload]] = {workload.name: workload for workload in _IN_READING_ORDER}
"""Name -> what clients do."""
