"""Sessions, locks, agents and the catalog in memory: the paths of the API that workloads have no own methods for."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import trio

from jepsen.client import CallFailed
from jepsen.http_client import Reply
from tests.fakes.store import Check, Defect, Instance, Past, Row, SessionRow, Store, World

TICK_S = 0.1
COMES_BACK_AFTER_S = 2.0
EARLY_SHARE = 0.2
"""Of a TTL: when a session ends that ends too early."""


def seconds_of(text: str) -> float:
    return float(text.removesuffix("s"))


class Paths:
    """What a node answers to requests."""

    def __init__(self, world: World, node: str) -> None:
        self._world = world
        self._node = node

    @property
    def _store(self) -> Store:
        return self._world.store

    async def request(self, method: str, path: str, body: bytes) -> Reply:
        split = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
        words = split.path.removeprefix("/v1/").split("/", 2)
        rest = unquote(words[2]) if len(words) > 2 else ""
        if split.path.startswith("/v1/kv/"):
            key = unquote(split.path.removeprefix("/v1/kv/"))
            return self._delete_tree(key) if method == "DELETE" else await self._lock(key, query, body.decode())
        if method == "PUT":
            return await self._put(words[0], words[1], rest, body)
        return await self._get(words[0], words[1], rest, query)

    async def _put(self, room: str, what: str, rest: str, body: bytes) -> Reply:
        match room, what:
            case "session", "create":
                return await self._create(json.loads(body))
            case "session", "renew":
                is_there = await self._world.write(partial(self._renew, rest))
                return json_reply([{"ID": rest}]) if is_there else Reply(404, {}, b"")
            case "session", "destroy":
                return await self._done(partial(end_session, self._world, rest))
            case "catalog", "register":
                return await self._done(partial(self._register, json.loads(body)))
            case "catalog", "deregister":
                given = json.loads(body)
                return await self._done(partial(self._put_instance, given["Node"], given["ServiceID"], None))
            case "agent", _:
                return await self._change_agent(rest, body)
        raise AssertionError(f"{room}/{what} is not known here")

    async def _get(self, room: str, what: str, rest: str, query: dict[str, str]) -> Reply:
        match room, what:
            case "session", _:
                sessions, index = await self._sessions(query)
                shown = [each for each, row in sessions.items() if rest in (each, row.node)]
                return json_reply([{"ID": each} for each in shown], index)
            case "catalog", "node-services":
                past = await self._services(query)
                of_node = [service_json(each) for (node, _), each in past.services.items() if node == rest]
                return json_reply({"Services": of_node}, max(1, past.services_index))
            case "health", "service":
                return await self._health(rest, query)
            case "agent", "services":
                await self._world.travel()
                return json_reply({each: service_json(row) for each, row in self._claims.items()})
            case "agent", "checks":
                await self._world.travel()
                return json_reply({f"service:{each}": {"Status": row.status} for each, row in self._claims.items()})
        raise AssertionError(f"{room}/{what} is not known here")

    async def _done(self, change: Callable[[], Any]) -> Reply:
        await self._world.write(change)
        return Reply(200, {}, b"true")

    def _delete_tree(self, prefix: str) -> Reply:
        for key in [key for key in self._store.rows if key.startswith(prefix)]:
            self._world.changing(partial(self._store.delete, key))
        return Reply(200, {}, b"true")

    # --- sessions

    async def _sessions(self, query: dict[str, str]) -> tuple[dict[str, SessionRow], int]:
        past = await self._world.read("stale" if "stale" in query else "")
        return past.sessions, max(1, past.sessions_index)

    async def _create(self, given: dict[str, Any]) -> Reply:
        session = str(self._world.rng.getrandbits(64))
        made = await self._world.write(partial(self._make, session, given))
        if not made:
            raise CallFailed("500 Check 'c' is in critical state")
        return json_reply({"ID": session})

    def _make(self, session: str, given: dict[str, Any]) -> bool:
        store = self._store
        store.index += 1
        checks = given["NodeChecks"]
        if any(store.checks.get(each, "critical") == "critical" for each in checks):
            return False
        store.sessions[session] = SessionRow(
            node=given["Node"],
            ttl_s=seconds_of(given["TTL"]),
            delay_s=seconds_of(given["LockDelay"]),
            behavior=given["Behavior"],
            checks=checks,
        )
        store.sessions_index = store.index
        self._arm(session)
        return True

    def _renew(self, session: str) -> bool:
        if session not in self._store.sessions:
            return False
        self._arm(session)
        return True

    def _arm(self, session: str) -> None:
        left_s = 2 * self._store.sessions[session].ttl_s
        if self._world.goes_wrong(Defect.ENDS_EARLY):
            left_s *= EARLY_SHARE / 2
        if self._world.goes_wrong(Defect.NEVER_ENDS):
            left_s = float("inf")
        self._world.deadlines[session] = trio.current_time() + left_s

    # --- locks

    async def _lock(self, key: str, query: dict[str, str], value: str) -> Reply:
        if "release" in query:
            change = partial(self._release, key, query["release"], value)
        else:
            change = partial(self._acquire, key, query["acquire"], value)
        return Reply(200, {}, b"true" if await self._world.write(change) else b"false")

    def _acquire(self, key: str, session: str, value: str) -> bool:
        store, old = self._store, self._store.rows.get(key)
        store.index += 1
        holder = old.session if old else ""
        if session not in store.sessions:
            return False
        if old and holder == session and old.value == value:
            return True
        if holder and holder != session and not self._world.goes_wrong(Defect.TWO_HOLDERS):
            return False
        is_delayed = store.delays.get(key, 0.0) > trio.current_time()
        if is_delayed and not self._world.goes_wrong(Defect.NO_LOCK_DELAY):
            return False
        lock_index = old.lock_index if old else 0
        if holder != session and not self._world.goes_wrong(Defect.LOCK_INDEX_KEPT):
            lock_index += 1
        created = old.create_index if old else store.index
        store.rows[key] = Row(value, created, store.index, lock_index, session)
        store.table_index = store.index
        return True

    def _release(self, key: str, session: str, value: str) -> bool:
        store, old = self._store, self._store.rows.get(key)
        store.index += 1
        if old is None or not old.session:
            return False
        if old.session != session and not self._world.goes_wrong(Defect.ANYBODY_RELEASES):
            return False
        store.rows[key] = Row(value, old.create_index, store.index, old.lock_index, "")
        store.table_index = store.index
        return True

    # --- catalog

    async def _services(self, query: dict[str, str]) -> Past:
        return await self._world.read("stale" if "stale" in query else "")

    async def _health(self, name: str, query: dict[str, str]) -> Reply:
        asked = int(query.get("index", "0"))
        wait_s = seconds_of(query["wait"]) * self._world.rng.uniform(1.0, 17 / 16) if asked else 0.0
        await self._world.ask()
        await self._world.until_above(
            asked, lambda: self._service_index(name), lambda token: token == ("service", name), wait_s=wait_s
        )
        past = await self._services(query)
        index = max(1, past.service_indexes.get(name, past.services_index))
        if self._world.goes_wrong(Defect.INDEX_BACK):
            index = max(1, index - self._world.rng.randint(1, 5))
        found = [(node, each) for (node, _), each in sorted(past.services.items()) if each.name == name]
        return json_reply([instance_json(node, each) for node, each in found], index)

    def _service_index(self, name: str) -> int:
        return max(1, self._store.service_indexes.get(name, self._store.services_index))

    def _register(self, given: dict[str, Any]) -> None:
        store = self._store
        store.index += 1
        for each in given.get("Checks", []):
            store.checks[each["CheckID"]] = each["Status"]
            if each["Status"] == "critical":
                for session in [session for session, row in store.sessions.items() if each["CheckID"] in row.checks]:
                    end_session(self._world, session)
        service = given.get("Service")
        if service:
            instance = Instance(service["Service"], service["ID"], int(service["Meta"]["version"]), "")
            self._put_instance(given["Node"], service["ID"], instance)

    def _put_instance(self, node: str, service_id: str, instance: Instance | None) -> None:
        store, at = self._store, (node, service_id)
        old = store.services.get(at)
        store.index += 1
        if instance is None:
            store.services.pop(at, None)
        else:
            store.services[at] = msgspec.structs.replace(instance, modify_index=store.index)
        name = instance.name if instance else old.name if old else ""
        if name and not self._world.goes_wrong(Defect.INDEX_KEPT):
            store.services_index = store.service_indexes[name] = store.index

    # --- an agent

    @property
    def _claims(self) -> dict[str, Instance]:
        return self._world.agents.setdefault(self._node, {})

    async def _change_agent(self, rest: str, body: bytes) -> Reply:
        if rest == "register":
            given = json.loads(body)
            service_id = str(given["ID"])
            known = self._claims.get(service_id)
            status = known.status if known else "critical"
            claim: Instance | None = Instance(given["Name"], service_id, int(given["Meta"]["version"]), status)
        else:
            verb, _, name = rest.partition("/")
            service_id = name.removeprefix("service:")
            if service_id not in self._claims:
                raise CallFailed(f"404 Unknown service ID {service_id}")
            status = {"pass": "passing", "warn": "warning", "fail": "critical"}.get(verb, "")
            claim = msgspec.structs.replace(self._claims[service_id], status=status) if status else None

        def change() -> None:
            if claim is None:
                self._claims.pop(service_id, None)
            else:
                self._claims[service_id] = claim
            if not self._world.goes_wrong(Defect.NOT_SYNCED):
                self._put_instance(self._node, service_id, claim)

        await self._world.write(change)
        return Reply(200, {}, b"")


def end_session(world: World, session: str) -> None:
    """End a session, with what it holds."""
    store = world.store
    row = store.sessions.pop(session, None)
    store.index += 1
    world.deadlines.pop(session, None)
    if row is None:
        return
    store.sessions_index = store.index
    if world.goes_wrong(Defect.COMES_BACK):
        world.returning[session] = (trio.current_time() + COMES_BACK_AFTER_S, row)
    if world.goes_wrong(Defect.KEEPS_KEYS):
        return
    if world.goes_wrong(Defect.LET_GO_LATER):
        store.index += 3
    for key, held in list(store.rows.items()):
        if held.session == session:
            if row.delay_s:
                store.delays[key] = trio.current_time() + row.delay_s
            store.table_index = store.index
            if row.behavior == "delete":
                del store.rows[key]
                store.tombstones[key] = store.index
            else:
                store.rows[key] = Row(held.value, held.create_index, store.index, held.lock_index, "")


async def keep_time(world: World) -> None:
    """End sessions whose time is over, until cancelled."""
    while True:
        await trio.sleep(TICK_S)
        now_s = trio.current_time()
        for session in [session for session, at_s in world.deadlines.items() if at_s <= now_s]:
            world.changing(partial(end_session, world, session))
        for session, (at_s, row) in list(world.returning.items()):
            if at_s <= now_s:
                del world.returning[session]
                world.changing(partial(_bring_back, world.store, session, row))


def _bring_back(store: Store, session: str, row: SessionRow) -> None:
    store.index += 1
    store.sessions[session] = row
    store.sessions_index = store.index


def service_json(each: Instance) -> dict[str, Any]:
    return {
        "ID": each.service_id,
        "Service": each.name,
        "Meta": {"version": str(each.version)},
        "ModifyIndex": each.modify_index,
    }


def instance_json(node: str, each: Instance) -> dict[str, Any]:
    checks = [Check(f"service:{each.service_id}", each.status)] if each.status else []
    return {
        "Node": {"Node": node},
        "Service": service_json(each),
        "Checks": [{"CheckID": check.check_id, "Status": check.status} for check in checks],
    }


def json_reply(value: Any, index: int = 0) -> Reply:
    return Reply(200, {"x-consul-index": str(index)} if index else {}, json.dumps(value).encode())
