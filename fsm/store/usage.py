"""How much there is of what: cheap enough to be asked every few seconds, but for the kinds of instances."""

from collections import Counter

from fsm.store import keys, services
from fsm.store.store import View
from fsm.store.tables import CHECKS, INDEXES, KVS, NODES, SERVICES, Table
from structs.catalog import CONSUL_SERVICE


def rows_count(view: View, table: Table) -> int:
    """Return how many rows a table has. Long keys that begin alike count once: it is for telling, not for proving."""
    return int(view.txn.stat(view.handles.pair(table).main)["entries"])


def names_count(view: View) -> int:
    """Return how many names of services there are: each has a counter as long as it has an instance."""
    counters = services.counter_of("").encode()
    return sum(1 for _ in keys.scan(view.txn, view.handles.pair(INDEXES), counters))


def counts(view: View) -> dict[str, int]:
    """Return the number of nodes, services, instances, checks and keys."""
    return {
        "nodes": rows_count(view, NODES),
        "services": names_count(view),
        "service_instances": rows_count(view, SERVICES),
        "checks": rows_count(view, CHECKS),
        "kv_entries": rows_count(view, KVS),
    }


def kinds(view: View) -> Counter[str]:
    """Return how many instances there are of each kind ("" for ordinary ones, `connect-native` where it is that).

    The servers' own service is left out: nobody put it there.
    """
    found: Counter[str] = Counter()
    for _, row in keys.scan(view.txn, view.handles.pair(SERVICES), b""):
        service = services.of_row(row)
        if service.service == CONSUL_SERVICE:
            continue
        found["connect-native" if service.connect.native and not service.kind else service.kind] += 1
    return found
