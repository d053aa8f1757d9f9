"""Sessions that are renewed, left alone, destroyed, and bound to checks that fail; each holds a key of its own.

Operations, those on sessions all with the same `key`:

| function    | input                                     | output                                            |
| ----------- | ----------------------------------------- | ------------------------------------------------- |
| `create`    | {"ttl_s", "delay_s", "behavior", "check"} | {"session"}; declined where the check is critical |
| `renew`     | {"session"}                               | {"alive"}: false where there is none (404)        |
| `destroy`   | {"session"}                               |                                                   |
| `info`      | {"session"}                               | {"alive"}; has a `mode`                           |
| `list`      |                                           | {"sessions", "index"}: all; has a `mode`          |
| `set_check` | {"check", "status"}                       |                                                   |
| `acquire`   | {"session", "value"}                      | `key` is that session's own; made once            |
| `read`      |                                           | as in `lock.py`, of such a key; has a `mode`      |

Each client has a few sessions at a time. Most are renewed every half TTL, some never again; some are bound to a check
(`check` "": none) of a node that is nobody's but the run's, which only this client sets. `behavior` is release or
delete. In the end the sessions are left alone until all of them must have ended, then everything is read.
"""

import itertools
import random
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import msgspec
import trio

from jepsen import session_calls
from jepsen.checkers.session import LEFT_OVER_S, check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, Answer, Client
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import choose_mode, read_finally
from jepsen.workloads.lock import lock_output
from jepsen.workloads.workload import Worker, Workload

SESSIONS_MAX = 3
"""Of one client at a time."""
KEPT_KEYS_MAX = 4
"""Keys of ended sessions that a client still reads."""
BOUND_SHARE = 0.4
FORGOTTEN_SHARE = 0.25
DELETE_SHARE = 0.4


class _Session(msgspec.Struct, kw_only=True):
    """One session as its client knows it."""

    session: str
    renewed_s: float
    check: str
    is_renewed: bool
    """False: it is left alone."""
    key: str = ""
    has_asked: bool = False


class _Mine(msgspec.Struct, kw_only=True):
    """What belongs to one client."""

    sessions: list[_Session] = []
    keys: list[str] = []
    """Of sessions that ended lately."""
    check: str = ""
    is_passing: bool = False


class Session(Workload):
    """See the module."""

    name: ClassVar[str] = "session"
    description: ClassVar[str] = "sessions: none ends too soon or comes back, none stays for ever, keys go with them"
    workers_count: ClassVar[int] = 6
    rate_hz: ClassVar[float] = 10.0
    options: ClassVar[tuple[str, ...]] = session_calls.OPTIONS

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._node = self.prefix.strip("/").replace("/", "-")
        self._sessions_key = f"{self.prefix}sessions"
        self._ttl_s = session_calls.LONG_TTL_S
        self._numbers = itertools.count(1)
        self._mine: dict[int, _Mine] = {}
        self._keys: dict[str, None] = {}

    async def prepare(self, client: Client) -> None:
        """Register the node of the sessions."""
        await super().prepare(client)
        await session_calls.register_node(client.http, self._node, {})
        self._ttl_s = await session_calls.shortest_ttl_s(client.http, self._node)

    async def step(self, worker: Worker) -> None:
        """Look after one's sessions, or look at them."""
        mine = self._mine.setdefault(worker.client.process, _Mine())
        now_s, rng = trio.current_time(), worker.rng
        due = [each for each in mine.sessions if each.is_renewed and now_s - each.renewed_s > self._ttl_s / 2]
        if due and rng.random() < 0.85:
            await self._renew(worker, mine, due[0])
        elif not mine.is_passing and rng.random() < 0.5:
            await self._set_check(worker, mine, "passing")
        elif len(mine.sessions) < SESSIONS_MAX and rng.random() < 0.6:
            await self._create(worker, mine)
        else:
            await self._look(worker, mine)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Wait until all sessions must have ended; then read what is left from every node."""
        await self._list(clients[0], "default")
        await trio.sleep(2 * self._ttl_s + 2 * LEFT_OVER_S)
        for client in clients:
            await self._list(client, "default")
        await read_finally(clients, list(self._keys), partial(self._read, mode="default"))

    @staticmethod
    def checkers() -> list[Checker]:
        """Not too soon, not too late, not again, and keys with them."""
        return [check]

    async def _look(self, worker: Worker, mine: _Mine) -> None:
        rng, mode = worker.rng, choose_mode(worker.rng)
        dice = rng.random()
        chosen = rng.choice(mine.sessions) if mine.sessions else None
        keys = [each.key for each in mine.sessions if each.key] + mine.keys
        if chosen is not None and not chosen.has_asked and dice < 0.3:
            await self._acquire(worker, chosen)
        elif chosen is not None and chosen.is_renewed and dice < 0.35:
            await self._destroy(worker, mine, chosen)
        elif mine.is_passing and dice < 0.4 and any(each.check for each in mine.sessions):
            await self._set_check(worker, mine, "critical")
        elif chosen is not None and dice < 0.6:
            await self._info(worker, mine, chosen, mode)
        elif keys and dice < 0.85:
            await self._read(worker.client, rng.choice(keys), mode)
        else:
            await self._list(worker.client, mode)

    def _ended(self, mine: _Mine, ended: _Session) -> None:
        if ended in mine.sessions:
            mine.sessions.remove(ended)
            mine.keys = [*mine.keys, *([ended.key] if ended.key else [])][-KEPT_KEYS_MAX:]

    async def _create(self, worker: Worker, mine: _Mine) -> None:
        rng, began_s = worker.rng, trio.current_time()
        bound = mine.check if mine.is_passing and rng.random() < BOUND_SHARE else ""
        behavior = "delete" if rng.random() < DELETE_SHARE else "release"
        is_renewed = rng.random() >= FORGOTTEN_SHARE

        async def action(http: HTTP) -> Answer:
            found = await session_calls.create_session(
                http, node=self._node, ttl_s=self._ttl_s, delay_s=1, behavior=behavior, check=bound
            )
            return Answer(output={"session": found}, happened=found is not None)

        value = {"ttl_s": self._ttl_s, "delay_s": 1, "behavior": behavior, "check": bound}
        made = await worker.client.call("create", action, key=self._sessions_key, value=value)
        if made.outcome is Outcome.OK:
            session = str(made.output["session"])
            mine.sessions.append(_Session(session=session, renewed_s=began_s, check=bound, is_renewed=is_renewed))

    async def _renew(self, worker: Worker, mine: _Mine, chosen: _Session) -> None:
        began_s = trio.current_time()

        async def action(http: HTTP) -> Answer:
            return Answer(output={"alive": await session_calls.renew_session(http, chosen.session)})

        asked = {"session": chosen.session}
        renewed = await worker.client.call("renew", action, key=self._sessions_key, value=asked)
        chosen.renewed_s = began_s
        if renewed.outcome is Outcome.OK and not renewed.output["alive"]:
            self._ended(mine, chosen)

    async def _info(self, worker: Worker, mine: _Mine, chosen: _Session, mode: str) -> None:
        async def action(http: HTTP) -> Answer:
            return Answer(output={"alive": await session_calls.is_session(http, chosen.session, mode=mode)})

        asked = {"session": chosen.session}
        seen = await worker.client.call("info", action, key=self._sessions_key, value=asked, mode=mode)
        if seen.outcome is Outcome.OK and not seen.output["alive"] and mode != "stale":
            self._ended(mine, chosen)

    async def _destroy(self, worker: Worker, mine: _Mine, chosen: _Session) -> None:
        async def action(http: HTTP) -> Answer:
            await session_calls.destroy_session(http, chosen.session)
            return Answer()

        await worker.client.call("destroy", action, key=self._sessions_key, value={"session": chosen.session})
        self._ended(mine, chosen)

    async def _set_check(self, worker: Worker, mine: _Mine, status: str) -> None:
        """One whose outcome is unknown may come late, so nobody uses its check again."""
        if not mine.check:
            mine.check = f"check-{next(self._numbers)}"
        check_id = mine.check

        async def action(http: HTTP) -> Answer:
            await session_calls.register_node(http, self._node, {check_id: status})
            return Answer()

        asked = {"check": check_id, "status": status}
        done = await worker.client.call("set_check", action, key=self._sessions_key, value=asked)
        if done.outcome is Outcome.OK:
            mine.is_passing = status == "passing"
        elif done.outcome is Outcome.UNKNOWN:
            mine.check, mine.is_passing = "", False
        if status == "critical":
            for each in [each for each in mine.sessions if each.check == check_id]:
                self._ended(mine, each)

    async def _list(self, client: Client, mode: str) -> None:
        async def action(http: HTTP) -> Answer:
            found, index = await session_calls.sessions_of(http, self._node, mode=mode)
            return Answer(output={"sessions": found, "index": index}, index=index)

        await client.call("list", action, key=self._sessions_key, mode=mode)

    async def _acquire(self, worker: Worker, chosen: _Session) -> None:
        number = next(self._numbers)
        chosen.key, chosen.has_asked = f"{self.prefix}{number}", True
        self._keys[chosen.key] = None

        async def action(http: HTTP) -> Answer:
            return Answer(happened=await session_calls.acquire(http, chosen.key, chosen.session, str(number)))

        asked = {"session": chosen.session, "value": number}
        await worker.client.call("acquire", action, key=chosen.key, value=asked)

    async def _read(self, client: Client, key: str, mode: str) -> Operation:
        async def action(http: HTTP) -> Answer:
            entry, index = await http.get(key, mode=mode)
            return Answer(output=lock_output(entry), index=index)

        return await client.call("read", action, key=key, mode=mode)
