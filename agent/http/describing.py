"""The OpenAPI description, made of the table of routes and of what each of them takes.

What each route takes stands in described.py. A route without a row there is described by what all routes have in
common; a test names those that lack one.
"""

import inspect
from typing import Any

from acl.access import Need
from agent.http.described import ACL_OFF, JSON, LOCALS, OBJECT, READS, ROWS, TEXT, WRITES, Row
from agent.http.registry import ROUTES, Endpoint, Route
from base.version import API_VERSION

PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "acquire": ({"type": "string"}, "Session that takes the lock."),
    "address": ({"type": "string"}, "RPC address of a server."),
    "cached": ({"type": "string"}, "Present: the agent's cache may answer."),
    "cas": ({"type": "integer", "minimum": 0}, "Only if the ModifyIndex is this; 0: only if there is none."),
    "consistent": ({"type": "string"}, "Present: the leader confirms that it leads."),
    "connect": ({"type": "string"}, "Present: only what can be reached by way of proxies."),
    "dc": ({"type": "string"}, "Datacenter to ask."),
    "expanded": ({"type": "string"}, "Present: with what is linked."),
    "filter": ({"type": "string"}, "Expression that selects rows, where the route understands filters."),
    "flags": ({"type": "integer", "minimum": 0}, "A number to keep with the value."),
    "force": ({"type": "string"}, "Present: whatever the state."),
    "format": ({"type": "string"}, "`prometheus` or `text`, where the route has another form."),
    "hash": ({"type": "string"}, "Blocks until the hash of the content is another."),
    "id": ({"type": "string"}, "Id of a server."),
    "index": ({"type": "integer", "minimum": 0}, "Blocks until the index exceeds this."),
    "keys": ({"type": "string"}, "Present: keys only."),
    "leader": ({"type": "string"}, "Present: not stale, whatever the agent's configuration."),
    "limit": ({"type": "integer"}, "How many rows at most."),
    "logjson": ({"type": "string"}, "Present: lines as JSON."),
    "loglevel": ({"type": "string"}, "TRACE, DEBUG, INFO, WARN or ERR."),
    "max_stale": ({"type": "string"}, "A duration: stale, unless the answer is older."),
    "merge-central-config": ({"type": "string"}, "Present: with settings that hold for all services."),
    "name": ({"type": "string"}, "Only what has this name."),
    "near": ({"type": "string"}, "Nearest to this node first; _agent: the agent's own."),
    "node": ({"type": "string"}, "Expression that node names must match."),
    "node-meta": ({"type": "string"}, "key:value that nodes must have; may be repeated."),
    "note": ({"type": "string"}, "Text to keep as the output of the check."),
    "ns": ({"type": "string"}, "Empty or default."),
    "partition": ({"type": "string"}, "Empty or default."),
    "passing": ({"type": "string"}, "Present: only instances whose checks all pass."),
    "pretty": ({"type": "string"}, "Present: indented JSON."),
    "peer": ({"type": "string"}, "A peer; there are none, so nothing is found for one."),
    "prune": ({"type": "string"}, "Present: forget it at once."),
    "raw": ({"type": "string"}, "Present: the bare value."),
    "reason": ({"type": "string"}, "Why."),
    "enable": ({"type": "string"}, "true or false."),
    "recurse": ({"type": "string"}, "Present: everything under the prefix."),
    "relay-factor": ({"type": "integer"}, "How many nodes answers are sent through besides, 0 to 5."),
    "release": ({"type": "string"}, "Session that gives the lock back."),
    "replace-existing-checks": ({"type": "string"}, "Present: checks that are not named again go."),
    "segment": ({"type": "string"}, "Only the default one exists."),
    "separator": ({"type": "string"}, "Keys are cut behind it."),
    "service": ({"type": "string"}, "Expression that services must match."),
    "stale": ({"type": "string"}, "Present: any server answers from what it has."),
    "tag": ({"type": "string"}, "Tag that instances must have; may be repeated."),
    "token": ({"type": "string"}, "Wins over the header X-Consul-Token."),
    "wait": ({"type": "string"}, "How long a blocking query waits, a duration such as 10s."),
    "wan": ({"type": "string"}, "Not empty: of the servers of all datacenters."),
}
"""Every query parameter: its schema and one line of text. Flags count when present, whatever their value."""


COMMON_STATUSES: dict[int, str] = {
    403: "Blocked by the configuration, or not allowed.",
    405: "The path does not know the method.",
    413: "The body is too large.",
    429: "Too many connections, or calls.",
    500: "The cluster has no leader, or refused.",
}


def row_of(method: str, path: str) -> Row | None:
    """Return the row of a route, None where it has none."""
    found = ROWS.get(f"{method} {path}")
    if found is None and path.startswith("/v1/acl/"):
        return Row(common=LOCALS, body=JSON if method in ("PUT", "POST") else None, schema=OBJECT, statuses=ACL_OFF)
    return found


def undescribed() -> list[str]:
    """Return `METHOD path` of every route without a row."""
    return [
        f"{method} {path}"
        for path, route in sorted(ROUTES.items())
        for method in route.endpoints
        if row_of(method, path) is None
    ]


def description() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of all routes; `agent.http.endpoints` must have been imported."""
    paths: dict[str, dict[str, Any]] = {}
    for path, route in sorted(ROUTES.items()):
        for method, endpoint in route.endpoints.items():
            row = row_of(method, path) or _generic(method)
            shown = f"{path}{{{row.rest}}}" if path.endswith("/") else path
            paths.setdefault(shown, {})[method.lower()] = _operation(method, route, endpoint, row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mesh agent",
            "version": API_VERSION,
            "description": "What every agent answers to clients, in Consul's API.",
        },
        "paths": paths,
        "components": {
            "parameters": {name: _parameter(name) for name in sorted(PARAMETERS)},
            "responses": {
                str(status): {"description": text, "content": {TEXT: {}}} for status, text in COMMON_STATUSES.items()
            },
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Consul-Token"}},
        },
    }


def _generic(method: str) -> Row:
    return Row(body=JSON if method in ("PUT", "POST") else None)


def _operation(method: str, route: Route, endpoint: Endpoint, row: Row) -> dict[str, Any]:
    doc = inspect.cleandoc(endpoint.handler.__doc__ or "")
    common = row.common if row.common is not None else WRITES if endpoint.is_write else READS
    parameters: list[dict[str, Any]] = [
        {"$ref": f"#/components/parameters/{name}"} for name in dict.fromkeys((*row.parameters, *common))
    ]
    if route.path.endswith("/"):
        schema = {"type": "string", "minLength": 1}
        parameters.insert(0, {"name": row.rest, "in": "path", "required": True, "schema": schema})
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()} {route.path}",
        "tags": [route.path.removeprefix("/v1").split("/")[1]],
        "summary": doc.partition("\n")[0],
        "description": doc,
        "parameters": parameters,
        "responses": _responses(row),
        "x-access": str(endpoint.access.need),
    }
    if endpoint.access.need is not Need.NOBODY:
        operation["security"] = [{"token": []}, {}]
    if row.body is not None:
        content = {"schema": dict(row.schema)} if row.body == JSON else {"schema": {"type": "string"}}
        operation["requestBody"] = {"content": {row.body: content}}
    return operation


def _parameter(name: str) -> dict[str, Any]:
    schema, text = PARAMETERS[name]
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _responses(row: Row) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in COMMON_STATUSES
    }
    for status in row.statuses:
        text = "Done." if status == 200 else "Refused, or not there."
        responses[str(status)] = {"description": text, "content": {row.answer if status == 200 else TEXT: {}}}
    return dict(sorted(responses.items()))
