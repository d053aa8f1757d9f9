"""A foreign member of a gossip pool: blocking sockets and threads, written after the specification.

It joins, answers pings of all kinds, passes on what it hears, exchanges tables, refutes, answers queries and leaves as
the compatible system does. It probes, to learn coordinates, but suspects nobody by itself: others must have told it.
Nothing of `gossip/` is used here, so that what the two have in common is only the wire.
"""

import math
import random
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self

import msgpack

from tests.fakes import foreign_packing as wire
from tests.fakes.foreign_packing import NotForUs, RemoteError, StreamMessage, fields_of, message, text
from tests.fakes.foreign_serf import Address, Answers, Seen, Upper
from tests.fakes.foreign_wire import old

BUILD = "1.2.1:0123abcd"
BEAT_S = 0.05
PROBE_S = 0.2
TABLES_S = 2.0
"""How often it asks somebody for a table, as a real one does every 30 s: rumours do not reach everybody."""
SUSPICION_S = 2.0
FANOUT = 3
RETRANSMITS = 4
INDIRECT_S = 0.5
PATIENCE_S = 20.0
"""Far beyond what anything here takes."""
FRESH = {"Vec": [0.0] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5}
SUSPECTED, GONE = 1, 2

COUNTED = {
    wire.PING: "pings",
    wire.INDIRECT_PING: "indirect pings",
    wire.ACK: "acks",
    wire.SUSPECT: "suspicions",
    wire.ALIVE: "claims",
    wire.DEAD: "deaths",
    wire.NACK: "nacks",
}


def client_tags(datacenter: str = "dc1") -> dict[str, str]:
    """What a foreign client agent says of itself."""
    versions = {"vsn": "2", "vsn_min": "2", "vsn_max": "3", "build": BUILD}
    return {"role": "node", "dc": datacenter, "id": str(uuid.uuid4()), "segment": "", **versions}


def server_tags(rpc_port: int, datacenter: str = "dc1") -> dict[str, str]:
    """What a foreign server says of itself."""
    return {**client_tags(datacenter), "role": "consul", "port": str(rpc_port), "raft_vsn": "3"}


@dataclass
class Waiting:
    """Something to be told to everybody."""

    left: int
    about: str | None
    data: bytes
    sent: threading.Event = field(default_factory=threading.Event)


class ForeignMember:
    """One member. `with` ends it without a goodbye, as `kill` does. Everything may be called from any thread."""

    def __init__(self, name: str, tags: dict[str, str], *, keys: Sequence[bytes] = (), linger_s: float = 0.5) -> None:
        """Listen on loopback. `linger_s`: how long it answers after its farewells."""
        self.name = name
        self.keys = list(keys)
        self._udp, self._tcp = _both()
        self.address: Address = self._tcp.getsockname()
        self._linger_s = linger_s
        self.me = Seen(name, self.address, tags, 1)
        self.members: dict[str, Seen] = {name: self.me}
        self.heard: set[str] = set()
        """Names of all others that anybody ever spoke of."""
        self.refused: list[str] = []
        """Why joins of others were not merged."""
        self.coordinates: dict[str, dict[str, Any]] = {}
        """What came with acks to our pings."""
        self.counts: dict[str, int] = dict.fromkeys(COUNTED.values(), 0)
        self.upper = Upper(self, self.keys)
        self._waiting: list[Waiting] = []
        self._probes: dict[int, str] = {}
        self._indirect: dict[int, tuple[Address, int, float, bool]] = {}
        self._sequence = random.getrandbits(24)
        self._leaving = False
        self._lock = threading.RLock()
        self._stop = threading.Event()
        tasks = (self._hear, self._accept, self._beat, self._compare_tables)
        self._threads = [threading.Thread(target=each, daemon=True) for each in tasks]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # What a test asks of it

    @property
    def gossip_address(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def events(self) -> list[tuple[str, bytes]]:
        """User events in the order of their arrival, each once."""
        with self._lock:
            return list(self.upper.events)

    def statuses(self) -> dict[str, str]:
        """Name -> alive, leaving, left or failed."""
        with self._lock:
            return {seen.name: seen.status for seen in self.members.values()}

    def servers(self) -> list[Seen]:
        """Members that are there and say that they are servers."""
        with self._lock:
            return [seen for seen in self.members.values() if seen.is_there and seen.tags.get("role") == "consul"]

    def kill(self) -> None:
        """Be gone at once, without a word."""
        self._stop.set()
        if self._udp.fileno() < 0:
            return  # it was gone already
        self._tcp.shutdown(socket.SHUT_RDWR)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"\0", self.address)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._tcp.close()
        self._udp.close()

    def join(self, address: str) -> None:
        """Exchange tables with a member; raises RemoteError or NotForUs where either side refuses, OSError."""
        host, _, port = address.rpartition(":")
        self._exchange((host, int(port)), PATIENCE_S, join=True)
        with self._lock:
            self.upper.intend(wire.JOIN_INTENT)

    def leave(self) -> None:
        """Say goodbye, and go on answering for a moment."""
        with self._lock:
            told = self.upper.intend(wire.LEAVE_INTENT)
        told.wait(PATIENCE_S)
        with self._lock:
            self._leaving = True
            fields = {"Incarnation": self.me.incarnation, "Node": self.name, "From": ""}
            told = self._tell(self.name, message(wire.DEAD, fields))
        told.wait(PATIENCE_S)
        self._stop.wait(self._linger_s)
        self.kill()

    def fire(self, name: str, payload: bytes) -> None:
        """Send a user event."""
        with self._lock:
            self.upper.fire(name, payload)

    def ask(self, name: str, payload: bytes, *, wait_s: float = 1.0, names: Sequence[str] = ()) -> Answers:
        """Send a query, and return what has come back after `wait_s`."""
        with self._lock:
            answers = self.upper.ask(name, payload, wait_s, names)
        self._stop.wait(wait_s)
        return answers

    def asked_by_stream(self, name: str, data: bytes) -> StreamMessage:
        """The answer of a member to one message over TCP."""
        with socket.create_connection(self.members[name].address, PATIENCE_S) as connection:
            connection.sendall(wire.streamed(data, self.keys))
            return StreamMessage(connection, self.keys)

    def indirect_ping(self, helper: str, target: Address, name: str) -> None:
        """Have a member ping another address for us; what comes back is counted."""
        fields = {"SeqNo": 1, "Target": socket.inet_aton(target[0]), "Port": target[1], "Node": name, "Nack": True}
        self.send(self.members[helper].address, message(wire.INDIRECT_PING, fields))

    # Telling

    def send(self, to: Address, data: bytes, *, with_crc: bool = False) -> None:
        """One datagram; nothing where nobody is."""
        try:
            self._udp.sendto(wire.packed(data, self.keys, with_crc=with_crc), to)
        except OSError:
            self._count("not sent")

    def tell_all(self, data: bytes) -> threading.Event:
        """See foreign_serf.Lower."""
        return self._tell(None, data)

    def _tell(self, about: str | None, data: bytes) -> threading.Event:
        """Queue something; news about a member replaces what was queued about it."""
        if about is not None:
            self._waiting = [each for each in self._waiting if each.about != about]
        waiting = Waiting(RETRANSMITS * math.ceil(math.log10(len(self.members) + 1)), about, data)
        self._waiting.append(waiting)
        return waiting.sent

    def _beat(self) -> None:
        next_probe_s = 0.0
        while not self._stop.wait(BEAT_S):
            with self._lock:
                others = [seen for seen in self.members.values() if seen is not self.me and seen.is_there]
                random.shuffle(others)
                self._gossip(others[:FANOUT])
                if others and monotonic() >= next_probe_s:
                    next_probe_s = monotonic() + PROBE_S
                    self._probe(others[0])
                self._nack_what_is_late()
                self._declare_dead(others)

    def _gossip(self, targets: list[Seen]) -> None:
        for seen in targets:
            room = wire.PACKET_BYTES - 2 - (29 if self.keys else 0)
            parts: list[bytes] = []
            for each in sorted(self._waiting, key=lambda each: -each.left):
                if each.left and len(each.data) + 2 <= room and len(parts) < wire.PARTS_MAX:
                    room -= len(each.data) + 2
                    parts.append(each.data)
                    each.left -= 1
            if parts:
                self.send(seen.address, wire.compound(parts), with_crc=True)
        for each in self._waiting:
            if not each.left or not targets:
                each.sent.set()
        self._waiting = [each for each in self._waiting if not each.sent.is_set()]

    def _probe(self, seen: Seen) -> None:
        self._sequence += 1
        self._probes[self._sequence] = seen.name
        parts = [message(wire.PING, {"SeqNo": self._sequence, "Node": seen.name})]
        if seen.suspected:
            fields = {"Incarnation": seen.incarnation, "Node": seen.name, "From": self.name}
            parts.append(message(wire.SUSPECT, fields))
        self.send(seen.address, wire.compound(parts), with_crc=len(parts) > 1)

    def _nack_what_is_late(self) -> None:
        for sequence, (asker, theirs, since_s, wanted) in list(self._indirect.items()):
            if monotonic() - since_s > INDIRECT_S:
                del self._indirect[sequence]
                if wanted:
                    self.send(asker, message(wire.NACK, {"SeqNo": theirs}))

    def _declare_dead(self, others: list[Seen]) -> None:
        """A table says of the dead, too, only that they are suspected: so whom no rumour of a death reached counts."""
        for seen in others:
            if seen.suspected_until_s is not None and monotonic() > seen.suspected_until_s:
                fields = {"Incarnation": seen.incarnation, "Node": seen.name, "From": self.name}
                self._accused(wire.DEAD, seen.name, seen.incarnation, message(wire.DEAD, fields))

    # Hearing

    def _hear(self) -> None:
        while True:
            data, source = self._udp.recvfrom(1 << 16)
            if self._stop.is_set():
                return
            try:
                parts = wire.unpacked(data, self.keys)
            except (NotForUs, ValueError, struct.error):
                self._count("garbage")
                continue
            with self._lock:
                for part in sorted(parts, key=lambda part: part[0] == wire.DEAD):
                    self._take(part, source)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _take(self, part: bytes, source: Address) -> None:
        kind = part[0]
        if kind == wire.USER:
            self.upper.take(part[1:])
            return
        fields = fields_of(part)
        self._count(COUNTED[kind])
        node = text(fields.get("Node"))
        if kind == wire.PING and node in ("", self.name):
            payload = b"\x01" + old(FRESH)
            self.send(source, message(wire.ACK, {"SeqNo": fields["SeqNo"], "Payload": payload}))
        elif kind == wire.INDIRECT_PING:
            self._sequence += 1
            self._indirect[self._sequence] = (source, fields["SeqNo"], monotonic(), bool(fields.get("Nack")))
            target = (socket.inet_ntoa(fields["Target"]), fields["Port"])
            self.send(target, message(wire.PING, {"SeqNo": self._sequence, "Node": node}))
        elif kind == wire.ACK:
            self._acked(fields)
        elif kind == wire.ALIVE:
            self._alive(node, fields)
        elif kind in (wire.SUSPECT, wire.DEAD):
            self._accused(kind, node, fields["Incarnation"], part)

    def _acked(self, fields: dict[str, Any]) -> None:
        name = self._probes.pop(fields["SeqNo"], "")
        if name and fields["Payload"]:
            assert fields["Payload"][0] == 1, "the version of a coordinate"
            self.coordinates[name] = msgpack.unpackb(fields["Payload"][1:], raw=False)
        asked = self._indirect.pop(fields["SeqNo"], None)
        if asked is not None:
            self.send(asked[0], message(wire.ACK, {"SeqNo": asked[1], "Payload": None}))

    def _alive(self, name: str, fields: dict[str, Any]) -> None:
        assert len(fields["Vsn"]) >= 6, "a shorter one would end a foreign process"
        incarnation = fields["Incarnation"]
        if name == self.name:
            if incarnation > self.me.incarnation and not self._leaving:
                self._refute(incarnation)
            return
        self.heard.add(name)
        address = (socket.inet_ntoa(fields["Addr"]), fields["Port"])
        known = self.members.get(name)
        if known is not None and (known.address != address or incarnation <= known.incarnation):
            return
        seen = Seen(name, address, wire.tags_of(fields["Meta"] or b""), incarnation, versions=bytes(fields["Vsn"]))
        seen.status_time = known.status_time if known is not None else 0
        self.members[name] = seen
        self.upper.arrived(seen)
        self._claim(seen)

    def _claim(self, seen: Seen) -> None:
        """Tell everybody that it is there."""
        self._tell(seen.name, self.claim_of(seen))

    def claim_of(self, seen: Seen) -> bytes:
        """The message that says that a member is there."""
        record = {
            "Incarnation": seen.incarnation,
            "Node": seen.name,
            "Addr": socket.inet_aton(seen.address[0]),
            "Port": seen.address[1],
            "Meta": wire.meta_of(seen.tags),
            "Vsn": seen.versions,
        }
        return message(wire.ALIVE, record)

    def _refute(self, accused: int) -> None:
        self.me.incarnation = max(self.me.incarnation, accused) + 1
        self._count("refutations")
        self._claim(self.me)

    def _accused(self, kind: int, node: str, incarnation: int, data: bytes) -> None:
        seen = self.members.get(node)
        if seen is None or incarnation < seen.incarnation or not seen.is_there:
            return
        if seen is self.me:
            if not self._leaving:
                self._refute(incarnation)
            return
        if kind == wire.DEAD:
            seen.status = "left" if seen.status == "leaving" else "failed"
        elif seen.suspected:
            return
        seen.incarnation = incarnation
        seen.suspected_until_s = monotonic() + SUSPICION_S if kind == wire.SUSPECT else None
        self._tell(node, data)

    # Tables

    def _exchange(self, address: Address, timeout_s: float, *, join: bool) -> None:
        with socket.create_connection(address, timeout_s) as connection:
            connection.sendall(wire.streamed(self._table(join=join), self.keys))
            self._merge(StreamMessage(connection, self.keys), join=join)

    def _compare_tables(self) -> None:
        while not self._stop.wait(TABLES_S):
            with self._lock:
                others = [seen.address for seen in self.members.values() if seen is not self.me and seen.is_there]
            if not others or self._leaving:
                continue
            try:
                self._exchange(random.choice(others), TABLES_S, join=False)
            except (EOFError, OSError, NotForUs, RemoteError):
                self._count("tables not compared")

    def _table(self, *, join: bool) -> bytes:
        with self._lock:
            nodes = [
                {
                    "Name": seen.name,
                    "Addr": socket.inet_aton(seen.address[0]),
                    "Port": seen.address[1],
                    "Meta": wire.meta_of(seen.tags),
                    "Incarnation": seen.incarnation,
                    "State": (SUSPECTED if seen.suspected else 0) if seen.is_there else GONE,
                    "Vsn": seen.versions,
                }
                for seen in self.members.values()
            ]
            state = self.upper.state()
        head = message(wire.PUSH_PULL, {"Nodes": len(nodes), "UserStateLen": len(state), "Join": join})
        return head + b"".join(old(node) for node in nodes) + state

    def _merge(self, stream: StreamMessage, *, join: bool = False, answer: Callable[[], None] = lambda: None) -> None:
        """Take another table; `answer` is called before anything of it counts. Raises NotForUs if our rules refuse."""
        assert stream.kind == wire.PUSH_PULL
        head = stream.value()
        nodes = [stream.value() for _ in range(head["Nodes"])]
        state = stream.raw(head["UserStateLen"])
        answer()
        with self._lock:
            if join or head["Join"]:
                self._check(nodes)
            for node in nodes:
                name, incarnation = text(node["Name"]), node["Incarnation"]
                if node["State"] == 0:
                    self._alive(name, node)
                else:
                    fields = {"Incarnation": incarnation, "Node": name, "From": self.name}
                    self._accused(wire.SUSPECT, name, incarnation, message(wire.SUSPECT, fields))
            if state:
                self.upper.merge(state)

    def _check(self, nodes: list[dict[str, Any]]) -> None:
        """The rule of a datacenter's pool. That of all datacenters, whose names have a dot, takes every server."""
        for node in nodes:
            tags = wire.tags_of(node["Meta"] or b"")
            name = text(node["Name"])
            if "." in self.name and tags.get("role") != "consul":
                raise NotForUs(f"Member '{name}' is not a server")
            if "." not in self.name and tags.get("dc") != self.me.tags["dc"]:
                raise NotForUs(f"Member '{name}' part of wrong datacenter '{tags.get('dc')}'")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return  # shut down by `kill`
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        with connection:
            try:
                self._answer(connection, StreamMessage(connection, self.keys))
            except NotForUs as error:
                self.refused.append(str(error))
            except (EOFError, OSError, RemoteError):
                self._count("broken streams")

    def _answer(self, connection: socket.socket, stream: StreamMessage) -> None:
        if stream.kind == wire.PUSH_PULL:
            table = wire.streamed(self._table(join=False), self.keys)
            self._merge(stream, answer=lambda: connection.sendall(table))
        elif stream.kind == wire.PING:
            fields = stream.value()
            self._count("stream pings")
            if text(fields["Node"]) in ("", self.name):
                ack = message(wire.ACK, {"SeqNo": fields["SeqNo"], "Payload": None})
                connection.sendall(wire.streamed(ack, self.keys))
        elif stream.kind == wire.USER:
            data = stream.raw(stream.value()["UserMsgLen"])
            with self._lock:
                self.upper.take(data)


def _both() -> tuple[socket.socket, socket.socket]:
    """Sockets for datagrams and for streams on one port that is free for both."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0), backlog=64)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        return udp, tcp
