"""/v1/event/fire/ and /v1/event/list: what the server is asked, and how a list is waited for."""

import json

import pytest
from msgspec.structs import replace

from agent.events import index_of, pack_event, unpack_event
from base.errors import NoServers, OutcomeUnknown
from structs.event import EVENT_PREFIX, EventFireRequest, UserEvent
from structs.query import Consistency
from tests.fakes.http_server import Site, http_site, request, until

EVENT = UserEvent(event_id="b2f2ad0e-6e2b-4f6c-a3d5-1f0e3c2d4b5a", name="deploy", payload=b"hi")


def arrive(site: Site, event: UserEvent, lamport_time: int = 3) -> None:
    assert site.agent.events.receive(lamport_time, EVENT_PREFIX + event.name, pack_event(event)) is not None


async def test_an_event_is_fired_through_any_server_and_shown_as_it_was_fired() -> None:
    async with http_site() as site:
        status, _, body = await site.ask("PUT", "/v1/event/fire/deploy?node=^n&service=web&tag=v1&token=t", b"<v2>")
        answer = json.loads(body)
        assert status == 200
        assert body.decode() == (
            f'{{"ID":"{answer["ID"]}","Name":"deploy","Payload":"PHYyPg==","NodeFilter":"^n","ServiceFilter":"web",'
            '"TagFilter":"v1","Version":1,"LTime":0}'
        )
        method, asked = site.delegate.calls[-1]
        assert method == "Internal.EventFire"
        assert isinstance(asked, EventFireRequest)
        assert (asked.name, asked.options.token, asked.options.consistency) == ("deploy", "t", Consistency.STALE)
        fired = unpack_event(asked.payload, 0)
        assert fired == UserEvent(
            event_id=answer["ID"],
            name="deploy",
            payload=b"<v2>",
            node_filter="^n",
            service_filter="web",
            tag_filter="v1",
        )


async def test_no_payload_is_null_and_every_event_has_its_own_id() -> None:
    async with http_site() as site:
        answers = [json.loads((await site.ask("PUT", "/v1/event/fire/a/b%20c"))[2]) for _ in range(2)]
        assert [answer["Payload"] for answer in answers] == [None, None]
        assert {answer["Name"] for answer in answers} == {"a/b c"}
        assert answers[0]["ID"] != answers[1]["ID"]


@pytest.mark.parametrize(
    ("error", "outcome"), [(NoServers(), "refused"), (OutcomeUnknown("the connection broke"), "unknown")]
)
async def test_a_server_that_cannot_be_asked_is_an_error_with_its_outcome(error: NoServers, outcome: str) -> None:
    async with http_site() as site:
        site.delegate.error = error
        status, headers, body = await site.ask("PUT", "/v1/event/fire/deploy")
        assert (status, headers["x-mesh-outcome"], body.decode()) == (500, outcome, str(error))


async def test_the_list_shows_what_has_arrived_and_blocks_while_the_last_is_the_same() -> None:
    async with http_site() as site, site.client() as client:
        arrive(site, EVENT)
        index = index_of([EVENT])
        _, headers, body = await client.exchange(request("GET", "/v1/event/list"))
        assert headers["x-consul-index"] == str(index)
        assert body.decode() == (
            f'[{{"ID":"{EVENT.event_id}","Name":"deploy","Payload":"aGk=","NodeFilter":"","ServiceFilter":"",'
            '"TagFilter":"","Version":1,"LTime":3}]'
        )
        other = replace(EVENT, event_id=EVENT.event_id.replace("b2", "a1"), name="restart")
        await client.send(request("GET", f"/v1/event/list?index={index}&name=deploy"))
        await until(lambda: site.agent.events.watchers_count == 1)
        arrive(site, other)  # of another name: whoever waits is woken and waits on
        await until(lambda: site.agent.events.watchers_count == 1)
        arrive(site, replace(EVENT, event_id=EVENT.event_id.replace("b2", "b3")))
        _, headers, body = await client.reply()
        assert [event["Name"] for event in json.loads(body)] == ["deploy", "deploy"]
        assert headers["x-consul-index"] != str(index)
        assert site.agent.events.watchers_count == 0


async def test_an_index_that_is_not_the_last_events_is_answered_at_once_however_large() -> None:
    async with http_site() as site:
        arrive(site, EVENT)
        assert (await site.ask("GET", f"/v1/event/list?index={(1 << 64) - 1}"))[0] == 200


async def test_whoever_hangs_up_while_waiting_is_forgotten() -> None:
    async with http_site() as site:
        async with site.client() as client:
            await client.send(request("GET", "/v1/event/list?index=1"))
            await until(lambda: site.agent.events.watchers_count == 1)
        await until(lambda: site.agent.events.watchers_count == 0)
