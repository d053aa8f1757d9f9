"""Internal.*: user events, gossip keys, and nodes with everything on them.

Source: HTTP API, sections 7, 11 and 15; wire format, sections 8.5 and 9.3; state store specification, section 3.

Keys are changed in the WAN pool and in the LAN pool of every datacenter: a key that only some had would cut them apart.
"""

from typing import Final

import trio

from acl.access import KEYRING_WRITE, event_write, node_read, service_read, session_read
from base import codec
from base.errors import InvalidRequest, MeshError
from fsm.store import checks, indexes, nodes, services, session
from fsm.store.names import key as row_key
from fsm.store.names import under
from fsm.store.store import View
from fsm.store.tables import CHECKS, KVS, NODES, SERVICES, SESSIONS
from fsm.watch import WatchSet
from gossip.keyring import parse_key
from server.endpoints.registry import METHODS, Call, Keeping, Kind, Query, all_rows, method
from server.gossip import GossipPool
from structs.catalog import Node, NodeDumpReply, NodeDumpRequest, NodeInfo, NodeRequest
from structs.event import EVENT_PREFIX, EventFireReply, EventFireRequest
from structs.keyring import (
    RELAY_FACTOR_MAX,
    KeyringAnswer,
    KeyringOperation,
    KeyringReply,
    KeyringRequest,
)
from structs.query import QueryOptions
from structs.service_summary import ServiceSummaryReply, summaries_of
from structs.session import HeldKeys, ListSessionsRequest, SessionDumpReply

KEYRING_METHOD: Final = "Internal.KeyringOperation"


@method(
    "Internal.EventFire", request=EventFireRequest, reply=EventFireReply, access=event_write("name"), kind=Kind.LOCAL
)
def event_fire(call: Call, request: EventFireRequest) -> EventFireReply:
    """Hand an event to gossip. Raises InvalidRequest if it is too large."""
    call.services.gossip.fire(EVENT_PREFIX + request.name, request.payload, coalesce=False)
    return EventFireReply()


@method(KEYRING_METHOD, request=KeyringRequest, reply=KeyringReply, access=KEYRING_WRITE, kind=Kind.LOCAL)
async def keyring(call: Call, request: KeyringRequest) -> KeyringReply:
    """List, install, use or remove a key everywhere, and say what came of it in each pool."""
    if not 0 <= request.relay_factor <= RELAY_FACTOR_MAX:
        raise InvalidRequest(f"relay factor {request.relay_factor} is not from 0 to {RELAY_FACTOR_MAX}")
    key = b"" if request.operation is KeyringOperation.LIST else parse_key(request.key)
    services = call.services
    own = services.config.datacenter
    wan = services.wan
    slots: list[list[KeyringAnswer]] = []

    def slot() -> list[KeyringAnswer]:
        slots.append([])
        return slots[-1]

    async with trio.open_nursery() as nursery:
        if wan is not None and not request.forwarded:
            nursery.start_soon(_in_pool, wan, True, own, request, key, slot())
        nursery.start_soon(_in_pool, services.gossip, False, own, request, key, slot())
        if not request.forwarded:
            for datacenter in services.router.datacenters(None, {}):
                if datacenter != own:
                    nursery.start_soon(_in_datacenter, call, datacenter, request, slot())
    return KeyringReply(answers=[answer for answers in slots for answer in answers])


async def _in_pool(
    pool: GossipPool, wan: bool, datacenter: str, request: KeyringRequest, key: bytes, answers: list[KeyringAnswer]
) -> None:
    try:
        result = await pool.change_keys(request.operation.value, key, relay_factor=request.relay_factor)
    except MeshError as error:
        answers.append(KeyringAnswer(wan=wan, datacenter=datacenter, error=str(error)))
        return
    answers.append(
        KeyringAnswer(
            wan=wan,
            datacenter=datacenter,
            messages=result.messages,
            keys=result.keys,
            primary_keys=result.primary_keys,
            nodes_count=result.nodes_count,
            error=result.error,
        )
    )


async def _in_datacenter(call: Call, datacenter: str, request: KeyringRequest, answers: list[KeyringAnswer]) -> None:
    passed_on = KeyringRequest(
        operation=request.operation,
        key=request.key,
        relay_factor=request.relay_factor,
        forwarded=True,
        options=QueryOptions(token=request.options.token, datacenter=datacenter),
    )
    try:
        body = await call.services.elsewhere.call(datacenter, METHODS[KEYRING_METHOD], passed_on, None)
        answers.extend(codec.decode(KeyringReply, body).answers)
    except MeshError as error:
        answers.append(KeyringAnswer(wan=False, datacenter=datacenter, error=str(error)))


KEYS_SHOWN_MAX: Final = 20
KEYS_COUNTED_MAX: Final = 1_000
"""Of one session; who holds more is shown with that many."""
_DUMP_TABLES: Final = (NODES.name, SERVICES.name, CHECKS.name)


@method("Internal.NodeInfo", request=NodeRequest, reply=NodeDumpReply, access=node_read("node"), kind=Kind.READ)
def node_info(query: Query, request: NodeRequest) -> NodeDumpReply:
    """One node with its services and checks."""
    view = query.view
    if query.watch_set is not None:
        query.watch_set.key(NODES.name, row_key(request.node))
        query.watch_set.prefix(SERVICES.name, under(request.node))
        query.watch_set.prefix(CHECKS.name, under(request.node))
    node = nodes.get(view, request.node)
    found = [_with_all(view, node)] if node is not None else []
    return NodeDumpReply(nodes=found, meta=query.meta(indexes.of_tables(view, *_DUMP_TABLES)))


def _index_of_dump(view: View, request: NodeDumpRequest) -> int:
    return indexes.of_tables(view, *_DUMP_TABLES)


def _watch_dump(watch_set: WatchSet, request: NodeDumpRequest) -> None:
    for table in _DUMP_TABLES:
        watch_set.table(table)


@method(
    "Internal.NodeDump",
    request=NodeDumpRequest,
    reply=NodeDumpReply,
    access=node_read(),
    kind=Kind.READ,
    keeping=Keeping("nodes", _index_of_dump, _watch_dump),
    rows_of=all_rows(NODES, SERVICES, CHECKS),
)
def node_dump(query: Query, request: NodeDumpRequest) -> NodeDumpReply:
    """Every node with its services and checks."""
    view = query.view
    if query.watch_set is not None:
        _watch_dump(query.watch_set, request)
    found = [_with_all(view, node) for node in nodes.every(view, {})]
    return NodeDumpReply(nodes=found, meta=query.meta(_index_of_dump(view, request)))


@method(
    "Internal.ServiceSummary",
    request=NodeDumpRequest,
    reply=ServiceSummaryReply,
    access=service_read(),
    kind=Kind.READ,
    keeping=Keeping("services", _index_of_dump, _watch_dump),
    rows_of=all_rows(NODES, SERVICES, CHECKS),
)
def service_summary(query: Query, request: NodeDumpRequest) -> ServiceSummaryReply:
    """Every service name with its nodes and how many checks stand how."""
    if query.watch_set is not None:
        _watch_dump(query.watch_set, request)
    view = query.view
    found = summaries_of(_with_all(view, node) for node in nodes.every(view, {}))
    return ServiceSummaryReply(services=found, meta=query.meta(_index_of_dump(view, request)))


def _with_all(view: View, node: Node) -> NodeInfo:
    return NodeInfo(node=node, services=services.of_node(view, node.node), checks=checks.of_node(view, node.node))


@method(
    "Internal.SessionDump", request=ListSessionsRequest, reply=SessionDumpReply, access=session_read(), kind=Kind.READ
)
def session_dump(query: Query, request: ListSessionsRequest) -> SessionDumpReply:
    """Every session with the keys that it holds. Any write of a key wakes who waits: locks are told by keys alone."""
    view = query.view
    if query.watch_set is not None:
        query.watch_set.table(SESSIONS.name)
        query.watch_set.table(KVS.name)
    found = [
        HeldKeys(
            session=each,
            keys=session.keys_held(view, each.session_id, KEYS_SHOWN_MAX),
            keys_count=session.keys_held_count(view, each.session_id, KEYS_COUNTED_MAX),
        )
        for each in session.every(view)
    ]
    return SessionDumpReply(sessions=found, meta=query.meta(indexes.of_tables(view, SESSIONS.name, KVS.name)))
