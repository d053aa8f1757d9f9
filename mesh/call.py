"""Sans-IO: one request and how its answer is read, and how a method of a noun becomes one in both worlds.

A noun (`mesh/kv.py`, `mesh/session.py`, ...) is written once. Its methods build a `Call`; asked of the class they
return it (`KV.get("a")`), asked of `client.kv` they carry it out, asked of a trio client's they can be awaited.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

import msgspec

from mesh.query import DEFAULT_READ, Answer, Read
from mesh.reply import Reply

P = ParamSpec("P")
T = TypeVar("T")
Parameters = Mapping[str, str | Sequence[str]]
"""Of a query; a list stands for a parameter that is repeated."""


class Sync:
    """The world where a method returns what it found."""


class InTrio:
    """The world where a method is awaited."""


World = TypeVar("World")


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `parse` raises MeshErrors for an answer that makes no sense."""

    method: str = "GET"
    path: str
    """Not yet percent-encoded."""
    parse: Callable[[Reply], T]
    parameters: Parameters = {}
    body: bytes | None = None
    is_read: bool = True
    """Whether it may be sent again after any failure. Writes are, only if they certainly did not happen."""
    accept: tuple[int, ...] = ()
    """Statuses besides 200 that are no errors."""
    blocking_s: float = 0.0
    """How much longer than usual the answer may take."""
    timeout_s: float = 0.0
    """For each wait on the connection; 0: the client's."""
    attempts_max: int = 0
    """0: the client's."""


class Carrier(Protocol):
    """A client: carries out calls."""

    def carry(self, call: Call[Any]) -> Any:
        """Return what the call finds, or an awaitable of it."""


class Noun(Generic[World]):
    """A group of methods, such as `client.kv`."""

    def __init__(self, client: Carrier) -> None:
        self._client = client


class Method(Generic[P, T]):
    """One method in its three forms; see the top of this file."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__
        self.__name__ = build.__name__

    @overload
    def __get__(self, noun: None, owner: object) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, noun: Noun[Sync], owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, noun: Noun[InTrio], owner: object) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, noun: Noun[Any] | None, owner: object) -> Callable[P, Any]:
        build = self._build

        def method(*arguments: P.args, **named: P.kwargs) -> Any:
            call = build(None, *arguments, **named)
            return call if noun is None else noun._client.carry(call)

        method.__doc__ = self.__doc__
        method.__name__ = self.__name__
        return method


def method(build: Callable[Concatenate[Any, P], Call[T]]) -> Method[P, T]:
    """Turn a function that builds a call into a method of a noun; its `self` is never used."""
    return Method(build)


def read_call(
    path: str,
    parse: Callable[[Any], T],
    read: Read = DEFAULT_READ,
    parameters: Parameters | None = None,
    *,
    missing: bool = False,
) -> Call[Answer[T]]:
    """GET `path`; `parse` is given the JSON value. With `missing` a 404 is an answer: None is parsed."""
    return Call(
        path=path,
        parse=lambda reply: answer_of(reply, parse(reply.json() if reply.status == 200 else None)),
        parameters={**read.parameters(), **(parameters or {})},
        accept=(404,) if missing else (),
        blocking_s=read.blocking_s(),
    )


def plain_call(path: str, parse: Callable[[Any], T], parameters: Parameters | None = None) -> Call[T]:
    """GET `path`, whose answer has no index; `parse` is given the JSON value."""
    return Call(path=path, parse=lambda reply: parse(reply.json()), parameters=parameters or {})


def write_call(
    path: str,
    parse: Callable[[Reply], T],
    parameters: Parameters | None = None,
    *,
    method: str = "PUT",
    body: bytes = b"",
    value: Any = None,
    accept: tuple[int, ...] = (),
    is_read: bool = False,
) -> Call[T]:
    """PUT, POST or DELETE `path` with `body`, or with `value` as JSON."""
    return Call(
        method=method,
        path=path,
        parse=parse,
        parameters=parameters or {},
        body=json.dumps(value).encode() if value is not None else body,
        is_read=is_read,
        accept=accept,
    )


def value_of(call: Call[Answer[T]]) -> Call[T]:
    """Return the same call without what its headers tell."""
    parse = call.parse
    return Call(
        method=call.method,
        path=call.path,
        parse=lambda reply: parse(reply).value,
        parameters=call.parameters,
        accept=call.accept,
        blocking_s=call.blocking_s,
    )


def nothing(reply: Reply) -> None:
    """Read an answer that has nothing to say."""


def is_true(reply: Reply) -> bool:
    """Read `true` or `false`."""
    return reply.body.strip() == b"true"


def answer_of(reply: Reply, value: T) -> Answer[T]:
    """Return a value with what the headers of its answer tell."""
    headers = reply.headers
    return Answer(
        value=value,
        index=_number(headers.get("x-consul-index", "0")),
        known_leader=headers.get("x-consul-knownleader", "true") == "true",
        last_contact_s=_number(headers.get("x-consul-lastcontact", "0")) / 1000,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
