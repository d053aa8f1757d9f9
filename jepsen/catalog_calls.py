"""The calls of the API about services: at agents, in the catalog, and their health. They raise CallFailed, CallUnclear.

A service's version is a number in its metadata.
"""

from typing import Any
from urllib.parse import quote

from jepsen.client import HTTP, query_of
from jepsen.session_calls import NODE_ADDRESS, put_json

VERSION = "version"
TTL = "24h"
"""Of checks that clients set: longer than any run."""
VERBS = {"passing": "pass", "warning": "warn", "critical": "fail"}


def check_of(service_id: str) -> str:
    """Return the id of a service's check."""
    return f"service:{service_id}"


async def register_at_agent(http: HTTP, name: str, service_id: str, version: int) -> None:
    """Register a service with a TTL check at the agent that is asked; known ids are replaced."""
    check = {"CheckID": check_of(service_id), "Name": "set by its client", "TTL": TTL}
    body = {"ID": service_id, "Name": name, "Meta": {VERSION: str(version)}, "Check": check}
    await put_json(http, "/v1/agent/service/register", body)


async def deregister_at_agent(http: HTTP, service_id: str) -> None:
    """Deregister a service of the agent that is asked."""
    await http.request("PUT", f"/v1/agent/service/deregister/{quote(service_id)}", is_write=True, passing=())


async def set_status(http: HTTP, service_id: str, status: str) -> None:
    """Set the TTL check of a service of the agent that is asked."""
    path = f"/v1/agent/check/{VERBS[status]}/{check_of(service_id)}"
    await http.request("PUT", path, is_write=True, passing=())


async def claims_of_agent(http: HTTP, name: str) -> dict[str, list[Any]]:
    """Return what the agent that is asked claims: service id -> [version, status of its check]."""
    services = (await http.request("GET", "/v1/agent/services", is_write=False, passing=())).json()
    checks = (await http.request("GET", "/v1/agent/checks", is_write=False, passing=())).json()
    found = {}
    for service_id, service in sorted(services.items()):
        if service["Service"] == name:
            found[service_id] = [_version(service), checks.get(check_of(service_id), {}).get("Status", "")]
    return found


async def register_in_catalog(http: HTTP, node: str, name: str, service_id: str, version: int) -> None:
    """Register a service of a node of no agent's."""
    service = {"ID": service_id, "Service": name, "Meta": {VERSION: str(version)}}
    await put_json(http, "/v1/catalog/register", {"Node": node, "Address": NODE_ADDRESS, "Service": service})


async def deregister_in_catalog(http: HTTP, node: str, service_id: str) -> None:
    """Remove a service of a node."""
    await put_json(http, "/v1/catalog/deregister", {"Node": node, "ServiceID": service_id})


async def services_of_node(http: HTTP, node: str, name: str, *, mode: str) -> tuple[dict[str, int], int]:
    """Return the services of this name that the catalog has of a node, id -> version; and the answer's index."""
    reply = await http.request("GET", f"/v1/catalog/node-services/{quote(node)}{query_of(mode=mode)}", is_write=False)
    rows = [] if reply.status == 404 else (reply.json() or {}).get("Services") or []
    return {each["ID"]: _version(each) for each in rows if each["Service"] == name}, reply.index


async def health_of_service(
    http: HTTP, name: str, *, mode: str, index: int = 0, wait_s: float = 0.0, timeout_s: float | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Return the instances of a service, and the answer's index. With an `index` it is a blocking query."""
    more = {"index": str(index), "wait": f"{wait_s:g}s"} if index else {}
    path = f"/v1/health/service/{quote(name)}{query_of(mode=mode, **more)}"
    reply = await http.request("GET", path, is_write=False, timeout_s=timeout_s)
    instances = [] if reply.status == 404 else reply.json() or []
    return [_instance(each) for each in instances], reply.index


def _instance(raw: dict[str, Any]) -> dict[str, Any]:
    service = raw["Service"]
    return {
        "node": raw["Node"]["Node"],
        "id": service["ID"],
        "version": _version(service),
        "modify_index": service["ModifyIndex"],
        "checks": {each["CheckID"]: each["Status"] for each in raw["Checks"]},
    }


def _version(service: dict[str, Any]) -> int:
    return int((service.get("Meta") or {}).get(VERSION, 0))
