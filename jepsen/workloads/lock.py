"""Locks on keys by sessions, and registers that only whoever holds the lock last can write.

Operations; all on sessions have the same `key`, a lock has one of its own, and so has the register that it guards:

| on       | function  | input                          | output                                         |
| -------- | --------- | ------------------------------ | ---------------------------------------------- |
| sessions | `create`  | {"ttl_s", "delay_s"}           | {"session"}                                    |
| sessions | `renew`   | {"session"}                    | {"alive"}: false where there is none (404)     |
| sessions | `destroy` | {"session"}                    |                                                |
| sessions | `list`    |                                | {"sessions", "index"}; has a `mode`            |
| lock     | `acquire` | {"session", "value"}           | declined: it was not given                     |
| lock     | `release` | {"session", "value"}           | declined: the session did not hold it          |
| lock     | `read`    |                                | {"session", "lock_index", "modify_index",      |
|          |           |                                | "value"}, null; session "": free; has a `mode` |
| register | `guard`   | {"fence", "session", "number"} | declined: there is a higher number, or another |
|          |           |                                | write came first                               |
| register | `read`    |                                | {"fence", "number"}, null; has a `mode`        |

*Declined* is an operation that failed without an error. Values and numbers are written once in a run.

A client makes a session, takes a lock, reads its number (`LockIndex`), and writes the register, with that number, by
compare-and-set on top of a read that shows no higher one. Then it gives the lock back, or destroys the session, or
forgets to renew it; some go on writing with their old number afterwards, as one would who stood still meanwhile. Some
release what they do not hold. Lock keys are never deleted.
"""

import itertools
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import trio

from jepsen import session_calls
from jepsen.checkers.lock import check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, Answer, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import cas_index, choose_mode, number, numbers, read_finally, text_of
from jepsen.workloads.workload import Worker, Workload

LOCKS_COUNT = 4
DELAYS_S = (0, 1, 2)
"""Lock delays that sessions ask for."""
OLD_NUMBERS_MAX = 3
"""So many locks that it lost a client may go on believing in."""


class _Belief(msgspec.Struct, kw_only=True):
    """What one client believes."""

    session: str = ""
    renewed_s: float = 0.0
    lock: str = ""
    """The lock that it holds; "" for none."""
    fence: int = 0
    old: list[tuple[str, int, str]] = []
    """Lock, number and session of what it lost and still writes for."""


class Lock(Workload):
    """See the module."""

    name: ClassVar[str] = "lock"
    description: ClassVar[str] = "locks by sessions: one holder at a time, numbers that fence off the one before"
    workers_count: ClassVar[int] = 8
    rate_hz: ClassVar[float] = 12.0
    options: ClassVar[tuple[str, ...]] = session_calls.OPTIONS

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._node = self.prefix.strip("/").replace("/", "-")
        self._sessions_key = f"{self.prefix}sessions"
        self._ttl_s = session_calls.LONG_TTL_S
        self._values = itertools.count(1)
        self._beliefs: dict[int, _Belief] = {}
        self._used: dict[str, None] = {}

    async def prepare(self, client: Client) -> None:
        """Register the node of the sessions."""
        await super().prepare(client)
        await session_calls.register_node(client.http, self._node, {})
        self._ttl_s = await session_calls.shortest_ttl_s(client.http, self._node)

    async def step(self, worker: Worker) -> None:
        """Do what one does who wants a lock, has one, or had one."""
        belief = self._beliefs.setdefault(worker.client.process, _Belief())
        if not belief.session:
            await self._create(worker, belief)
        elif trio.current_time() - belief.renewed_s > self._ttl_s / 2 and worker.rng.random() < 0.8:
            await self._renew(worker, belief)
        elif belief.old and worker.rng.random() < 0.2:
            lock, fence, session = worker.rng.choice(belief.old)
            await self._guard(worker, lock, fence, session)
        elif belief.lock:
            await self._as_holder(worker, belief)
        else:
            await self._as_other(worker, belief)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read all locks and registers, and the sessions that are left, from every node."""
        for client in clients:
            await self._list(client)
        used = list(self._used)
        await read_finally(clients, used, self._read_any)

    @staticmethod
    def checkers() -> list[Checker]:
        """One holder, rising numbers, delays."""
        return [check]

    async def _as_holder(self, worker: Worker, belief: _Belief) -> None:
        dice = worker.rng.random()
        if dice < 0.5:
            await self._guard(worker, belief.lock, belief.fence, belief.session)
        elif dice < 0.65:
            await self._read_lock(worker.client, belief.lock, choose_mode(worker.rng))
        elif dice < 0.85:
            await self._give(worker, "release", belief.lock, belief.session)
            self._lose(worker, belief)
        elif dice < 0.97:
            await self._destroy(worker, belief)
        else:
            self._lose(worker, belief)  # forgets all about it: it ends by its TTL
            belief.session = ""

    async def _as_other(self, worker: Worker, belief: _Belief) -> None:
        lock = self._lock(worker.rng.randrange(LOCKS_COUNT))
        dice = worker.rng.random()
        if dice < 0.5:
            operation = await self._give(worker, "acquire", lock, belief.session)
            if operation.outcome is Outcome.FAILED:
                return
            seen = await self._read_lock(worker.client, lock, "default")
            if seen.outcome is Outcome.OK and seen.output and seen.output["session"] == belief.session:
                belief.lock, belief.fence = lock, seen.output["lock_index"]
        elif dice < 0.6:
            await self._give(worker, "release", lock, belief.session)
        elif dice < 0.7:
            await self._list(worker.client, choose_mode(worker.rng))
        elif dice < 0.85:
            await self._read_guarded(worker.client, self._guarded(lock), choose_mode(worker.rng))
        else:
            await self._read_lock(worker.client, lock, choose_mode(worker.rng))

    def _lose(self, worker: Worker, belief: _Belief) -> None:
        if belief.lock and worker.rng.random() < 0.5:
            belief.old = [*belief.old, (belief.lock, belief.fence, belief.session)][-OLD_NUMBERS_MAX:]
        belief.lock, belief.fence = "", 0

    def _lock(self, number_of_lock: int) -> str:
        return f"{self.prefix}lock-{number_of_lock}"

    @staticmethod
    def _guarded(lock: str) -> str:
        return lock.replace("/lock-", "/guarded-")

    # --- sessions

    async def _create(self, worker: Worker, belief: _Belief) -> None:
        began_s = trio.current_time()
        delay_s = worker.rng.choice(DELAYS_S)

        async def action(http: HTTP) -> Answer:
            found = await session_calls.create_session(http, node=self._node, ttl_s=self._ttl_s, delay_s=delay_s)
            return Answer(output={"session": found}, happened=found is not None)

        value = {"ttl_s": self._ttl_s, "delay_s": delay_s}
        operation = await worker.client.call("create", action, key=self._sessions_key, value=value)
        if operation.outcome is Outcome.OK:
            belief.session, belief.renewed_s = operation.output["session"], began_s

    async def _renew(self, worker: Worker, belief: _Belief) -> None:
        session, began_s = belief.session, trio.current_time()

        async def action(http: HTTP) -> Answer:
            return Answer(output={"alive": await session_calls.renew_session(http, session)})

        operation = await worker.client.call("renew", action, key=self._sessions_key, value={"session": session})
        belief.renewed_s = began_s
        if operation.outcome is Outcome.OK and not operation.output["alive"]:
            self._lose(worker, belief)
            belief.session = ""

    async def _destroy(self, worker: Worker, belief: _Belief) -> None:
        session = belief.session

        async def action(http: HTTP) -> Answer:
            await session_calls.destroy_session(http, session)
            return Answer()

        await worker.client.call("destroy", action, key=self._sessions_key, value={"session": session})
        self._lose(worker, belief)
        belief.session = ""

    async def _list(self, client: Client, mode: str = "default") -> None:
        async def action(http: HTTP) -> Answer:
            found, index = await session_calls.sessions_of(http, self._node, mode=mode)
            return Answer(output={"sessions": found, "index": index}, index=index)

        await client.call("list", action, key=self._sessions_key, mode=mode)

    # --- keys

    async def _give(self, worker: Worker, function: str, lock: str, session: str) -> Operation:
        """Take a lock, or give it back."""
        self._used[lock] = None
        value = next(self._values)
        call = session_calls.acquire if function == "acquire" else session_calls.release

        async def action(http: HTTP) -> Answer:
            return Answer(happened=await call(http, lock, session, str(value)))

        return await worker.client.call(function, action, key=lock, value={"session": session, "value": value})

    async def _guard(self, worker: Worker, lock: str, fence: int, session: str) -> None:
        key, value = self._guarded(lock), next(self._values)
        self._used[key] = None

        async def action(http: HTTP) -> Answer:
            entry, _ = await http.get(key)
            known = _guarded_output(entry)
            if known is not None and known["fence"] > fence:
                return Answer(happened=False)
            return Answer(happened=await http.put(key, text_of([fence, value]), cas=cas_index(entry)))

        asked = {"fence": fence, "session": session, "number": value}
        await worker.client.call("guard", action, key=key, value=asked)

    async def _read_any(self, client: Client, key: str) -> Operation:
        read = self._read_lock if key.startswith(f"{self.prefix}lock-") else self._read_guarded
        return await read(client, key, "default")

    async def _read_lock(self, client: Client, key: str, mode: str) -> Operation:
        return await self._read(client, key, mode, lock_output)

    async def _read_guarded(self, client: Client, key: str, mode: str) -> Operation:
        return await self._read(client, key, mode, _guarded_output)

    async def _read(self, client: Client, key: str, mode: str, output_of: Any) -> Operation:
        self._used[key] = None

        async def action(http: HTTP) -> Answer:
            entry, index = await http.get(key, mode=mode)
            return Answer(output=output_of(entry), index=index)

        return await client.call("read", action, key=key, mode=mode)


def lock_output(entry: Entry | None) -> dict[str, Any] | None:
    """Return what a read of a lock's key says."""
    if entry is None:
        return None
    return {
        "session": entry.session,
        "lock_index": entry.lock_index,
        "modify_index": entry.modify_index,
        "value": number(entry.value),
    }


def _guarded_output(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    [fence, value, *_] = [*numbers(entry.value), 0, 0]
    return {"fence": fence, "number": value}
