"""All alias checks of an agent: recomputed when the agent's own checks change, or another node's.

Own services cost nothing while nothing changes. Another node is watched by one blocking query, however many checks
mirror something on it.
"""

from collections.abc import Callable

import trio

from agent.checks.alias import mirrored, retry_s, unknown_service, unreadable
from agent.checks.interface import CheckSettings, LocalChecks, Result
from agent.http.registry import Delegate
from base.errors import MeshError
from base.tasks import started_in
from structs.catalog import ChecksReply, HealthCheck, NodeRequest
from structs.check_spec import CheckSpec
from structs.query import Consistency, QueryOptions

WAIT_S = 60.0
SETTLE_S = 0.05
"""Changes that come together are looked at once."""


class _RemoteNode:
    """What is known of another node's checks, and who mirrors them."""

    __slots__ = ("checks", "scope", "specs")

    def __init__(self) -> None:
        self.specs: dict[str, CheckSpec] = {}
        self.checks: list[HealthCheck] | None = None
        self.scope = trio.CancelScope()


class Aliases:
    """`run` owns the tasks; `tell` gets each result that differs from the one before."""

    def __init__(
        self, *, tell: Callable[[str, Result], None], local: LocalChecks, delegate: Delegate, settings: CheckSettings
    ) -> None:
        self._tell = tell
        self._local = local
        self._delegate = delegate
        self._settings = settings
        self._own: dict[str, CheckSpec] = {}
        self._nodes: dict[str, _RemoteNode] = {}
        self._told: dict[str, Result] = {}
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Mirror until cancelled."""
        forget = self._local.subscribe(self._wake)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for name, node in self._nodes.items():
                    nursery.start_soon(self._watch, name, node)
                task_status.started()
                while True:
                    await self._changed.wait()
                    await trio.sleep(SETTLE_S)
                    self._changed = trio.Event()
                    for spec in list(self._own.values()):
                        self._look(spec)
        finally:
            self._nursery = None
            forget()

    def add(self, spec: CheckSpec) -> None:
        """Begin to mirror."""
        if spec.alias_node and spec.alias_node.lower() != self._settings.node_name.lower():
            node = self._nodes.get(spec.alias_node)
            if node is None:
                node = self._nodes[spec.alias_node] = _RemoteNode()
                started_in(self._nursery, self._watch, spec.alias_node, node)
            node.specs[spec.check_id] = spec
            if node.checks is not None:
                self._say(spec.check_id, mirrored(node.checks, check_id="", service_id=spec.alias_service))
        else:
            self._own[spec.check_id] = spec
            self._wake()

    def remove(self, check_id: str) -> None:
        """Stop mirroring; one that is unknown is no error."""
        self._own.pop(check_id, None)
        self._told.pop(check_id, None)
        for name, node in list(self._nodes.items()):
            if node.specs.pop(check_id, None) is not None and not node.specs:
                node.scope.cancel()
                del self._nodes[name]

    def _wake(self) -> None:
        if self._own:
            self._changed.set()

    def _look(self, spec: CheckSpec) -> None:
        checks = self._local.checks_of_service(spec.alias_service)
        if checks is None and spec.alias_service:
            self._say(spec.check_id, unknown_service(spec.alias_service, self._settings.node_name))
        else:
            found = mirrored(checks or [], check_id=spec.check_id, service_id=spec.alias_service)
            self._say(spec.check_id, found)

    def _say(self, check_id: str, result: Result) -> None:
        if self._told.get(check_id) != result:
            self._told[check_id] = result
            self._tell(check_id, result)

    async def _watch(self, name: str, node: _RemoteNode) -> None:
        index = failures_count = 0
        with node.scope:
            while True:
                options = QueryOptions(
                    consistency=Consistency.STALE, index_min=index, wait_s=WAIT_S, token=self._settings.token
                )
                try:
                    reply = self._delegate.call(
                        "Health.NodeChecks", NodeRequest(node=name, options=options), ChecksReply
                    )
                    if not isinstance(reply, ChecksReply):
                        reply = await reply
                except MeshError as error:
                    failures_count += 1
                    index, node.checks = 0, None
                    for check_id in list(node.specs):
                        self._say(check_id, unreadable(error))
                    await trio.sleep(retry_s(failures_count))
                    continue
                failures_count = 0
                # An index that goes back belongs to another history; one that stands still must not spin.
                index = reply.meta.index if reply.meta.index >= index else 0
                node.checks = reply.checks
                for spec in list(node.specs.values()):
                    self._say(spec.check_id, mirrored(reply.checks, check_id="", service_id=spec.alias_service))
                if index == 0:
                    await trio.sleep(retry_s(0))
