"""Catalog.ListDatacenters and Coordinate.ListDatacenters: what WAN gossip knows. Source: HTTP API, sections 2 and 9."""

from acl.access import NOBODY
from server.endpoints.registry import Call, Kind, method
from structs.catalog import DatacentersReply
from structs.cluster import Empty
from structs.coordinate import DatacenterMapsReply


@method("Catalog.ListDatacenters", request=Empty, reply=DatacentersReply, access=NOBODY, kind=Kind.LOCAL)
def list_datacenters(call: Call, request: Empty) -> DatacentersReply:
    """Every datacenter, this one first, then by the median round trip to its servers."""
    services = call.services
    return DatacentersReply(datacenters=services.router.datacenters(services.wan_position(), services.wan_positions()))


@method("Coordinate.ListDatacenters", request=Empty, reply=DatacenterMapsReply, access=NOBODY, kind=Kind.LOCAL)
def list_maps(call: Call, request: Empty) -> DatacenterMapsReply:
    """Where the servers of each datacenter are."""
    services = call.services
    return DatacenterMapsReply(maps=services.router.maps(services.wan_positions()))
