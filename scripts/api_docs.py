#!/usr/bin/env python3
"""Print docs/api/ from the registries of HTTP routes and RPC methods; with --write, write it."""

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "api"
sys.path.insert(0, str(ROOT))

import server.endpoints  # noqa: E402
from acl.access import Access, Need  # noqa: E402
from agent.http import endpoints  # noqa: E402
from agent.http.describing import description  # noqa: E402
from agent.http.registry import ROUTES, Endpoint, Route  # noqa: E402
from agent.http.settings import HTTPLimits  # noqa: E402
from server.endpoints.registry import METHODS, STREAMS  # noqa: E402

for _module in pkgutil.iter_modules(server.endpoints.__path__):
    importlib.import_module(f"server.endpoints.{_module.name}")

NOTICE = "<!-- Made by scripts/api_docs.py from the registries. Do not edit. -->"

FRONT = """# API

{notice}

* [HTTP API](http.md): what every agent answers to clients. Paths, parameters, headers and texts are Consul's;
  [compatibility](../compatibility.md) tells what differs.
* [OpenAPI](openapi.json): the same for programs; tests send what it allows, and more, to a real server.
* [RPC methods](rpc.md): what servers answer to agents and to one another.
"""

HTTP_INTRODUCTION = """# HTTP API

{notice}

Every agent answers on `ports.http` (8500), a server's embedded agent too. Bodies are JSON, errors plain text. Names of
fields in request bodies match in any case; unknown fields and parameters are ignored, and `null` counts as absent.

## Parameters of all endpoints

| parameter | meaning |
| --- | --- |
| `pretty` | JSON indented by four spaces |
| `dc`, `datacenter` | who answers, by default the agent's own; an unknown one is 500 `No path to datacenter`; what \
the agent answers by itself takes no notice |
| `ns`, `partition` | tolerated when empty or `default`, else 400 |
| `token` | wins over the headers `X-Consul-Token` and `Authorization: Bearer` |

## Parameters of reads

| parameter | meaning |
| --- | --- |
| (none) | the leader answers, under its lease: linearizable as long as clocks run at rates within 10 % of one another |
| `consistent` | the leader confirms its leadership by a fresh round first |
| `stale` | any server answers from what it has |
| `max_stale` | `stale`, but asked again of the leader if the answer is older than this duration |
| `index` | blocks until the index of what is read exceeds this |
| `wait` | how long a blocking query waits: a duration (`10s`, `1500ms`), 5 minutes by default, 10 at most |

## Headers of answers

| header | meaning |
| --- | --- |
| `X-Consul-Index` | index of what was read, never 0; also on 404 |
| `X-Consul-KnownLeader` | whether the server that answered knows a leader |
| `X-Consul-LastContact` | ms since that server heard of the leader |
| `X-Consul-Effective-Consistency` | catalog and health: `leader`, `consistent` or `stale`, as it was really read |
| `X-Consul-Query-Backend` | catalog and health: `blocking-query` |
| `X-Consul-Default-ACL-Policy` | `allow`, on every answer |
| `X-Mesh-Outcome` | errors of writes: `refused` (nothing happened or will) or `unknown` (it may have, or may yet) |

## Limits

A request over a limit is answered with the status and the connection is closed.

| limit | value | answer |
| --- | --- | --- |
| head | {head} bytes | 431 |
| path and query | {url} bytes | 414 |
| a value (`limits.kv_max_value_size`) | {value} bytes | 413 |
| a transaction (`limits.txn_max_req_len`) | {txn} bytes | 413 |
| other bodies | {body} bytes | 413 |
| connections of one client (`limits.http_max_conns_per_client`) | {per_client} | 429 |
| all connections | {connections} | closed |
| head, body, idle, unread answer | {head_s:g}, {body_s:g}, {idle_s:g}, {write_s:g} s | 408 or closed |

## Endpoints
"""

RPC_INTRODUCTION = """# RPC methods

{notice}

READ methods follow the consistency modes and can
block; WRITE methods run on the leader and are repeated only where they certainly did not happen; LEADER methods ask
the leader for something outside of the state machine; LOCAL ones are answered by whoever is asked.

| method | kind | access |
| --- | --- | --- |
"""


def access_text(access: Access) -> str:
    """Return what a row says of access."""
    if access.need is Need.NOBODY:
        return "none"
    if access.need is Need.EACH:
        return "for each operation " + ", ".join(access_text(kind) for kind in access.kinds)
    return f"`{access.need}`" + (f" on `{access.field}`" if access.field else "")


def endpoint_text(route: Route, endpoint: Endpoint, methods: list[str]) -> str:
    """Return the paragraph of one handler."""
    path = route.path + ("<rest>" if route.path.endswith("/") else "")
    doc = inspect.cleandoc(endpoint.handler.__doc__ or "")
    return f"### {' or '.join(methods)} `{path}`\n\nAccess: {access_text(endpoint.access)}.\n\n{doc}\n"


def http_page() -> str:
    """Return docs/api/http.md."""
    limits = HTTPLimits()
    parts = [
        HTTP_INTRODUCTION.format(
            notice=NOTICE,
            head=limits.head_bytes_max,
            url=limits.url_bytes_max,
            value=limits.value_bytes_max,
            txn=limits.txn_bytes_max,
            body=limits.body_bytes_max,
            per_client=limits.connections_per_client_max,
            connections=limits.connections_max,
            head_s=limits.head_s,
            body_s=limits.body_s,
            idle_s=limits.idle_s,
            write_s=limits.write_s,
        )
    ]
    for path in sorted(ROUTES):
        route = ROUTES[path]
        handlers: dict[object, list[str]] = {}
        for method, endpoint in route.endpoints.items():
            handlers.setdefault(endpoint.handler, []).append(method)
        parts += [endpoint_text(route, route.endpoints[methods[0]], methods) for methods in handlers.values()]
    return "\n".join(parts)


def rpc_page() -> str:
    """Return docs/api/rpc.md."""
    rows = [
        f"| `{name}` | {method.kind.name} | {access_text(method.access)} |" for name, method in sorted(METHODS.items())
    ]
    rows += [f"| `{name}` | stream | {access_text(stream.access)} |" for name, stream in sorted(STREAMS.items())]
    return RPC_INTRODUCTION.format(notice=NOTICE) + "\n".join(rows) + "\n"


def openapi() -> str:
    """Return docs/api/openapi.json."""
    return json.dumps(description(), indent=2) + "\n"


def pages() -> dict[str, str]:
    """Return all pages by file name."""
    assert endpoints.__all__  # importing it registered the routes
    return {
        "README.md": FRONT.format(notice=NOTICE),
        "http.md": http_page(),
        "rpc.md": rpc_page(),
        "openapi.json": openapi(),
    }


def main() -> int:
    """Print or write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {FOLDER.relative_to(ROOT)}/")
    write = parser.parse_args().write
    for name, text in pages().items():
        if write:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
