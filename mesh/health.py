"""Services joined with their checks: who can be sent to."""

from collections.abc import Mapping, Sequence

from mesh.call import Call, Noun, World, method, read_call
from mesh.catalog import selection
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.shapes import CHECK, INSTANCE
from structs.catalog import HealthCheck, ServiceInstance


class Health(Noun[World]):
    """`client.health`."""

    @method
    def node(
        self,
        name: str,
        *,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[HealthCheck]]]:
        """Return all checks of a node and of its services."""
        return read_call(f"/v1/health/node/{name}", CHECK.rows, read, selection(where=where))

    @method
    def checks(
        self,
        service: str,
        *,
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[HealthCheck]]]:
        """Return the checks of a service's instances, without those of their nodes."""
        chosen = selection(near=near, node_meta=node_meta, where=where)
        return read_call(f"/v1/health/checks/{service}", CHECK.rows, read, chosen)

    @method
    def state(
        self,
        state: str,
        *,
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[HealthCheck]]]:
        """Return the checks that stand at `state`: passing, warning, critical, or any."""
        chosen = selection(near=near, node_meta=node_meta, where=where)
        return read_call(f"/v1/health/state/{state}", CHECK.rows, read, chosen)

    @method
    def service(
        self,
        name: str,
        *,
        passing: bool = False,
        tags: Sequence[str] = (),
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[ServiceInstance]]]:
        """Return the instances of a service, each with the checks of its node and its own.

        `passing`: only those whose checks all pass. `tags`: only those that have them all.
        """
        chosen = {**selection(near=near, node_meta=node_meta, where=where, tags=tags), **_passing(passing)}
        return read_call(f"/v1/health/service/{name}", INSTANCE.rows, read, chosen)

    @method
    def connect(
        self,
        name: str,
        *,
        passing: bool = False,
        near: str = "",
        node_meta: Mapping[str, str] | None = None,
        where: str = "",
        read: Read = DEFAULT_READ,
    ) -> Call[Answer[Sequence[ServiceInstance]]]:
        """Return the instances that take mesh connections for a service, with their checks."""
        chosen = {**selection(near=near, node_meta=node_meta, where=where), **_passing(passing)}
        return read_call(f"/v1/health/connect/{name}", INSTANCE.rows, read, chosen)


def _passing(passing: bool) -> Mapping[str, str]:
    return {"passing": "1"} if passing else {}
