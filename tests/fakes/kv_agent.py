"""An agent with keys, sessions and events in memory: exact where locks depend on it, and nothing else."""

import base64
import json
import threading
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.http_agent import Asked, Told

PREFIX = "/v1/kv/"


class Entry:
    def __init__(self, index: int) -> None:
        self.value = b""
        self.flags = self.lock_index = 0
        self.session = ""
        self.create_index = index
        self.modify_index = index


class Lease:
    def __init__(self, row: dict[str, Any], ends_at_s: float) -> None:
        self.row = row
        self.ends_at_s = ends_at_s


class KVAgent:
    """State and rules. Whoever drives it moves `now_s`; a session ends `ttl_factor` times its TTL after renewal."""

    def __init__(self, *, ttl_factor: float = 1.0) -> None:
        self.index = 10
        self.entries: dict[str, Entry] = {}
        self.sessions: dict[str, Lease] = {}
        self.delayed_until_s: dict[str, float] = {}
        self.events: list[dict[str, Any]] = []
        self.now_s = 0.0
        self._ttl_factor = ttl_factor
        self._count = 0

    def expire(self) -> None:
        """End what is over."""
        for session in [name for name, lease in self.sessions.items() if self.now_s >= lease.ends_at_s]:
            self.end(session, by_time=True)

    def end(self, session: str, *, by_time: bool) -> None:
        """End a session and let go of its keys."""
        lease = self.sessions.pop(session, None)
        if lease is None:
            return
        self.index += 1
        for key, entry in list(self.entries.items()):
            if entry.session != session:
                continue
            if lease.row.get("Behavior") == "delete":
                del self.entries[key]
            else:
                entry.session = ""
                entry.modify_index = self.index
            if by_time:
                self.delayed_until_s[key] = self.now_s + _seconds(lease.row.get("LockDelay", "15s"))

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Carry out one request now."""
        self.expire()
        if path.startswith(PREFIX):
            return getattr(self, f"_{method.lower()}")(path.removeprefix(PREFIX), query, body)  # type: ignore[no-any-return]
        word = path.removeprefix("/v1/")
        if word == "session/create":
            self._count += 1
            self.index += 1
            name = f"session-{self._count}"
            row = json.loads(body)
            self.sessions[name] = Lease(row, self.now_s + _seconds(row["TTL"]) * self._ttl_factor)
            return 200, json.dumps({"ID": name}).encode()
        if word.startswith("session/renew/"):
            lease = self.sessions.get(name := word.removeprefix("session/renew/"))
            if lease is None:
                return 404, b"gone"
            lease.ends_at_s = self.now_s + _seconds(lease.row["TTL"]) * self._ttl_factor
            return 200, json.dumps([{"ID": name, "TTL": lease.row["TTL"]}]).encode()
        if word.startswith("session/destroy/"):
            self.end(word.removeprefix("session/destroy/"), by_time=False)
            return 200, b"true"
        if word.startswith("event/fire/"):
            self.events.append({"Name": word.removeprefix("event/fire/"), "Payload": body, **query})
            return 200, b'{"ID":"e-1"}'
        if word == "agent/self":
            return 200, b'{"Config":{"NodeName":"n1"}}'
        return 404, b"?"

    def _get(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if "keys" in query:
            return 200, json.dumps(sorted(name for name in self.entries if name.startswith(key))).encode()
        found = [name for name in sorted(self.entries) if (name.startswith(key) if "recurse" in query else name == key)]
        return (200 if found else 404), json.dumps([self._row(name) for name in found]).encode()

    def _row(self, key: str) -> dict[str, Any]:
        entry = self.entries[key]
        return {
            "Key": key, "Value": base64.b64encode(entry.value).decode() or None, "Flags": entry.flags,
            "LockIndex": entry.lock_index, "CreateIndex": entry.create_index, "ModifyIndex": entry.modify_index,
            **({"Session": entry.session} if entry.session else {}),
        }  # fmt: skip

    def _put(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        entry = self.entries.get(key)
        if "cas" in query and int(query["cas"]) != (entry.modify_index if entry else 0):
            return 200, b"false"
        if "acquire" in query:
            if query["acquire"] not in self.sessions:
                return 500, b"invalid session"
            if self.delayed_until_s.get(key, -1.0) > self.now_s:
                return 200, b"false"
            if entry is not None and entry.session not in ("", query["acquire"]):
                return 200, b"false"
        if "release" in query and (entry is None or entry.session != query["release"]):
            return 200, b"false"
        self.index += 1
        if entry is None:
            entry = self.entries[key] = Entry(self.index)
        entry.value, entry.flags, entry.modify_index = body, int(query.get("flags", "0")), self.index
        if "acquire" in query and not entry.session:
            entry.session = query["acquire"]
            entry.lock_index += 1
        if "release" in query:
            entry.session = ""
        return 200, b"true"

    def _delete(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if "cas" in query and key in self.entries and self.entries[key].modify_index != int(query["cas"]):
            return 200, b"false"
        self.index += 1
        for name in [name for name in self.entries if (name.startswith(key) if "recurse" in query else name == key)]:
            del self.entries[name]
        return 200, b"true"


def _seconds(text: str) -> float:
    from base.durations import parse_duration_s

    return parse_duration_s(text)


class Threads:
    """Serves a KVAgent to `tests.fakes.http_agent.fake_agent` by the real clock; blocking reads block."""

    def __init__(self, agent: KVAgent) -> None:
        self.agent = agent
        self.down = False
        self.lock = threading.Lock()
        self._waiting = threading.Event()

    def __call__(self, asked: Asked) -> Told:
        parts = urlsplit(asked.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        began_s = time.monotonic()
        wait_s = _seconds(query.get("wait", "10s")) if int(query.get("index", "0")) else 0.0
        while True:
            with self.lock:
                if self.down:
                    return Told(status=500, body=b"No cluster leader", headers={"X-Mesh-Outcome": "refused"})
                self.agent.now_s = time.monotonic()
                self.agent.expire()
                index = self.agent.index
                if index > int(query.get("index", "0")) or time.monotonic() - began_s >= wait_s:
                    status, body = self.agent.answer(asked.method, unquote(parts.path), query, asked.body)
                    outcome = {"X-Mesh-Outcome": "refused"} if status >= 500 else {}
                    return Told(status=status, body=body, headers={"X-Consul-Index": str(index), **outcome})
            self._waiting.wait(0.005)
