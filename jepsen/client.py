"""A client that writes down every call with its outcome: ok, failed (certainly did not happen), unknown.

Which of the last two an error answer means is what the server claims in `X-Mesh-Outcome`; where it claims nothing
(other systems), an error of a write is unknown. Reads change nothing, so a read without an answer has failed.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from jepsen.history import Operation, Outcome
from jepsen.http_client import HTTPConnection, NotAnswered, NotSent, Reply

TIMEOUT_S = 5.0
"""An operation is given up after it. Shorter than the servers' own hold, so that partitions leave unknown ends."""
ERROR_TEXT_MAX = 200
NOT_CLAIMED = "(no outcome was claimed)"
"""Ends the error of a write whose answer did not say whether it happened. Our servers always say it."""


UNINTELLIGIBLE = "the answer cannot be understood"
STRANGE = (ValueError, LookupError, TypeError, AttributeError)
"""What comes of an answer that is none of this API."""


class CallFailed(Exception):
    """The operation certainly did not happen."""


class CallUnclear(Exception):
    """The operation may have happened, or may yet."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One key as it was read."""

    key: str
    value: str
    modify_index: int
    create_index: int
    flags: int
    lock_index: int
    session: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an action gives back to be recorded."""

    output: Any = None
    index: int = 0
    happened: bool = True
    """False: the server answered that it did not do it, e.g. a compare-and-set that came too late."""


Action = Callable[["HTTP"], Awaitable[Answer]]


class HTTP:
    """The calls of the API that workloads make, on one connection. They raise CallFailed and CallUnclear."""

    def __init__(self, address: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = HTTPConnection(address)
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        is_write: bool,
        timeout_s: float | None = None,
        passing: Collection[int] = (404,),
    ) -> Reply:
        """One exchange; returns answers below 400 and those whose status is in `passing`, raises for the others."""
        try:
            reply = await self._connection.request(method, path, body, timeout_s=timeout_s or self._timeout_s)
        except NotSent as error:
            raise CallFailed(str(error)) from error
        except NotAnswered as error:
            if is_write:
                raise CallUnclear(str(error)) from error
            raise CallFailed(str(error)) from error
        if reply.status < 400 or reply.status in passing:
            return reply
        text = f"{reply.status} {reply.body[:ERROR_TEXT_MAX].decode('utf-8', 'replace')}"
        claim = reply.headers.get("x-mesh-outcome", "")
        if not is_write or claim == "refused" or (not claim and reply.status < 500):
            raise CallFailed(text)
        raise CallUnclear(text if claim else f"{text} {NOT_CLAIMED}")

    async def get(self, key: str, *, mode: str = "default") -> tuple[Entry | None, int]:
        """Return the key (None: it does not exist) and the answer's index."""
        reply = await self.request("GET", f"/v1/kv/{quote(key)}{query_of(mode=mode)}", is_write=False)
        return _one_entry(reply), reply.index

    async def scan(self, prefix: str, *, mode: str = "default") -> tuple[list[Entry], int]:
        """Return all keys under a prefix, and the answer's index."""
        reply = await self.request("GET", f"/v1/kv/{quote(prefix)}{query_of(mode=mode, recurse='')}", is_write=False)
        return _entries(reply), reply.index

    async def wait(
        self, key: str, *, index: int, wait_s: float, mode: str = "default", recurse: bool = False
    ) -> tuple[list[Entry], int]:
        """A blocking query from `index` on; returns what it shows (empty: nothing there) and the answer's index."""
        more = {"recurse": ""} if recurse else {}
        query = query_of(mode=mode, index=str(index), wait=f"{wait_s:g}s", **more)
        timeout_s = wait_s * 17 / 16 + self._timeout_s
        reply = await self.request("GET", f"/v1/kv/{quote(key)}{query}", is_write=False, timeout_s=timeout_s)
        return _entries(reply), reply.index

    async def put(self, key: str, value: str, *, cas: int | None = None) -> bool:
        """Write the key; with `cas` only if its modify index is that (0: if it does not exist). False: it was not."""
        query = "" if cas is None else f"?cas={cas}"
        reply = await self.request("PUT", f"/v1/kv/{quote(key)}{query}", value.encode("utf-8"), is_write=True)
        return said_true(reply)

    async def delete(self, key: str, *, cas: int | None = None) -> bool:
        """Delete the key; with `cas` only if its modify index is that."""
        query = "" if cas is None else f"?cas={cas}"
        reply = await self.request("DELETE", f"/v1/kv/{quote(key)}{query}", is_write=True)
        return said_true(reply)

    async def txn(
        self, operations: list[dict[str, Any]], *, is_write: bool = True, mode: str = ""
    ) -> list[Entry] | None:
        """Do KV operations ({"Verb": ..., "Key": ..., "Value": text, "Index": ...}) together.

        Returns the results; None: it was rolled back (409). `mode` counts where nothing is written.
        """
        body = json.dumps([{"KV": _with_encoded_value(operation)} for operation in operations]).encode()
        reply = await self.request("PUT", f"/v1/txn{query_of(mode=mode)}", body, is_write=is_write, passing=(409,))
        if reply.status == 409:
            return None
        return [_entry(result["KV"]) for result in reply.json().get("Results") or []]


class Client:
    """One client of one workload at one node. Each call becomes one line of the history."""

    def __init__(
        self,
        *,
        address: str,
        node: str,
        workload: str,
        process: int,
        record: Callable[[Operation], None],
        now_ns: Callable[[], int],
        phase: Callable[[], str] = lambda: "main",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.http = HTTP(address, timeout_s=timeout_s)
        """For calls that are no operations of the history."""
        self.node = node
        self.process = process
        self._workload = workload
        self._record = record
        self._now_ns = now_ns
        self._phase = phase

    async def call(
        self, function: str, action: Action, *, key: str = "", value: Any = None, mode: str = ""
    ) -> Operation:
        """Make one operation and record it. Never raises for what a server does; cancellation records it as unknown."""
        began_ns = self._now_ns()
        answer, outcome, error = Answer(), Outcome.UNKNOWN, "cancelled"
        try:
            answer = await action(self.http)
            outcome, error = (Outcome.OK if answer.happened else Outcome.FAILED), ""
        except CallFailed as failure:
            outcome, error = Outcome.FAILED, str(failure)
        except CallUnclear as failure:
            outcome, error = Outcome.UNKNOWN, str(failure)
        except STRANGE as failure:
            # Whatever it was to say, it may have happened.
            outcome, error = Outcome.UNKNOWN, f"{UNINTELLIGIBLE}: {failure!r}"[:ERROR_TEXT_MAX]
        finally:
            operation = Operation(
                workload=self._workload,
                process=self.process,
                function=function,
                key=key,
                input=value,
                output=answer.output,
                outcome=outcome,
                error=error,
                mode=mode,
                node=self.node,
                index=answer.index,
                phase=self._phase(),
                began_ns=began_ns,
                ended_ns=self._now_ns(),
            )
            self._record(operation)
        return operation

    def close(self) -> None:
        """Close the connection."""
        self.http.close()


def query_of(*, mode: str, **more: str) -> str:
    """Return the query of a read in this mode, with what else is asked."""
    words = dict(more)
    if mode in ("stale", "consistent"):
        words[mode] = ""
    return "?" + urlencode(words) if words else ""


def said_true(reply: Reply) -> bool:
    """Return whether a write was done; raises CallFailed where there is no such thing."""
    if reply.status == 404:
        raise CallFailed("404")
    return reply.body.strip() == b"true"


def _one_entry(reply: Reply) -> Entry | None:
    entries = _entries(reply)
    return entries[0] if entries else None


def _entries(reply: Reply) -> list[Entry]:
    return [] if reply.status == 404 else [_entry(each) for each in reply.json() or []]


def _entry(raw: dict[str, Any]) -> Entry:
    return Entry(
        key=raw["Key"],
        value=base64.b64decode(raw.get("Value") or "").decode("utf-8", "replace"),
        modify_index=raw["ModifyIndex"],
        create_index=raw["CreateIndex"],
        flags=raw.get("Flags", 0),
        lock_index=raw.get("LockIndex", 0),
        session=raw.get("Session", ""),
    )


def _with_encoded_value(operation: dict[str, Any]) -> dict[str, Any]:
    if "Value" not in operation:
        return operation
    return {**operation, "Value": base64.b64encode(operation["Value"].encode("utf-8")).decode("ascii")}
