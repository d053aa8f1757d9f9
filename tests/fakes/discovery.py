"""A catalog for the agent's cache and DNS: a delegate whose calls block as a server's do."""

from typing import Any

import trio

from base.errors import MeshError, NotFound
from structs.catalog import (
    HealthCheck,
    ListNodesReply,
    Node,
    NodeService,
    NodeServicesReply,
    ServiceInstance,
    ServiceNodesReply,
    Weights,
)
from structs.prepared_query import NOT_FOUND_TEXT, ExecuteReply
from structs.query import QueryMeta


def instance(
    node: str,
    address: str,
    *,
    service: str = "web",
    at: str = "",
    port: int = 80,
    status: str = "passing",
    tags: tuple[str, ...] = (),
    meta: dict[str, str] | None = None,
    weights: tuple[int, int] = (1, 1),
) -> ServiceInstance:
    """Return an instance of a service on a node."""
    return ServiceInstance(
        node=Node(node=node, address=address, datacenter="dc1", meta=meta),
        service=NodeService(
            service_id=f"{service}-{node}-{port}",
            service=service,
            address=at,
            port=port,
            tags=list(tags),
            weights=Weights(passing=weights[0], warning=weights[1]),
        ),
        checks=[HealthCheck(node=node, check_id="c", status=status, service_name=service)],
    )


class FakeDiscovery:
    """Answers Health.ServiceNodes, Catalog.NodeServices and Catalog.ListNodes from a list of instances."""

    def __init__(self, *instances: ServiceInstance) -> None:
        self.instances = list(instances)
        self.index = 5
        self.calls: list[tuple[str, Any]] = []
        self.error: MeshError | None = None
        self.last_contact_ms = 0
        self.queries: dict[str, ExecuteReply] = {}
        """Prepared queries by name."""
        self.waiting_count = 0
        self._changed = trio.Event()

    def change(self, *instances: ServiceInstance, index: int | None = None) -> None:
        """Replace everything and wake whoever waits."""
        self.instances = list(instances)
        self.index = self.index + 1 if index is None else index
        self.wake()

    def fail(self, error: MeshError | None) -> None:
        """From now on answer everything with `error`, also what waits."""
        self.error = error
        self.wake()

    def wake(self) -> None:
        event, self._changed = self._changed, trio.Event()
        event.set()

    def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        return self._answer(method, request)

    async def _answer(self, method: str, request: Any) -> Any:
        self.calls.append((method, request))
        options = request.options
        await trio.lowlevel.checkpoint()
        if options.index_min and self.error is None:
            self.waiting_count += 1
            try:
                with trio.move_on_after(options.wait_s):
                    while self.index <= options.index_min and self.error is None:
                        changed = self._changed
                        await changed.wait()
                        if self.index < options.index_min:
                            break
            finally:
                self.waiting_count -= 1
        if self.error is not None:
            raise self.error
        return self._reply(method, request)

    def _reply(self, method: str, request: Any) -> Any:
        meta = QueryMeta(
            index=self.index, last_contact_ms=self.last_contact_ms, consistency=request.options.consistency
        )
        if method == "PreparedQuery.Execute":
            if request.name not in self.queries:
                raise NotFound(NOT_FOUND_TEXT)
            return self.queries[request.name]
        nodes = {one.node.node: one.node for one in reversed(self.instances)}
        if method == "Health.ServiceNodes":
            wanted = [
                one
                for one in self.instances
                if one.service.service == request.service and set(request.tags) <= set(one.service.tags or ())
            ]
            return ServiceNodesReply(instances=wanted, meta=meta)
        if method == "Catalog.ServiceNodes" and request.address:
            wanted = [one for one in self.instances if one.service.address == request.address]
            return ServiceNodesReply(instances=wanted, meta=meta)
        if method == "Catalog.NodeServices":
            return NodeServicesReply(node=nodes.get(request.node), meta=meta)
        assert method == "Catalog.ListNodes", method
        return ListNodesReply(nodes=list(nodes.values()), meta=meta)
