"""Operator.Usage: what is counted, and that gauges count the same."""

from pathlib import Path

import server.endpoints.usage  # noqa: F401  # registers it
from base.telemetry import TELEMETRY
from fsm.store import usage
from structs.catalog import CONNECT_PROXY, NodeService, RegisterCommand, RegisterRequest, ServiceConnect
from structs.usage import UsageReply, UsageRequest
from tests.fakes.server_parts import ServerParts, server_parts

SERVICES = [
    NodeService(service_id="web1", service="web", port=80),
    NodeService(service_id="web2", service="Web", port=81),
    NodeService(service_id="db", service="db", connect=ServiceConnect(native=True)),
    NodeService(service_id="p", service="web-proxy", kind=CONNECT_PROXY, proxy_destination="web", port=90),
]


async def fill(parts: ServerParts) -> None:
    for number, service in enumerate(SERVICES):
        command = RegisterCommand(node=f"n{number % 2}", address="10.0.0.1", service=service)
        await parts.ask("Catalog.Register", RegisterRequest(command=command))


async def test_nodes_services_instances_and_kinds_are_counted(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        before = await parts.ask("Operator.Usage", UsageRequest())
        assert isinstance(before, UsageReply)
        await fill(parts)
        reply = await parts.ask("Operator.Usage", UsageRequest())
        assert isinstance(reply, UsageReply)
        assert reply.nodes_count - before.nodes_count == 2
        assert reply.services_count - before.services_count == 3
        assert reply.instances_count - before.instances_count == 4
        assert reply.kinds == {"": 2, "connect-native": 1, "connect-proxy": 1}
        assert reply.meta.index > before.meta.index
        with parts.machine.read() as view:
            assert usage.counts(view)["service_instances"] == reply.instances_count


def test_gauges_of_the_state_are_declared() -> None:
    import server.telemetry  # noqa: F401  # declares them

    assert {"state.nodes", "state.services", "state.service_instances", "state.kv_entries"} <= TELEMETRY.names()
