"""The calls about nodes, positions, events, keys and autopilot, answered out of attributes that tests may change."""

from typing import Any

from msgspec.structs import replace

from base.errors import Refused
from structs.autopilot import (
    AutopilotConfig,
    AutopilotGetRequest,
    AutopilotSetReply,
    AutopilotSetRequest,
    ServerHealth,
    ServerHealthReply,
    ServerHealthRequest,
)
from structs.catalog import (
    CheckDefinition,
    ChecksInStateRequest,
    ChecksReply,
    DatacentersReply,
    DeregisterRequest,
    HealthCheck,
    ListNodesReply,
    ListNodesRequest,
    ListServicesReply,
    ListServicesRequest,
    Node,
    NodeDumpReply,
    NodeDumpRequest,
    NodeInfo,
    NodeRequest,
    NodeService,
    NodeServicesReply,
    RegisterRequest,
    ServiceInstance,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.cluster import Empty, MemberStatus
from structs.coordinate import (
    Coordinate,
    CoordinatesReply,
    CoordinateUpdateRequest,
    DatacenterMap,
    DatacenterMapsReply,
    ListCoordinatesRequest,
    NodeCoordinate,
)
from structs.event import EventFireReply, EventFireRequest
from structs.keyring import KeyringAnswer, KeyringOperation, KeyringReply, KeyringRequest
from structs.query import QueryMeta
from structs.service_summary import ServiceSummaryReply, summaries_of

ADDRESS = "10.0.0.1:8300"
SERVER_ID = "5a4e1d0e-66d5-4f3d-8c0b-57e1d1a0a001"
KEY = "AAECAwQFBgcICQoLDA0ODw=="


class ClusterCalls:
    """Two nodes, `n1` (this one, a server) and `n2`, of which the catalog knows little."""

    def __init__(self) -> None:
        self.nodes = [
            Node(
                node_id=SERVER_ID,
                node="n1",
                address="10.0.0.1",
                datacenter="dc1",
                tagged_addresses={"wan": "198.51.100.1", "lan": "10.0.0.1"},
                meta={"rack": "a"},
                create_index=5,
                modify_index=6,
            ),
            Node(node="n2", address="10.0.0.2", datacenter="dc1", create_index=7, modify_index=7),
        ]
        self.services = {
            "n1": [
                NodeService(service_id="web", service="web", tags=["v1"], port=80, create_index=8, modify_index=8),
                NodeService(service_id="consul", service="consul", port=8300, create_index=6, modify_index=6),
            ]
        }
        self.checks = [
            HealthCheck(
                node="n1",
                check_id="serfHealth",
                name="Serf Health Status",
                status="passing",
                output="Agent alive and reachable",
                create_index=5,
                modify_index=5,
            ),
            HealthCheck(
                node="n1",
                check_id="c1",
                name="web <check>",
                status="critical",
                service_id="web",
                service_name="web",
                service_tags=["v1"],
                definition=CheckDefinition(http="http://x/h", interval_ns=10_000_000_000, timeout_ns=1_500_000_000),
                create_index=9,
                modify_index=9,
            ),
        ]
        self.registered: list[RegisterRequest | DeregisterRequest] = []
        self.coordinates = [
            NodeCoordinate(node="n1", coordinate=Coordinate()),
            NodeCoordinate(node="n1", segment="alpha", coordinate=Coordinate(vec=[0.5, *[0.0] * 7], error=0.25)),
        ]
        self.maps = [DatacenterMap(datacenter="dc1", coordinates=[NodeCoordinate(node="n1", coordinate=Coordinate())])]
        self.maps.append(DatacenterMap(datacenter="dc2"))
        self.autopilot = AutopilotConfig(create_index=4, modify_index=4)
        self.server_health: list[ServerHealth] | None = [
            ServerHealth(
                server_id=SERVER_ID,
                name="n1",
                address=ADDRESS,
                serf_status=MemberStatus.ALIVE,
                version="1.21.0",
                leader=True,
                last_contact_ns=0,
                last_term=2,
                last_index=46,
                healthy=True,
                voter=True,
                stable_since_unix_s=1_527_847_200.4,
            )
        ]
        self.key_answers = [
            KeyringAnswer(wan=True, datacenter="dc1", keys={KEY: 1}, primary_keys={KEY: 1}, nodes_count=1),
            KeyringAnswer(wan=False, datacenter="dc1", keys={KEY: 2}, primary_keys={KEY: 2}, nodes_count=2),
        ]

    def _meta(self, index: int, request: Any) -> QueryMeta:
        raise NotImplementedError

    def _catalog_listdatacenters(self, _: Empty) -> DatacentersReply:
        return DatacentersReply(datacenters=["dc1", "dc2"])

    def _catalog_listnodes(self, request: ListNodesRequest) -> ListNodesReply:
        wanted = request.node_meta.items()
        nodes = [node for node in self.nodes if wanted <= (node.meta or {}).items()]
        if request.source.node:
            nodes.sort(key=lambda node: node.node != request.source.node)
        return ListNodesReply(nodes=nodes, meta=self._meta(12, request))

    def _catalog_nodeservices(self, request: NodeRequest) -> NodeServicesReply:
        node = next((node for node in self.nodes if node.node == request.node), None)
        if node is None:
            return NodeServicesReply(node=None, meta=self._meta(0, request))
        return NodeServicesReply(node=node, services=self.services.get(node.node, []), meta=self._meta(8, request))

    def _health_nodechecks(self, request: NodeRequest) -> ChecksReply:
        checks = [check for check in self.checks if check.node == request.node]
        return ChecksReply(checks=checks, meta=self._meta(9, request))

    def _health_checksinstate(self, request: ChecksInStateRequest) -> ChecksReply:
        checks = [check for check in self.checks if request.state in ("any", check.status)]
        return ChecksReply(checks=checks, meta=self._meta(9, request))

    def _catalog_register(self, request: RegisterRequest) -> Empty:
        self.registered.append(request)
        return Empty()

    def _catalog_deregister(self, request: DeregisterRequest) -> Empty:
        self.registered.append(request)
        return Empty()

    def _catalog_listservices(self, request: ListServicesRequest) -> ListServicesReply:
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            if request.node_meta.items() <= (node.meta or {}).items():
                for service in self.services.get(node.node, []):
                    found.setdefault(service.service, []).extend(service.tags or [])
        return ListServicesReply(services=found, meta=self._meta(8, request))

    def _instances(self, request: ServiceRequest) -> list[ServiceInstance]:
        found = []
        for node in self.nodes:
            for service in self.services.get(node.node, []):
                name = service.proxy_destination if request.connect else service.service
                tags = {tag.lower() for tag in service.tags or []}
                if name == request.service and {tag.lower() for tag in request.tags} <= tags:
                    found.append(ServiceInstance(node=node, service=service))
        return found

    def _catalog_servicenodes(self, request: ServiceRequest) -> ServiceNodesReply:
        return ServiceNodesReply(instances=self._instances(request), meta=self._meta(9, request))

    def _health_servicenodes(self, request: ServiceRequest) -> ServiceNodesReply:
        found = [replace(one, checks=self._checks_of(one)) for one in self._instances(request)]
        return ServiceNodesReply(instances=found, meta=self._meta(9, request))

    def _checks_of(self, instance: ServiceInstance) -> list[HealthCheck]:
        owners = ("", instance.service.service_id)
        return [check for check in self.checks if check.node == instance.node.node and check.service_id in owners]

    def _health_servicechecks(self, request: ServiceRequest) -> ChecksReply:
        checks = [check for check in self.checks if check.service_name == request.service]
        return ChecksReply(checks=checks, meta=self._meta(9, request))

    def _internal_nodedump(self, request: NodeDumpRequest) -> NodeDumpReply:
        return NodeDumpReply(nodes=[self._info(node) for node in self.nodes], meta=self._meta(12, request))

    def _internal_servicesummary(self, request: NodeDumpRequest) -> ServiceSummaryReply:
        dump = self._internal_nodedump(request)
        return ServiceSummaryReply(services=summaries_of(dump.nodes), meta=dump.meta)

    def _internal_nodeinfo(self, request: NodeRequest) -> NodeDumpReply:
        nodes = [self._info(node) for node in self.nodes if node.node == request.node]
        return NodeDumpReply(nodes=nodes, meta=self._meta(12, request))

    def _info(self, node: Node) -> NodeInfo:
        checks = [check for check in self.checks if check.node == node.node]
        return NodeInfo(node=node, services=self.services.get(node.node, []), checks=checks)

    def _coordinate_listdatacenters(self, _: Empty) -> DatacenterMapsReply:
        return DatacenterMapsReply(maps=self.maps)

    def _coordinate_listnodes(self, request: ListCoordinatesRequest) -> CoordinatesReply:
        return CoordinatesReply(coordinates=self.coordinates, meta=self._meta(3, request))

    def _coordinate_node(self, request: NodeRequest) -> CoordinatesReply:
        rows = [row for row in self.coordinates if row.node == request.node]
        return CoordinatesReply(coordinates=rows, meta=self._meta(3, request))

    def _coordinate_update(self, request: CoordinateUpdateRequest) -> Empty:
        coordinate = request.update.coordinate
        if coordinate is None or len(coordinate.vec) != len(Coordinate().vec):
            raise Refused("incompatible coordinate")
        return Empty()

    def _internal_eventfire(self, _: EventFireRequest) -> EventFireReply:
        return EventFireReply()

    def _internal_keyringoperation(self, request: KeyringRequest) -> KeyringReply:
        if request.operation is KeyringOperation.LIST:
            return KeyringReply(answers=self.key_answers)
        return KeyringReply(answers=[replace(answer, keys={}, primary_keys={}) for answer in self.key_answers])

    def _operator_autopilotgetconfiguration(self, _: AutopilotGetRequest) -> AutopilotConfig:
        return self.autopilot

    def _operator_autopilotsetconfiguration(self, request: AutopilotSetRequest) -> AutopilotSetReply:
        if request.cas and request.config.modify_index != self.autopilot.modify_index:
            return AutopilotSetReply(ok=False)
        self.autopilot = replace(request.config, create_index=4, modify_index=self.autopilot.modify_index + 1)
        return AutopilotSetReply(ok=True)

    def _operator_serverhealth(self, _: ServerHealthRequest) -> ServerHealthReply:
        servers = self.server_health
        healthy = servers is not None and all(server.healthy for server in servers)
        return ServerHealthReply(healthy=healthy, failure_tolerance=0, servers=servers)
