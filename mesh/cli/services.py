"""`mesh services register | deregister`. Source: command-line specification, later commands.

Services come from files as an agent's configuration has them, or from flags.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from base.errors import InvalidRequest, MeshError
from mesh.cli.catalog import pairs_of
from mesh.cli.context import Context
from mesh.shapes import CHECK_SPEC, PROXY, SERVICE, UPSTREAM

DEFINITION_BYTES_MAX = 1 << 20


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


_NAMES = {
    _plain(name): name
    for name in (
        *SERVICE.names,
        *CHECK_SPEC.names,
        *PROXY.names,
        *UPSTREAM.names,
        "Check",
        "Checks",
        "Name",
        "ID",
        "Passing",
        "Warning",
        "Native",
        "SidecarService",
        "Token",
    )
}
"""How the API names what files name in small letters."""
_KEPT = frozenset({"meta", "header", "config", "taggedaddresses", "expose", "meshgateway", "transparentproxy"})
"""What is in these has names of its own."""


def register(context: Context) -> int:
    """Give services to the agent."""
    definitions = _from_flags(context) if not context.given.arguments else list(_from_files(context.given.arguments))
    for definition in definitions:
        name = str(definition.get("Name") or "")
        try:
            context.client.agent.register_as_written(definition)
        except MeshError as error:
            context.output.error(f'Error registering service "{name}": {error}')
            return 1
        context.output.line(f"Registered service: {name}")
    return 0


def deregister(context: Context) -> int:
    """Take services away from the agent."""
    service_id = context.given.text("id")
    if bool(service_id) == bool(context.given.arguments):
        context.output.error("Service deregister requires exactly one of -id and files.")
        return 1
    ids = [service_id]
    if not service_id:
        ids = [str(each.get("ID") or each.get("Name") or "") for each in _from_files(context.given.arguments)]
    for each in ids:
        try:
            context.client.agent.deregister(each)
        except MeshError as error:
            context.output.error(f'Error deregistering service "{each}": {error}')
            return 1
        context.output.line(f"Deregistered service: {each}")
    return 0


def _from_flags(context: Context) -> list[dict[str, Any]]:
    given = context.given
    if not given.text("name"):
        raise InvalidRequest("Service registration requires at least one argument or flags.")
    row: dict[str, Any] = {"Name": given.text("name")}
    optional = {
        "ID": given.text("id"),
        "Address": given.text("address"),
        "Port": given.number("port"),
        "Tags": given.texts("tag"),
        "Meta": pairs_of(given.texts("meta")),
        "Kind": given.text("kind"),
    }
    row.update({name: value for name, value in optional.items() if value})
    return [row]


def _from_files(paths: list[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        body = _parsed(path)
        found = [*_listed(body.get("service")), *_listed(body.get("services"))]
        if not found:
            raise InvalidRequest(f"{path}: no service is defined")
        for each in found:
            definition = _named(each)
            if not isinstance(definition, dict) or not definition.get("Name"):
                raise InvalidRequest(f"{path}: a service without a name")
            yield definition


def _parsed(path: str) -> Mapping[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(DEFINITION_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"Failed to read {os.path.basename(path)}: {error}") from error
    if len(text) > DEFINITION_BYTES_MAX:
        raise InvalidRequest(f"{path} is larger than {DEFINITION_BYTES_MAX} bytes")
    try:
        if path.endswith(".json"):
            body = json.loads(text)
        else:
            from base.hcl import parse

            body = parse(text)
    except (ValueError, RecursionError, InvalidRequest) as error:
        raise InvalidRequest(f"{path}: {error}") from error
    if not isinstance(body, dict):
        raise InvalidRequest(f"{path}: expected a map")
    return body


def _listed(value: Any) -> list[Any]:
    """Return blocks of a name, however HCL or JSON had them; a block may carry the name of its service as a label."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _named(value: Any) -> Any:
    """Return a value with the names of the API; raises InvalidRequest for a name nobody knows."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, dict):
        return value
    row: dict[str, Any] = {}
    for name, item in value.items():
        known = _NAMES.get({"service": "name", "scriptargs": "args"}.get(_plain(name), _plain(name)))
        if known is None:
            raise InvalidRequest(f"invalid config key {name}")
        row[known] = _merged(item) if _plain(name) in _KEPT else _named(_merged(item) if known != "Checks" else item)
    return row


def _merged(item: Any) -> Any:
    """Return the one block of a list that HCL made of it."""
    return item[0] if isinstance(item, list) and len(item) == 1 and isinstance(item[0], dict) else item
