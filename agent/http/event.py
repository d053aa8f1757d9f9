"""/v1/event: firing user events through a server, and those that this agent has seen. Source: HTTP API, section 7."""

import uuid
from binascii import b2a_base64
from collections.abc import Awaitable

import msgspec
import trio
from msgspec.structs import replace

from acl.access import event_read, event_write
from agent.events import EventRing, check_event, index_of, pack_event
from agent.http.asking import tell
from agent.http.parameters import checked_name
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response, meta_headers
from base.errors import Refused
from structs.event import EventFireReply, EventFireRequest, UserEvent
from structs.query import Consistency, QueryMeta, QueryOptions


class EventJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A user event as clients see it."""

    event_id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    payload: str | None = msgspec.field(name="Payload")
    node_filter: str = msgspec.field(name="NodeFilter")
    service_filter: str = msgspec.field(name="ServiceFilter")
    tag_filter: str = msgspec.field(name="TagFilter")
    version: int = msgspec.field(name="Version")
    lamport_time: int = msgspec.field(name="LTime")


def event_json(event: UserEvent) -> EventJSON:
    """Return an event in its wire shape; an empty payload is null."""
    return EventJSON(
        event_id=event.event_id,
        name=event.name,
        payload=b2a_base64(event.payload, newline=False).decode() if event.payload else None,
        node_filter=event.node_filter,
        service_filter=event.service_filter,
        tag_filter=event.tag_filter,
        version=event.version,
        lamport_time=event.lamport_time,
    )


@route("/v1/event/fire/", "PUT", access=event_write("name"), is_write=True)
def fire(context: RequestContext) -> Response | Awaitable[Response]:
    """Send a user event to all agents of a datacenter; the body is its payload. Arrival is likely, not certain.

    `node`, `service`, `tag`: regular expressions; only agents where they match take it. `tag` needs `service`. Name,
    payload and filters have some 400 bytes together.
    """
    query = context.query
    event = UserEvent(
        event_id=str(uuid.uuid4()),
        name=checked_name(context.remainder, "name"),
        payload=context.body,
        node_filter=query.get("node"),
        service_filter=query.get("service"),
        tag_filter=query.get("tag"),
    )
    complaint = check_event(event)
    if complaint is not None:
        raise Refused(complaint)
    write = context.write_options()
    # Stale: it needs no leader, only a server.
    options = QueryOptions(consistency=Consistency.STALE, token=write.token, datacenter=write.datacenter)
    request = EventFireRequest(name=event.name, payload=pack_event(event), options=options)
    answer = json_response(event_json(event))
    return tell(context, "Internal.EventFire", request, EventFireReply, lambda _: answer)


@route("/v1/event/list", "GET", access=event_read(), is_write=False)
def list_(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the user events that this agent has seen, oldest first, at most 256. `name`: only events of that name.

    Blocks while `index` is that of the last event: it is made of the event's id, and has no order.
    """
    ring = context.agent.events
    name = context.query.get("name")
    options = context.read_parameters(wait_default_s=context.settings.wait_s_max).options
    events = ring.events(name)
    if options.index_min and options.index_min == index_of(events):
        return _when_changed(ring, name, options)
    return _list_answer(events)


async def _when_changed(ring: EventRing, name: str, options: QueryOptions) -> Response:
    with trio.move_on_after(options.wait_s):
        while options.index_min == index_of(ring.events(name)):
            arrived = trio.Event()
            forget = ring.watch(arrived.set)
            try:
                await arrived.wait()
            finally:
                forget()
    return _list_answer(ring.events(name))


def _list_answer(events: list[UserEvent]) -> Response:
    meta = replace(QueryMeta(), index=index_of(events))
    return json_response([event_json(event) for event in events], headers=meta_headers(meta))
