"""Instances of services, alone and with their checks. Source: RPC wire format, sections 5 and 9."""

from typing import Any

from msgspec.structs import replace

from structs.catalog import (
    ChecksReply,
    ListServicesReply,
    ListServicesRequest,
    Node,
    NodeService,
    QuerySource,
    ServiceInstance,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.foreign.catalog import (
    CHECKS,
    CHECKS_REPLY,
    GIVEN_WEIGHTS,
    INDEXES,
    NO_SOURCE,
    NODE,
    NODE_META,
    NODE_SERVICE,
    SERVICE_ADDRESS,
    SERVICE_CONNECT,
    SERVICE_PROXY,
    SOURCE,
)
from structs.foreign.fields import (
    FLAG,
    SIGNED,
    TEXT,
    TEXT_MAP,
    TEXTS,
    Absent,
    Constant,
    Entry,
    Field,
    Flat,
    Shape,
    Table,
    filled,
    list_of,
    map_of,
    optional,
)
from structs.foreign.options import QUERY_META, QUERY_OPTIONS
from structs.foreign.row import ForeignMethod


class WantedTags:
    """One tag and whether it counts, or several, there; a list here. Older members read the single one only."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        tags = TEXTS.decode(value.get("ServiceTags")) or [TEXT.decode(value.get("ServiceTag"))]
        arguments["tags"] = tags if FLAG.decode(value.get("TagFilter")) else []

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        path = f"{prefix}tags"
        return [
            Entry("ServiceTag", path, lambda tags: tags[0] if tags else ""),
            Entry("ServiceTags", path, lambda tags: tags or None),
            Entry("TagFilter", path, bool),
        ]

    def names(self) -> list[str]:
        """See Part."""
        return ["ServiceTag", "ServiceTags", "TagFilter"]


def _near(value: Any) -> QuerySource:
    source = SOURCE.decode(value)
    return source if source.node else QuerySource()


LIST_SERVICES = Table(
    ListServicesRequest,
    NODE_META,
    Constant("Source", NO_SOURCE),
    Flat("options", QUERY_OPTIONS),
    Absent("filter", ""),
)
NEAR = Shape(_near, SOURCE.encode)
"""Theirs always says who asks, though it only counts with the node to be near to. What doesn't count is forgotten, so
that equal questions of many agents are equal."""
SERVICE_REQUEST = Table(
    ServiceRequest,
    NODE_META,
    Field("ServiceName", "service", TEXT),
    WantedTags(),
    Field("ServiceAddress", "address", TEXT),
    Field("Source", "source", NEAR),
    Field("Connect", "connect", FLAG),
    Flat("options", QUERY_OPTIONS),
)
SERVICES_REPLY = Table(
    ListServicesReply,
    Field("Services", "services", filled(map_of(filled(TEXTS, list)), dict)),
    Flat("meta", QUERY_META),
)
NODE_OF_INSTANCE = Table(
    Node,
    Field("ID", "node_id", TEXT),
    Field("Node", "node", TEXT),
    Field("Address", "address", TEXT),
    Field("Datacenter", "datacenter", TEXT),
    Field("TaggedAddresses", "tagged_addresses", TEXT_MAP),
    Field("NodeMeta", "meta", TEXT_MAP),
)
SERVICE_OF_INSTANCE = Table(
    NodeService,
    Field("ServiceKind", "kind", TEXT),
    Field("ServiceID", "service_id", TEXT),
    Field("ServiceName", "service", TEXT),
    Field("ServiceTags", "tags", TEXTS),
    Field("ServiceAddress", "address", TEXT),
    Field("ServiceMeta", "meta", TEXT_MAP),
    Field("ServicePort", "port", SIGNED),
    Field("ServiceEnableTagOverride", "enable_tag_override", FLAG),
    Field("ServiceProxyDestination", "proxy_destination", TEXT),
    Field("ServiceConnect", "connect", SERVICE_CONNECT.shape),
    Field("ServiceTaggedAddresses", "tagged_addresses", map_of(SERVICE_ADDRESS.shape)),
    Field("ServiceWeights", "weights", GIVEN_WEIGHTS),
    Field("ServiceProxy", "proxy", optional(SERVICE_PROXY.shape)),
    *INDEXES,
)
FLAT_INSTANCE = Table(
    ServiceInstance,
    Flat("node", NODE_OF_INSTANCE),
    Flat("service", SERVICE_OF_INSTANCE),
    Absent("checks", []),
)
INSTANCE = Table(
    ServiceInstance,
    Field("Node", "node", NODE.shape),
    Field("Service", "service", NODE_SERVICE.shape),
    Field("Checks", "checks", CHECKS),
)
FLAT_INSTANCES_REPLY = Table(
    ServiceNodesReply,
    Field("ServiceNodes", "instances", filled(list_of(FLAT_INSTANCE.shape), list)),
    Flat("meta", QUERY_META),
)
INSTANCES_REPLY = Table(
    ServiceNodesReply, Field("Nodes", "instances", filled(list_of(INSTANCE.shape), list)), Flat("meta", QUERY_META)
)


def _with_all_tags(reply: ServiceNodesReply, request: ServiceRequest) -> ServiceNodesReply:
    """Older members have looked at the first tag only."""
    wanted = {tag.lower() for tag in request.tags[1:]}
    if not wanted:
        return reply
    fitting = [each for each in reply.instances if wanted <= {tag.lower() for tag in each.service.tags or ()}]
    return replace(reply, instances=fitting)


ROWS = (
    ForeignMethod(name="Catalog.ListServices", method="Catalog.ListServices", request=LIST_SERVICES,
                  reply=SERVICES_REPLY.shape, reply_record=ListServicesReply, fits=lambda request: not request.filter),
    ForeignMethod(name="Catalog.ServiceNodes", method="Catalog.ServiceNodes", request=SERVICE_REQUEST,
                  reply=FLAT_INSTANCES_REPLY.shape, reply_record=ServiceNodesReply, hears=_with_all_tags),
    ForeignMethod(name="Health.ServiceNodes", method="Health.ServiceNodes", request=SERVICE_REQUEST,
                  reply=INSTANCES_REPLY.shape, reply_record=ServiceNodesReply, hears=_with_all_tags),
    ForeignMethod(name="Health.ServiceChecks", method="Health.ServiceChecks", request=SERVICE_REQUEST,
                  reply=CHECKS_REPLY.shape, reply_record=ChecksReply),
)  # fmt: skip
