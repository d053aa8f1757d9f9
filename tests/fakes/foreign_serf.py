"""The upper half of a foreign member: statuses, clocks, user events and queries. Written after the specification."""

import random
import re
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgpack

from tests.fakes import foreign_packing as wire
from tests.fakes.foreign_keys import KeyAnswers
from tests.fakes.foreign_packing import fields_of, message, text
from tests.fakes.foreign_wire import old

EVENT_SLOTS = 512
ACK_WANTED, NOT_PASSED_ON = 1, 2
IS_ACK = 1
STATUSES = {"alive": 1, "leaving": 2, "left": 3, "failed": 4}

Address = tuple[str, int]


@dataclass
class Seen:
    """What is known of one member."""

    name: str
    address: Address
    tags: dict[str, str]
    incarnation: int
    status: str = "alive"
    """One of STATUSES."""
    suspected_until_s: float | None = None
    """When it will be declared dead, unless it says otherwise."""
    status_time: int = 0
    versions: bytes = wire.VERSIONS

    @property
    def rpc_address(self) -> str:
        return f"{self.address[0]}:{self.tags['port']}"

    @property
    def suspected(self) -> bool:
        return self.suspected_until_s is not None

    @property
    def is_there(self) -> bool:
        return self.status in ("alive", "leaving")


@dataclass
class Answers:
    """What came back on a query."""

    acks: set[str] = field(default_factory=set)
    payloads: dict[str, bytes] = field(default_factory=dict)


class Lower(Protocol):
    """What is asked of the lower half."""

    name: str
    address: Address
    members: dict[str, Seen]

    def send(self, to: Address, data: bytes) -> None:
        """One datagram to one address."""
        ...

    def tell_all(self, data: bytes) -> threading.Event:
        """Queue for everybody; the event is set once it was sent often enough."""
        ...


class Upper:
    """Called under the lower half's lock."""

    def __init__(self, lower: Lower, keys: list[bytes]) -> None:
        self._lower = lower
        self._keys = KeyAnswers(keys)
        self._clocks = {"member": 1, "event": 1, "query": 1}
        self._intents: dict[str, tuple[bool, int]] = {}
        self._seen_events: set[tuple[int, bytes, bytes]] = set()
        self._seen_queries: set[tuple[int, int]] = set()
        self._asked: dict[tuple[int, int], Answers] = {}
        self.events: list[tuple[str, bytes]] = []
        self.queries: list[str] = []

    # Ours

    def intend(self, kind: int) -> threading.Event:
        """Tell everybody that we are here to stay, or that we go."""
        data = message(kind, {"LTime": self._tick("member"), "Node": self._lower.name})
        return self._say(data)

    def fire(self, name: str, payload: bytes) -> None:
        """Send a user event."""
        self._say(message(wire.EVENT, {"LTime": self._tick("event"), "Name": name, "Payload": payload, "CC": False}))

    def ask(self, name: str, payload: bytes, wait_s: float, names: Sequence[str]) -> Answers:
        """Send a query; what comes back is gathered in the result."""
        time, number = self._tick("query"), random.getrandbits(31)
        answers = self._asked[time, number] = Answers()
        host, port = self._lower.address
        fields = {
            "LTime": time,
            "ID": number,
            "Addr": socket.inet_aton(host),
            "Port": port,
            "Filters": [b"\x00" + old(list(names))] if names else None,
            "Flags": ACK_WANTED,
            "RelayFactor": 0,
            "Timeout": round(wait_s * 1e9),
            "Name": name,
            "Payload": payload,
        }
        self._say(message(wire.QUERY, fields))
        return answers

    def _tick(self, clock: str) -> int:
        self._clocks[clock] += 1
        return self._clocks[clock] - 1

    def _say(self, data: bytes) -> threading.Event:
        self.take(data, passes_on=False)
        return self._lower.tell_all(bytes((wire.USER,)) + data)

    # Others'

    def take(self, data: bytes, *, passes_on: bool = True) -> None:
        """Take one message, without the lower half's type byte; what is new is passed on as it is."""
        kind, new = data[0], False
        if kind == wire.RELAY:
            self._relay(data[1:])
            return
        fields = fields_of(data)
        if kind in (wire.JOIN_INTENT, wire.LEAVE_INTENT):
            new = self._intended(kind == wire.LEAVE_INTENT, text(fields["Node"]), fields["LTime"])
        elif kind == wire.EVENT:
            new = self._event(fields["LTime"], fields["Name"], fields["Payload"] or b"")
        elif kind == wire.QUERY:
            new = self._queried(fields)
        elif kind == wire.RESPONSE:
            self._answered(fields)
        if new and passes_on:
            self._lower.tell_all(bytes((wire.USER,)) + data)

    def arrived(self, seen: Seen) -> None:
        """A member came; what was heard of its intents before counts now."""
        left, time = self._intents.pop(seen.name, (False, 0))
        if time > seen.status_time:
            seen.status_time = time
            seen.status = "leaving" if left else "alive"

    def _relay(self, data: bytes) -> None:
        reader = msgpack.Unpacker(raw=True, strict_map_key=False)
        reader.feed(data)
        to = reader.unpack()[b"DestAddr"]
        rest = data[reader.tell() :]
        self._lower.send((socket.inet_ntoa(to[b"IP"][-4:]), to[b"Port"]), bytes((wire.USER,)) + rest)

    def _witness(self, clock: str, time: int) -> None:
        self._clocks[clock] = max(self._clocks[clock], time + 1)

    def _intended(self, leaves: bool, name: str, time: int) -> bool:
        self._witness("member", time)
        seen = self._lower.members.get(name)
        if seen is None:
            if time <= self._intents.get(name, (False, 0))[1]:
                return False
            self._intents[name] = (leaves, time)
            return True
        if time <= seen.status_time:
            return False
        if leaves and seen.status not in ("alive", "failed"):
            return False
        turned = {"alive": "leaving", "failed": "left"} if leaves else {"leaving": "alive"}
        seen.status_time, seen.status = time, turned.get(seen.status, seen.status)
        return True

    def _event(self, time: int, name: bytes, payload: bytes) -> bool:
        self._witness("event", time)
        if (time, name, payload) in self._seen_events:
            return False
        self._seen_events.add((time, name, payload))
        self.events.append((text(name), payload))
        return True

    # Queries

    def _queried(self, fields: dict[str, Any]) -> bool:
        self._witness("query", fields["LTime"])
        key = (fields["LTime"], fields["ID"])
        if key in self._seen_queries:
            return False
        self._seen_queries.add(key)
        name = text(fields["Name"])
        self.queries.append(name)
        if all(self._fits(each) for each in fields["Filters"] or ()):
            if fields["Flags"] & ACK_WANTED:
                self._respond(fields, IS_ACK, None)
            payload = self._answer(name, fields["Payload"] or b"")
            if payload is not None:
                self._respond(fields, 0, payload)
        return not fields["Flags"] & NOT_PASSED_ON

    def _fits(self, packed: bytes) -> bool:
        found = msgpack.unpackb(packed[1:], raw=True)
        if packed[0] == 0:
            return self._lower.name.encode() in found
        mine = self._lower.members[self._lower.name].tags
        return re.search(text(found[b"Expr"]), mine.get(text(found[b"Tag"]), "")) is not None

    def _answer(self, name: str, payload: bytes) -> bytes | None:
        return self._conflict(text(payload)) if name == "_serf_conflict" else self._keys.answer(name, payload)

    def _conflict(self, name: str) -> bytes | None:
        seen = self._lower.members.get(name)
        if name == self._lower.name or seen is None:
            return None
        numbers = dict(zip(("ProtocolMin", "ProtocolMax", "ProtocolCur"), seen.versions[:3], strict=True))
        numbers |= dict(zip(("DelegateMin", "DelegateMax", "DelegateCur"), seen.versions[3:6], strict=True))
        fields = {"Name": name, "Addr": socket.inet_aton(seen.address[0]), "Port": seen.address[1], "Tags": seen.tags}
        return message(wire.CONFLICT, {**fields, "Status": STATUSES[seen.status], **numbers})

    def _respond(self, query: dict[str, Any], flags: int, payload: bytes | None) -> None:
        fields = {"LTime": query["LTime"], "ID": query["ID"], "From": self._lower.name, "Flags": flags}
        data = message(wire.RESPONSE, {**fields, "Payload": payload})
        self._lower.send((socket.inet_ntoa(query["Addr"]), query["Port"]), bytes((wire.USER,)) + data)
        others = [seen for seen in self._lower.members.values() if seen.is_there and seen.name != self._lower.name]
        relays = query["RelayFactor"]
        if relays and len(others) >= relays:
            head = message(wire.RELAY, {"DestAddr": {"IP": query["Addr"], "Port": query["Port"], "Zone": ""}})
            for seen in random.sample(others, relays):
                self._lower.send(seen.address, bytes((wire.USER,)) + head + data)

    def _answered(self, fields: dict[str, Any]) -> None:
        answers = self._asked.get((fields["LTime"], fields["ID"]))
        if answers is None:
            return
        sender = text(fields["From"])
        if fields["Flags"] & IS_ACK:
            answers.acks.add(sender)
        else:
            answers.payloads.setdefault(sender, fields["Payload"] or b"")

    # Tables

    def state(self) -> bytes:
        """The user state of a table, as large as a real one."""
        members = self._lower.members.values()
        fields = {
            "LTime": self._clocks["member"],
            "StatusLTimes": {seen.name: seen.status_time for seen in members},
            "LeftMembers": [seen.name for seen in members if seen.status == "left"],
            "EventLTime": self._clocks["event"],
            "Events": [None] * EVENT_SLOTS,
            "QueryLTime": self._clocks["query"],
        }
        return message(wire.STATE, fields)

    def merge(self, state: bytes) -> None:
        """Take the user state of another table."""
        fields = fields_of(state)
        for clock, key in (("member", "LTime"), ("event", "EventLTime"), ("query", "QueryLTime")):
            self._witness(clock, fields[key] - 1)
        left = {text(name) for name in fields["LeftMembers"] or ()}
        for raw, time in (fields["StatusLTimes"] or {}).items():
            name = text(raw)
            self._intended(name in left, name, time + (name in left))
