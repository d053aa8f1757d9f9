"""Foreign servers: each gossips and answers calls; what they store they share, as if they had agreed on it."""

import base64
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from tests.fakes.foreign_gossip import ForeignMember, server_tags
from tests.fakes.foreign_wire import Answer, ForeignServerDouble, Later

META = {"LastContact": 0, "KnownLeader": True, "ConsistencyLevel": ""}
SET, CAS, DELETE = "set", "cas", "delete"


class ForeignStore:
    """Keys and values of one datacenter, and the calls that wait for a change of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        self._index = 10
        self._waiting: list[tuple[dict[str, Any], Callable[[Answer], None]]] = []
        self.leader_address = ""
        self.registered: list[dict[str, Any]] = []

    @property
    def waiting_count(self) -> int:
        """How many reads wait."""
        with self._lock:
            return len(self._waiting)

    def apply(self, argument: dict[str, Any]) -> Answer:
        """KVS.Apply of the few operations that are needed."""
        entry, operation = dict(argument["DirEnt"]), argument["Op"]
        key = entry["Key"]
        if key == "forbidden":
            return "Permission denied", {}
        with self._lock:
            before = self._entries.get(key)
            if operation == CAS and entry["ModifyIndex"] != (before["ModifyIndex"] if before else 0):
                return "", False
            if operation not in (SET, CAS, DELETE):
                return f"unknown KV operation {operation}", {}
            self._index += 1
            if operation == DELETE:
                self._entries.pop(key, None)
            else:
                created = before["CreateIndex"] if before else self._index
                self._entries[key] = {**entry, "CreateIndex": created, "ModifyIndex": self._index}
            due = [each for each in self._waiting if each[0]["Key"] == key]
            self._waiting = [each for each in self._waiting if each[0]["Key"] != key]
            answers = [(send, self._read(wanted)) for wanted, send in due]
        for send, answer in answers:
            send(answer)
        return "", operation == CAS

    def get(self, argument: dict[str, Any]) -> Answer | Later:
        """KVS.Get; one that blocks is answered when its key is written, or never."""
        with self._lock:
            answer = self._read(argument)
            if answer[1]["Index"] > argument["MinQueryIndex"] or not argument["MinQueryIndex"]:
                return answer

        def later(send: Callable[[Answer], None]) -> None:
            with self._lock:
                self._waiting.append((argument, send))

        return later

    def _read(self, argument: dict[str, Any]) -> Answer:
        entry = self._entries.get(argument["Key"])
        index = entry["ModifyIndex"] if entry else self._index
        return "", {**META, "Index": index, "Entries": [entry] if entry else None}


class ForeignServer:
    """A member with role "consul" of the pool of a datacenter, or with a name NODE.DC of that of all datacenters."""

    def __init__(self, name: str, store: ForeignStore, *, datacenter: str = "dc1", keys: Sequence[bytes] = ()) -> None:
        """The first server of a store leads."""
        self.rpc = ForeignServerDouble(self._answer)
        port = int(self.rpc.address.rpartition(":")[2])
        self.gossip = ForeignMember(name, server_tags(port, datacenter), keys=keys)
        self.store = store
        self.datacenter = datacenter
        store.leader_address = store.leader_address or self.rpc.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Be gone at once, without a word."""
        self.gossip.kill()
        self.rpc.__exit__()

    def leave(self) -> None:
        """Say goodbye, then be gone."""
        self.gossip.leave()
        self.rpc.__exit__()

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The arguments of all calls of one method."""
        return [argument for name, argument in list(self.rpc.asked) if name == method]

    def _keys(self) -> dict[str, Any]:
        """What the datacenter's own pool, of one member, has for keys."""
        keys = {base64.b64encode(key).decode(): 1 for key in self.gossip.keys}
        said = {"WAN": False, "Datacenter": self.datacenter, "Segment": "", "Messages": None}
        return {**said, "Keys": keys, "NumNodes": 1, "Error": ""}

    def _answer(self, method: str, argument: Any) -> Answer | Later | None:
        if method == "Status.Ping":
            return "", {}
        if method == "Status.Leader":
            return "", self.store.leader_address
        if method == "Status.Peers":
            return "", [self.store.leader_address]
        if argument.get("Datacenter") != self.datacenter:
            return "No path to datacenter", {}
        if method == "KVS.Apply":
            return self.store.apply(argument)
        if method == "KVS.Get":
            return self.store.get(argument)
        if method == "Coordinate.Update":
            return "", {}
        if method == "Internal.KeyringOperation":
            return "", {**META, "Index": 0, "Responses": [self._keys()]}
        return f"rpc: can't find method {method}", {}
