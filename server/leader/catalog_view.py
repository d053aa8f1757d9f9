"""The catalog as reconciliation looks at it."""

from collections.abc import Iterator
from contextlib import contextmanager

from fsm.machine import Machine
from fsm.store import checks, nodes, services
from fsm.store.store import View
from server.leader.reconcile import CatalogNode
from structs.catalog import CONSUL_SERVICE, SERF_CHECK_ID


@contextmanager
def open_catalog(machine: Machine) -> Iterator["StoredCatalog"]:
    """Open the catalog as it is after the last applied batch; `reconcile.CatalogView`."""
    with machine.read() as view:
        yield StoredCatalog(view)


class StoredCatalog:
    """One consistent look at the state machine."""

    def __init__(self, view: View) -> None:
        self._view = view

    def node(self, name: str) -> CatalogNode | None:
        """See CatalogView."""
        node = nodes.get(self._view, name)
        if node is None:
            return None
        check = checks.get(self._view, name, SERF_CHECK_ID)
        service = services.get(self._view, name, CONSUL_SERVICE)
        return CatalogNode(
            address=node.address,
            serf_status=check.status if check is not None else "",
            consul_port=service.port if service is not None else None,
        )

    def serf_nodes(self) -> list[str]:
        """See CatalogView."""
        found = checks.in_state(self._view, checks.STATE_ANY)
        return [check.node for check in found if check.check_id == SERF_CHECK_ID]
