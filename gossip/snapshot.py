"""Sans-IO: the snapshot file, by which a member finds its way back after a restart.

Text lines: `alive: NAME HOST:PORT` (names may contain spaces), `not-alive: NAME`, `clock: N`, `event-clock: N`,
`query-clock: N`, `leave`; anything else is skipped. The file grows by appending and is written anew beyond its limit.
A crash may tear its last line, so a line that does not end is not believed. Source: wire format, section 8.8.
"""

import ipaddress
from collections.abc import Callable, Container

import msgspec

from gossip.clocks import TIME_MAX
from gossip.context import Context
from gossip.instructions import Address, WriteSnapshot

COMPACT_BYTES = 128 * 1024
FLUSH_INTERVAL_S = 0.5
"""How long lines wait for others, and how old the clocks in the file may be."""
CLOCKS = ("clock", "event-clock", "query-clock")


class Snapshot(msgspec.Struct, kw_only=True):
    """What a snapshot file says: who was alive, and the last time of each clock that was seen."""

    alive: dict[str, Address] = {}
    times: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(CLOCKS, 0))


def address_text(address: Address) -> str:
    """Return host:port, with brackets around an IPv6 host."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def address_of(text: str) -> Address | None:
    """Return what `address_text` wrote, None if it cannot be that."""
    host, _, port = text.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    number = _number(port)
    return Address(str(ip), number) if number is not None and number < 1 << 16 else None


def parse(text: str, *, rejoin_after_leave: bool) -> Snapshot:
    """Return what `text` says; lines that make no sense are skipped, and so is a last line without an end."""
    snapshot = Snapshot()
    for line in text.split("\n")[:-1]:
        word, _, rest = line.partition(": ")
        if word == "alive":
            name, _, where = rest.rpartition(" ")
            address = address_of(where)
            if name and address is not None:
                snapshot.alive[name] = address
        elif word == "not-alive":
            snapshot.alive.pop(rest, None)
        elif word in snapshot.times:
            number = _number(rest)
            if number is not None and number < TIME_MAX:
                snapshot.times[word] = number
        elif word == "leave" and not rejoin_after_leave:
            snapshot = Snapshot()
    return snapshot


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


class Snapshotter:
    """Keeps the file: collects lines and hands them out at most every FLUSH_INTERVAL_S.

    `clocks` returns the next time of each clock, in the order of CLOCKS.
    """

    def __init__(self, context: Context, clocks: Callable[[], tuple[int, int, int]]) -> None:
        self._context = context
        self._clocks = clocks
        self._alive: dict[str, Address] = {}
        self._written_clocks = (0, 0, 0)
        self._lines: list[str] = []
        self._file_bytes = 0
        self._bytes_max = COMPACT_BYTES
        self._flush_due = False
        self._left = False
        self._torn = False
        """The last line has no end: appending would make it look whole."""

    def begin(self, text: str) -> Snapshot:
        """Take the file as it was found; return what it says."""
        snapshot = parse(text, rejoin_after_leave=self._context.settings.rejoin_after_leave)
        self._alive = dict(snapshot.alive)
        self._file_bytes = len(text)
        self._torn = bool(text) and not text.endswith("\n")
        return snapshot

    def alive(self, now_s: float, name: str, address: Address) -> None:
        """Somebody joined, or has another address now."""
        if not self._left and self._alive.get(name) != address:
            self._alive[name] = address
            self._append(now_s, f"alive: {name} {address_text(address)}")

    def gone(self, now_s: float, name: str) -> None:
        """Somebody left or failed."""
        if not self._left and self._alive.pop(name, None) is not None:
            self._append(now_s, f"not-alive: {name}")

    def keep_only(self, now_s: float, names: Container[str]) -> None:
        """Drop who is not among `names`: the cluster has forgotten them while we were away."""
        for name in [name for name in self._alive if name not in names]:
            self.gone(now_s, name)

    def leave(self, now_s: float) -> None:
        """We leave of our own will: at once, so that it is in the file whatever happens then."""
        self._left = True
        self._lines.append("leave")
        self._write(now_s)

    def watch_clocks(self, now_s: float) -> None:
        """See to it that the file learns of clocks that have moved."""
        if not self._flush_due and self._clocks() != self._written_clocks:
            self._flush_soon(now_s)

    def _append(self, now_s: float, line: str) -> None:
        self._lines.append(line)
        if not self._flush_due:
            self._flush_soon(now_s)

    def _flush_soon(self, now_s: float) -> None:
        self._flush_due = True
        self._context.timers.set("snapshot", now_s + FLUSH_INTERVAL_S, self._write)

    def _write(self, now_s: float) -> None:
        self._context.timers.cancel("snapshot")
        self._flush_due = False
        clocks = self._clocks()
        if clocks != self._written_clocks:
            before, self._written_clocks = self._written_clocks, clocks
            self._lines += [
                f"{name}: {time - 1}" for name, time, old in zip(CLOCKS, clocks, before, strict=True) if time != old
            ]
        text = _text(self._lines)
        self._lines = []
        replace = self._torn or self._file_bytes + len(text) > self._bytes_max
        if replace:
            text = self._whole()
            # Room to grow: a file that is large because the cluster is would else be written anew for every line.
            self._bytes_max = max(COMPACT_BYTES, 2 * len(text))
            self._file_bytes = 0
            self._torn = False
        self._file_bytes += len(text)
        if text:
            self._context.out.append(WriteSnapshot(text=text, replace=replace))

    def _whole(self) -> str:
        lines = [f"alive: {name} {address_text(address)}" for name, address in self._alive.items()]
        lines += ["leave"] if self._left else []
        lines += [f"{name}: {time - 1}" for name, time in zip(CLOCKS, self._written_clocks, strict=True)]
        return _text(lines)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
