"""What a client sends and must get back, as data, and how to run it against any address.

Bodies are compared as text, since the order of fields is part of the promise. `<name>` in an expected text stands for
a number that is noted under that name; where the name is known already, in expectations as in requests, it stands for
that number. `<*>` is any number.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from tests.fakes.http_server import RawClient, request

_PLACE = re.compile(r"<([a-z_0-9]+|\*)>")


@dataclass(frozen=True)
class Step:
    """One request and what must come back. `text` None: any body."""

    send: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    text: str | None = None
    raw: bytes | None = None
    has: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """Steps on one connection, in order. `clean`: the key prefix that is emptied first."""

    name: str
    steps: tuple[Step, ...]
    clean: str = ""


def _pattern(expected: str, known: dict[str, str]) -> re.Pattern[str]:
    """Return what matches the expected text."""
    parts: list[str] = []
    position = 0
    named: set[str] = set()
    for place in _PLACE.finditer(expected):
        parts.append(re.escape(expected[position : place.start()]))
        position = place.end()
        name = place[1]
        if name == "*":
            parts.append("[0-9]+")
        elif name in known:
            parts.append(known[name])
        elif name in named:
            parts.append(f"(?P={name})")
        else:
            named.add(name)
            parts.append(rf"(?P<{name}>[0-9]+)")
    parts.append(re.escape(expected[position:]))
    return re.compile("".join(parts), re.DOTALL)


def _match(what: str, expected: str, actual: str, known: dict[str, str]) -> None:
    found = _pattern(expected, known).fullmatch(actual)
    assert found is not None, f"{what}: expected {expected!r} with {known}, got {actual!r}"
    known.update(found.groupdict())


async def run(exchange: Exchange, host: str, port: int) -> None:
    """Run all steps against host:port; raises AssertionError naming the step that differs."""
    known: dict[str, str] = {}
    async with await trio.open_tcp_stream(host, port) as stream:
        client = RawClient(stream)
        if exchange.clean:
            status, _, _ = await client.exchange(request("DELETE", f"/v1/kv/{exchange.clean}?recurse"))
            assert status == 200
        for number, step in enumerate(exchange.steps):
            method, _, target = _PLACE.sub(lambda place: known.get(place[1], place[0]), step.send).partition(" ")
            body = _PLACE.sub(lambda place: known.get(place[1], place[0]), step.body.decode("latin-1"))
            status, headers, answer = await client.exchange(
                request(method, target, body.encode("latin-1"), dict(step.headers))
            )
            what = f"{exchange.name}, step {number}: {step.send}"
            assert status == step.status, f"{what}: status {status} {answer!r}"
            if step.raw is not None:
                assert answer == step.raw, what
            if step.text is not None:
                _match(what, step.text, answer.decode(), known)
            for name, value in step.has.items():
                assert name.lower() in headers, f"{what}: no {name} in {headers}"
                _match(f"{what}, {name}", value, headers[name.lower()], known)
            for name in step.lacks:
                assert name.lower() not in headers, f"{what}: unexpected {name}"
