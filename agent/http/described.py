"""What each route takes: its parameters, its body, and how it may end. The OpenAPI description is made of it.

Many objects are free or name only their better known fields: the handlers check them, and `docs/compatibility.md`
tells what they understand.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

READS = (
    "dc", "ns", "partition", "token", "pretty", "stale", "consistent", "leader", "cached", "max_stale", "index", "wait",
)  # fmt: skip
WRITES = ("dc", "ns", "partition", "token", "pretty")
LOCALS = ("token", "pretty")
LISTS = (*READS, "near", "node-meta", "filter")
JSON = "application/json"
BYTES = "application/octet-stream"
TEXT = "text/plain"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one method of one path takes."""

    parameters: tuple[str, ...] = ()
    """Query parameters besides those that all reads or all writes have."""
    common: tuple[str, ...] | None = None
    """Replaces these."""
    body: str | None = None
    """Media type of the body; None: it has none."""
    schema: Mapping[str, Any] = {}
    """Of a JSON body."""
    answer: str = JSON
    """Media type of the answer."""
    rest: str = "name"
    """What follows a path that ends in "/"."""
    statuses: tuple[int, ...] = (200, 400)
    """Besides those that every route may answer."""


OBJECT: Mapping[str, Any] = {"type": "object"}
OBJECTS: Mapping[str, Any] = {"type": "array", "items": {"type": "object"}}
KEY_BODY: Mapping[str, Any] = {"type": "object", "properties": {"Key": {"type": "string"}}}
ACL_OFF = (401,)

TEXT_VALUE: Mapping[str, Any] = {"type": "string"}
TEXTS: Mapping[str, Any] = {"type": ["array", "null"], "items": {"type": "string"}}
TEXT_MAP: Mapping[str, Any] = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
NUMBER: Mapping[str, Any] = {"type": "integer"}
PORT: Mapping[str, Any] = {"type": "integer", "minimum": 0, "maximum": 65_535}
FLAG: Mapping[str, Any] = {"type": "boolean"}
DURATION: Mapping[str, Any] = {"type": "string", "examples": ["10s"]}
STATUS: Mapping[str, Any] = {"enum": ["", "passing", "warning", "critical"]}


def _body(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": {name: dict(schema) for name, schema in properties.items()}}


def _texts(*names: str) -> dict[str, Mapping[str, Any]]:
    return dict.fromkeys(names, TEXT_VALUE)


def _list(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": ["array", "null"], "items": dict(schema)}


_WEIGHTS = _body(Passing=NUMBER, Warning=NUMBER)
_ADDRESSES: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": _body(Address=TEXT_VALUE, Port=PORT),
}
_UPSTREAM = _body(
    **_texts("DestinationType", "DestinationName", "Datacenter", "LocalBindAddress"), LocalBindPort=PORT, Config=OBJECT
)
_PROXY = _body(
    **_texts("DestinationServiceName", "DestinationServiceID", "LocalServiceAddress"),
    LocalServicePort=PORT,
    Config=OBJECT,
    Upstreams=_list(_UPSTREAM),
)
_CHECK_SPEC: dict[str, Mapping[str, Any]] = {
    **_texts(
        "Name", "Notes", "HTTP", "Method", "Body", "TCP", "UDP", "GRPC", "H2PING", "TLSServerName", "AliasNode",
        "AliasService", "DockerContainerID", "Shell",
    ),
    **dict.fromkeys(("TTL", "Interval", "Timeout", "DeregisterCriticalServiceAfter"), DURATION),
    **dict.fromkeys(("TCPUseTLS", "GRPCUseTLS", "H2PingUseTLS", "TLSSkipVerify", "DisableRedirects"), FLAG),
    **dict.fromkeys(
        ("SuccessBeforePassing", "FailuresBeforeWarning", "FailuresBeforeCritical", "OutputMaxSize"), NUMBER
    ),
    "Header": {"type": "object", "additionalProperties": TEXTS},
    "Args": TEXTS,
    "Status": STATUS,
}  # fmt: skip
_SERVICE_CHECK = _body(CheckID=TEXT_VALUE, **_CHECK_SPEC)
_AGENT_CHECK = _body(**_texts("ID", "ServiceID"), **_CHECK_SPEC)
_SERVICE: dict[str, Mapping[str, Any]] = {
    **_texts("ID", "Kind", "Address"),
    "Tags": TEXTS,
    "Meta": TEXT_MAP,
    "Port": PORT,
    "EnableTagOverride": FLAG,
    "TaggedAddresses": _ADDRESSES,
    "Weights": _WEIGHTS,
    "Proxy": _PROXY,
    "Connect": _body(Native=FLAG),
}
_AGENT_SERVICE = _body(Name=TEXT_VALUE, Check=_SERVICE_CHECK, Checks=_list(_SERVICE_CHECK), **_SERVICE)
_CATALOG_CHECK = _body(**_texts("Node", "CheckID", "Name", "Notes", "Output", "ServiceID"), Status=STATUS)
_REGISTRATION = _body(
    **_texts("ID", "Node", "Address", "Datacenter"),
    TaggedAddresses=TEXT_MAP,
    NodeMeta=TEXT_MAP,
    Service=_body(Service=TEXT_VALUE, **_SERVICE),
    Check=_CATALOG_CHECK,
    Checks=_list(_CATALOG_CHECK),
    SkipNodeUpdate=FLAG,
)
_DEREGISTRATION = _body(**_texts("Node", "ServiceID", "CheckID", "Datacenter"))
_SESSION = _body(
    **_texts("Name", "Node"),
    Checks=TEXTS,
    NodeChecks=TEXTS,
    ServiceChecks=_list(_body(ID=TEXT_VALUE)),
    LockDelay={"type": ["string", "integer"]},
    Behavior={"enum": ["", "release", "delete"]},
    TTL=DURATION,
)
_QUERY = _body(
    **_texts("Name", "Session", "Token"),
    Template=_body(Type={"enum": ["", "name_prefix_match"]}, Regexp=TEXT_VALUE, RemoveEmptyTags=FLAG),
    Service=_body(
        Service=TEXT_VALUE,
        Failover=_body(NearestN=NUMBER, Datacenters=TEXTS),
        OnlyPassing=FLAG,
        IgnoreCheckIDs=TEXTS,
        Near=TEXT_VALUE,
        Tags=TEXTS,
        NodeMeta=TEXT_MAP,
        Connect=FLAG,
    ),
    DNS=_body(TTL=DURATION),
)
_CATALOG_VERB: Mapping[str, Any] = {"enum": ["get", "set", "cas", "delete", "delete-cas"]}
_KNOWN = (200, 400, 404)

ROWS: dict[str, Row] = {
    "PUT /v1/agent/force-leave/": Row(common=LOCALS, parameters=("prune", "wan"), rest="node"),
    "GET /debug/tasks": Row(common=LOCALS, answer=TEXT, statuses=(200, 404)),
    "GET /v1/agent/host": Row(common=LOCALS),
    "PUT /v1/agent/join/": Row(common=LOCALS, parameters=("wan",), rest="address"),
    "PUT /v1/agent/leave": Row(common=LOCALS),
    "GET /v1/agent/members": Row(common=LOCALS, parameters=("wan", "segment", "filter")),
    "GET /v1/agent/metrics": Row(common=LOCALS, parameters=("format",), statuses=(200, 415)),
    "GET /v1/agent/metrics/stream": Row(common=LOCALS),
    "GET /v1/agent/monitor": Row(common=LOCALS, parameters=("loglevel", "logjson"), answer=TEXT),
    "GET /v1/agent/self": Row(common=LOCALS),
    "PUT /v1/agent/token/": Row(common=LOCALS, body=JSON, schema=OBJECT, statuses=(401, 404)),
    "GET /v1/agent/version": Row(common=LOCALS),
    "GET /v1/catalog/datacenters": Row(),
    "GET /v1/catalog/node/": Row(parameters=("filter",), rest="node"),
    "GET /v1/catalog/nodes": Row(common=LISTS),
    "GET /v1/coordinate/datacenters": Row(statuses=(200, 401)),
    "GET /v1/coordinate/node/": Row(parameters=("segment",), rest="node", statuses=(200, 400, 401, 404)),
    "GET /v1/coordinate/nodes": Row(parameters=("segment",), statuses=(200, 400, 401)),
    "PUT /v1/coordinate/update": Row(
        body=JSON,
        schema={
            "type": "object",
            "properties": {
                "Node": {"type": "string"},
                "Segment": {"type": "string"},
                "Coord": {
                    "type": "object",
                    "properties": {
                        "Vec": {"type": "array", "items": {"type": "number"}},
                        "Error": {"type": "number"},
                        "Adjustment": {"type": "number"},
                        "Height": {"type": "number"},
                    },
                },
            },
        },
        statuses=(200, 400, 401),
    ),
    "PUT /v1/event/fire/": Row(parameters=("node", "service", "tag"), body=BYTES),
    "GET /v1/event/list": Row(common=LOCALS, parameters=("name", "node", "service", "tag", "index", "wait")),
    "GET /v1/health/node/": Row(parameters=("filter",), rest="node"),
    "GET /v1/health/state/": Row(common=LISTS, rest="state"),
    "GET /v1/kv/": Row(parameters=("recurse", "keys", "raw", "separator"), rest="key", statuses=(200, 400, 404)),
    "PUT /v1/kv/": Row(parameters=("flags", "cas", "acquire", "release"), body=BYTES, rest="key"),
    "DELETE /v1/kv/": Row(parameters=("recurse", "cas"), rest="key"),
    "GET /v1/operator/autopilot/configuration": Row(),
    "PUT /v1/operator/autopilot/configuration": Row(
        parameters=("cas",),
        body=JSON,
        schema={
            "type": "object",
            "properties": {
                "CleanupDeadServers": {"type": "boolean"},
                "LastContactThreshold": {"type": "string"},
                "MaxTrailingLogs": {"type": "integer"},
                "ServerStabilizationTime": {"type": "string"},
            },
        },
    ),
    "GET /v1/operator/autopilot/health": Row(),
    "GET /v1/operator/autopilot/state": Row(),
    "GET /v1/operator/keyring": Row(parameters=("relay-factor",)),
    "POST /v1/operator/keyring": Row(parameters=("relay-factor",), body=JSON, schema=KEY_BODY),
    "PUT /v1/operator/keyring": Row(parameters=("relay-factor",), body=JSON, schema=KEY_BODY),
    "DELETE /v1/operator/keyring": Row(parameters=("relay-factor",), body=JSON, schema=KEY_BODY),
    "GET /v1/operator/raft/configuration": Row(),
    "DELETE /v1/operator/raft/peer": Row(parameters=("id", "address")),
    "POST /v1/operator/raft/transfer-leader": Row(parameters=("id",)),
    "PUT /v1/operator/raft/transfer-leader": Row(parameters=("id",)),
    "GET /v1/operator/usage": Row(),
    "GET /v1/snapshot": Row(answer="application/x-gzip"),
    "PUT /v1/snapshot": Row(body=BYTES),
    "GET /v1/status/leader": Row(),
    "GET /v1/status/peers": Row(),
    "PUT /v1/txn": Row(
        common=(*READS,),
        body=JSON,
        schema={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "KV": {
                        "type": "object",
                        "properties": {
                            "Verb": {
                                "enum": [
                                    "set", "cas", "lock", "unlock", "get", "get-tree", "check-index", "check-session",
                                    "check-not-exists", "delete", "delete-tree", "delete-cas",
                                ],
                            },
                            "Key": {"type": "string"},
                            "Value": {"type": ["string", "null"]},
                            "Flags": {"type": "integer"},
                            "Index": {"type": "integer"},
                            "Session": {"type": "string"},
                        },
                    },
                    "Node": _body(Verb=_CATALOG_VERB, Node=_body(**_texts("ID", "Node", "Address"), Meta=TEXT_MAP)),
                    "Service": _body(
                        Verb=_CATALOG_VERB, Node=TEXT_VALUE, Service=_body(Service=TEXT_VALUE, **_SERVICE)
                    ),
                    "Check": _body(Verb=_CATALOG_VERB, Check=_CATALOG_CHECK),
                },
            },
        },
        statuses=(200, 400, 409),
    ),
    "PUT /v1/agent/check/deregister/": Row(common=LOCALS, rest="check_id", statuses=_KNOWN),
    "PUT /v1/agent/check/fail/": Row(common=LOCALS, parameters=("note",), rest="check_id", statuses=_KNOWN),
    "PUT /v1/agent/check/pass/": Row(common=LOCALS, parameters=("note",), rest="check_id", statuses=_KNOWN),
    "PUT /v1/agent/check/register": Row(common=LOCALS, body=JSON, schema=_AGENT_CHECK, statuses=_KNOWN),
    "PUT /v1/agent/check/update/": Row(
        common=LOCALS,
        body=JSON,
        schema=_body(Status=STATUS, Output=TEXT_VALUE),
        rest="check_id",
        statuses=_KNOWN,
    ),
    "PUT /v1/agent/check/warn/": Row(common=LOCALS, parameters=("note",), rest="check_id", statuses=_KNOWN),
    "GET /v1/agent/checks": Row(common=LOCALS, parameters=("filter",)),
    "GET /v1/agent/health/service/id/": Row(
        common=LOCALS, parameters=("format",), rest="service_id", statuses=(*_KNOWN, 429, 503)
    ),
    "GET /v1/agent/health/service/name/": Row(
        common=LOCALS, parameters=("format",), rest="service", statuses=(*_KNOWN, 429, 503)
    ),
    "PUT /v1/agent/maintenance": Row(common=LOCALS, parameters=("enable", "reason")),
    "PUT /v1/agent/reload": Row(common=LOCALS),
    "GET /v1/agent/service/": Row(common=LOCALS, parameters=("hash", "wait"), rest="service_id", statuses=_KNOWN),
    "PUT /v1/agent/service/deregister/": Row(common=LOCALS, rest="service_id", statuses=_KNOWN),
    "PUT /v1/agent/service/maintenance/": Row(
        common=LOCALS, parameters=("enable", "reason"), rest="service_id", statuses=_KNOWN
    ),
    "PUT /v1/agent/service/register": Row(
        common=LOCALS, parameters=("replace-existing-checks",), body=JSON, schema=_AGENT_SERVICE
    ),
    "GET /v1/agent/services": Row(common=LOCALS, parameters=("filter",)),
    "GET /v1/catalog/connect/": Row(common=LISTS, parameters=("tag",), rest="service"),
    "PUT /v1/catalog/deregister": Row(body=JSON, schema=_DEREGISTRATION),
    "GET /v1/catalog/node-services/": Row(parameters=("filter",), rest="node"),
    "PUT /v1/catalog/register": Row(body=JSON, schema=_REGISTRATION),
    "GET /v1/catalog/service/": Row(common=LISTS, parameters=("tag",), rest="service"),
    "GET /v1/catalog/services": Row(parameters=("node-meta", "filter", "peer")),
    "GET /v1/health/checks/": Row(common=LISTS, rest="service"),
    "GET /v1/health/connect/": Row(common=LISTS, parameters=("tag", "passing"), rest="service"),
    "GET /v1/health/service/": Row(common=LISTS, parameters=("tag", "passing"), rest="service"),
    "GET /v1/internal/ui/node/": Row(rest="node", statuses=_KNOWN),
    "GET /v1/internal/ui/nodes": Row(parameters=("filter",)),
    "GET /v1/internal/ui/services": Row(parameters=("filter",)),
    "GET /v1/internal/ui/sessions": Row(),
    "POST /v1/query": Row(body=JSON, schema=_QUERY),
    "GET /v1/query": Row(),
    "GET /v1/query/": Row(parameters=("near", "limit", "connect"), rest="query", statuses=_KNOWN),
    "PUT /v1/query/": Row(body=JSON, schema=_QUERY, rest="query", statuses=_KNOWN),
    "DELETE /v1/query/": Row(rest="query", statuses=_KNOWN),
    "OPTIONS /v1/query/": Row(common=(), rest="query"),
    "PUT /v1/session/create": Row(body=JSON, schema=_SESSION),
    "PUT /v1/session/destroy/": Row(rest="session"),
    "GET /v1/session/info/": Row(rest="session"),
    "GET /v1/session/list": Row(),
    "GET /v1/session/node/": Row(rest="node"),
    "PUT /v1/session/renew/": Row(rest="session", statuses=_KNOWN),
}  # fmt: skip
"""`METHOD path` -> what it takes. Paths under /v1/acl are all alike while access control is off."""
