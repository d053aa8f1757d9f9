"""`mesh debug`: one archive with what somebody needs who looks for a fault. Source: command-line specification.

Nothing secret goes in: the agent hides its secrets itself, and what is named like one is hidden here once more. The log
is followed by a thread of its own, since it says something or nothing; it ends with the command.
"""

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from base.durations import parse_duration_s
from base.errors import InvalidRequest, MeshError
from mesh.cli.context import Context

if TYPE_CHECKING:
    from mesh.agent import Agent
    from mesh.call import Sync
    from mesh.client import Client

CAPTURES = ("agent", "host", "members", "metrics", "logs", "tasks")
DURATION_S_MIN, DURATION_S_MAX = 1.0, 3600.0
INTERVAL_S_MIN = 1.0
LOG_BYTES_MAX = 64 * 1024 * 1024
PRIVATE = 0o600
LOG_LEVEL = "DEBUG"
SECRET_ENDS = ("token", "secret", "password", "encrypt", "authorization", "_key")
HIDDEN = "hidden"


class LogFollower:
    """Takes in the agent's log until `stop`."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._parts: list[bytes] = []
        self._stopped = threading.Event()
        self.error = ""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        bytes_count = 0
        try:
            with self._client.monitor(level=LOG_LEVEL) as lines:
                for line in lines:
                    if self._stopped.is_set() or bytes_count > LOG_BYTES_MAX:
                        return
                    self._parts.append(line)
                    bytes_count += len(line) + 1
        except MeshError as error:
            self.error = str(error)

    def stop(self) -> bytes:
        """Take in nothing more, and return what came."""
        self._stopped.set()
        return b"".join(line + b"\n" for line in list(self._parts))


def debug(context: Context) -> int:
    """Collect for a while, then write the archive."""
    given = context.given
    duration_s = _seconds(given.text("duration", "2m"), "duration", DURATION_S_MIN, DURATION_S_MAX)
    interval_s = _seconds(given.text("interval", "30s"), "interval", INTERVAL_S_MIN, DURATION_S_MAX)
    wanted = given.texts("capture") or list(CAPTURES)
    unknown = [name for name in wanted if name not in CAPTURES]
    if unknown:
        raise InvalidRequest(f"capture: {unknown[0]!r} is none of {', '.join(CAPTURES)}")
    begun = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    path = given.text("output", f"consul-debug-{begun}") + ".tar.gz"
    if os.path.exists(path):
        raise InvalidRequest(f"output: {path} exists already")
    agent = context.client.agent
    about = agent.self()  # also tells whether there is an agent at all, before anybody waits
    context.output.line("Starting debugger and capturing static information...")
    context.output.line(f"     Agent Version: '{(about.get('Config') or {}).get('Version', '')}'")
    context.output.line(f"          Interval: '{interval_s:g}s'")
    context.output.line(f"          Duration: '{duration_s:g}s'")
    context.output.line(f"            Output: '{path}'")
    context.output.line(f"           Capture: '{', '.join(wanted)}'")
    files, errors = _collect(context, agent, wanted, duration_s, interval_s)
    index = {"Version": 1, "Captured": wanted, "Begun": begun, "DurationSeconds": duration_s, "Errors": errors}
    files["index.json"] = _json(index)
    try:
        _write(path, files)
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from error
    context.output.line(f"Saved debug archive: {path}")
    return 0


def _seconds(text: str, name: str, least: float, most: float) -> float:
    try:
        seconds = parse_duration_s(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}") from error
    if not least <= seconds <= most:
        raise InvalidRequest(f"{name} must be from {least:g}s to {most:g}s")
    return seconds


def _collect(
    context: Context, agent: "Agent[Sync]", wanted: list[str], duration_s: float, interval_s: float
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return files by name, and what could not be had."""
    files: dict[str, bytes] = {}
    errors: dict[str, str] = {}

    def take(name: str, file: str, read: Callable[[], bytes]) -> None:
        if name in wanted:
            try:
                files[file] = files.get(file, b"") + read()
            except MeshError as error:
                errors[name] = str(error)

    log = LogFollower(context.client)
    if "logs" in wanted:
        log.start()
    take("agent", "agent.json", lambda: _json(agent.self()))
    take("host", "host.json", lambda: _json(agent.host()))
    take("members", "members.json", lambda: _json([_plain(member) for member in agent.members()]))
    take("tasks", "tasks.txt", lambda: agent.tasks().encode())
    end_s = time.monotonic() + duration_s
    while True:
        take("metrics", "metrics.jsonl", lambda: json.dumps(agent.metrics()).encode() + b"\n")
        left_s = end_s - time.monotonic()
        if left_s <= 0 or context.client.pause(min(interval_s, left_s)):
            break
    take("tasks", "tasks-end.txt", lambda: agent.tasks().encode())
    if "logs" in wanted:
        files["consul.log"] = log.stop()
        if log.error:
            errors["logs"] = log.error
    return files, errors


def _plain(member: Any) -> dict[str, Any]:
    tags = member.tags
    return {"Name": member.name, "Addr": member.address, "Port": member.port, "Tags": tags, "Status": member.status}


def _json(value: object) -> bytes:
    return json.dumps(without_secrets(value), indent=2, default=str).encode() + b"\n"


def without_secrets(value: object) -> object:
    """Return `value` with every text, and every list, hidden that has a name like that of a secret."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if held and isinstance(held, str | list) and _is_secret(str(key)) else without_secrets(held)
            for key, held in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(held) for held in value]
    return value


def _is_secret(name: str) -> bool:
    plain = name.lower()
    return plain.endswith(SECRET_ENDS) or ".tokens." in plain


def _write(path: str, files: dict[str, bytes]) -> None:
    """Write the archive under a name of its own until it is complete. Nobody else may read it."""
    partial = f"{path}.partial"
    folder = os.path.basename(path).removesuffix(".tar.gz")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(files[name])
            entry.mode = PRIVATE
            entry.mtime = int(time.time())
            archive.addfile(entry, io.BytesIO(files[name]))
    os.replace(partial, path)
