"""`service`, `services`, `check`, `checks` of configuration files, and what is said about checks.

Source: agent specification, sections 2 and 3.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from agent.config.runtime import LocalSettings
from agent.local.definitions import (
    CheckDefinition,
    Definitions,
    ServiceDefinition,
    check_from_file,
    service_from_file,
)
from agent.local.state import OutputSettings
from base.errors import MeshError
from base.secret import HIDDEN

DEFINING = ("service", "services", "check", "checks")
SCRIPTS_TEXT = (
    "whoever can reach the HTTP API can have this agent run programs; enable_local_script_checks allows them to"
    " configuration files only"
)
Defined = TypeVar("Defined", ServiceDefinition, CheckDefinition)
Tell = Callable[[str, str], None]


def local_settings(values: Mapping[str, Any], *, complain: Tell, warn: Tell) -> LocalSettings:
    """Return what files say of services and checks; what is wrong is told to `complain` with the key it is under."""
    services = _defined(values, ("service", "services"), service_from_file, complain)
    checks = _defined(values, ("check", "checks"), check_from_file, complain)
    _tell_of_doubles("services", [row.service.service_id for row in services], warn)
    ids = [spec.check_id for row in services for spec in row.checks] + [row.spec.check_id for row in checks]
    _tell_of_doubles("checks", ids, warn)
    if values["enable_script_checks"]:
        warn("enable_script_checks", SCRIPTS_TEXT)
    return LocalSettings(
        definitions=Definitions(
            services=list({row.service.service_id: row for row in services}.values()),
            checks=list({row.spec.check_id: row for row in checks}.values()),
        ),
        outputs=OutputSettings(
            update_interval_s=values["check_update_interval"],
            discard=values["discard_check_output"],
            bytes_max=values["check_output_max_size"],
        ),
        scripts_from_anywhere=values["enable_script_checks"],
        scripts_from_files=values["enable_local_script_checks"],
        own_tls=values["enable_agent_tls_for_checks"],
    )


def _defined(
    values: Mapping[str, Any], paths: tuple[str, ...], read: Callable[[Mapping[str, object]], Defined], complain: Tell
) -> list[Defined]:
    found: list[Defined] = []
    for path in paths:
        for row in values[path]:
            try:
                found.append(read(row))
            except MeshError as error:
                complain(path, f"{_called(row)}: {error}")
    return found


def _called(row: Mapping[str, object]) -> str:
    """Return what the reader of a complaint knows a definition by."""
    name = row.get("id") or row.get("name") or row.get("ID") or row.get("Name")
    return repr(name)[:60] if isinstance(name, str) else "one without a name"


def _tell_of_doubles(path: str, ids: list[str], warn: Tell) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            warn(path, f"{name!r} is defined twice: the later one counts")
        seen.add(name)


def without_secrets(value: object) -> object:
    """Return a definition as anybody may see it: tokens, what a check sends, and the secrets of its URL are hidden."""
    if isinstance(value, dict):
        return {name: _shown(name.lower(), item) for name, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def _shown(name: str, item: object) -> object:
    if name in ("token", "body") and item:
        return HIDDEN
    if name == "header" and isinstance(item, dict | list):
        rows = item if isinstance(item, list) else [item]
        found = [dict.fromkeys(row, HIDDEN) if isinstance(row, dict) else HIDDEN for row in rows]
        return found if isinstance(item, list) else found[0]
    return _without_credentials(item) if name == "http" and isinstance(item, str) else without_secrets(item)


def _without_credentials(url: str) -> str:
    """Return a URL without what often is secret in one: the user's part and the query."""
    head, question, _ = url.partition("?")
    scheme, separator, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{HIDDEN if user else ''}{at}{host}{slash}{path}{question}{HIDDEN if question else ''}"
