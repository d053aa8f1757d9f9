"""`mesh watch`: prints what a view shows, or runs a program at each change.

Source: command-line specification, watch.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from base.errors import InvalidRequest
from mesh.call import Call, read_call
from mesh.catalog import selection
from mesh.cli.child import command_line
from mesh.cli.context import Context
from mesh.query import Answer, Read
from mesh.watch import watch as watch_view

Ask = Callable[[Read], Answer[Any]]
INDENT_COUNT = 4


def watch(context: Context) -> int:
    """Print once, or run the program again and again until it fails."""
    given = context.given
    call = _call(context)
    words = given.arguments
    program = command_line(words, shell=given.switch("shell") or not given.is_given("shell")) if words else []

    def ask(read: Read) -> Answer[Any]:
        found: Answer[Any] = context.client.carry(call(read))
        return found

    context.client.agent.self()  # whoever cannot be reached at all is an error, later troubles are waited out
    for answer in watch_view(context.client, ask, context.read()):
        if not program:
            context.output.data(
                json.dumps(answer.value, indent=INDENT_COUNT, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
            )
            return 0
        code = _run(context, program, answer)
        if code:
            context.output.error(f"Error executing handler: exit status {code}")
            return 1
    return 0


def _run(context: Context, program: list[str], answer: Answer[Any]) -> int:
    body = json.dumps(answer.value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    environment = {**context.environment, "CONSUL_INDEX": str(answer.index)}
    try:
        return subprocess.run(program, input=body, env=environment, check=False).returncode  # noqa: S603  # as asked
    except OSError as error:
        raise InvalidRequest(f"Error executing handler: {error}") from error


def _call(context: Context) -> Callable[[Read], Call[Answer[Any]]]:
    """Return the view that the flags name; raises InvalidRequest."""
    given = context.given
    kind = given.text("type")
    if not kind:
        raise InvalidRequest("Watch type must be specified")
    if kind.startswith("connect_"):
        raise InvalidRequest(f"Type {kind} is not supported in the CLI tool")
    if kind not in _VIEWS:
        raise InvalidRequest(f"Unsupported watch type: {kind}")
    needed, build = _VIEWS[kind]
    if needed and not given.text(needed):
        raise InvalidRequest(f"Must specify a {needed}")
    if kind == "checks" and given.text("service") and given.text("state"):
        raise InvalidRequest("Cannot specify service and state")
    values = {name: given.text(name) for name in ("key", "prefix", "service", "tag", "state", "name")}
    path, parameters = build(values)
    if kind == "service" and given.switch("passingonly"):
        parameters = {**parameters, "passing": "1"}
    first = kind == "key"
    return lambda read: read_call(
        path, (lambda value: value[0] if value else None) if first else _as_it_is, read, parameters, missing=True
    )


def _as_it_is(value: Any) -> Any:
    return value


Built = tuple[str, Mapping[str, Any]]
_VIEWS: dict[str, tuple[str, Callable[[Mapping[str, str]], Built]]] = {
    "key": ("key", lambda given: (f"/v1/kv/{given['key']}", {})),
    "keyprefix": ("prefix", lambda given: (f"/v1/kv/{given['prefix']}", {"recurse": ""})),
    "services": ("", lambda _: ("/v1/catalog/services", {})),
    "nodes": ("", lambda _: ("/v1/catalog/nodes", {})),
    "service": (
        "service",
        lambda given: (
            f"/v1/health/service/{given['service']}",
            selection(tags=[given["tag"]] if given["tag"] else []),
        ),
    ),
    "checks": (
        "",
        lambda given: (
            f"/v1/health/checks/{given['service']}"
            if given["service"]
            else f"/v1/health/state/{given['state'] or 'any'}",
            {},
        ),
    ),
    "event": ("", lambda given: ("/v1/event/list", {"name": given["name"]} if given["name"] else {})),
}
"""Type -> the flag it needs, and what it asks for."""
