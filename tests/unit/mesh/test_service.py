"""A service while a program runs: registered, kept, given again to an agent that forgot it, taken back."""

import json
import threading
from typing import Any
from urllib.parse import unquote

import pytest
import trio

from base.errors import MeshError
from mesh.client import Client
from mesh.service import RegisteredService, service_in_trio
from mesh.trio_client import TrioClient
from structs.catalog import NodeService
from tests.fakes.http_agent import Asked, Told, fake_agent

WEB = NodeService(service_id="web1", service="web", port=80)
PATIENCE_S = 30.0


class Agent:
    """Knows services and their checks until `forget`."""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self.registrations_count = 0
        self.updates: list[tuple[str, str]] = []
        self.changed = threading.Event()
        self.down = False

    def __call__(self, asked: Asked) -> Told:
        told = self.answer(asked)
        self.changed.set()
        return told

    def answer(self, asked: Asked) -> Told:
        if self.down:
            return Told(status=500, body=b"odd")
        path = unquote(asked.path)
        if path == "/v1/agent/service/register":
            row = json.loads(asked.body)
            self.services[row["ID"]] = row
            self.registrations_count += 1
        elif path == "/v1/agent/check/update/service:web1":
            if "web1" not in self.services:
                return Told(status=404, body=b'Unknown check ID "service:web1".')
            row = json.loads(asked.body)
            self.updates.append((row["Status"], row["Output"]))
        elif path == "/v1/agent/service/deregister/web1" and not self.services.pop("web1", None):
            return Told(status=404, body=b"Unknown service ID")
        return Told()

    def wait(self, condition: Any) -> None:
        for _ in range(1000):
            if condition():
                return
            self.changed.wait(PATIENCE_S / 1000)
            self.changed.clear()
        pytest.fail("it did not come about")


def test_a_service_is_registered_kept_and_taken_back() -> None:
    agent = Agent()
    with fake_agent(agent) as site, Client(site.address, environment={}) as client:
        with RegisteredService(client, WEB, ttl_s=0.3) as web:
            assert agent.services["web1"]["Checks"] == [
                {
                    "CheckID": "service:web1", "Name": "Service 'web' check", "Status": "passing", "TTL": "300ms",
                    "DeregisterCriticalServiceAfter": "10m0s",
                }
            ]  # fmt: skip
            agent.wait(lambda: ("passing", "") in agent.updates)
            web.set_status("warning", "queue is long")
            agent.wait(lambda: agent.updates[-1] == ("warning", "queue is long"))
            agent.services.clear()
            agent.wait(lambda: agent.registrations_count == 2)
        assert agent.services == {}


def test_that_it_cannot_be_taken_back_is_told_unless_there_is_worse() -> None:
    agent = Agent()
    with fake_agent(agent) as site, Client(site.address, environment={}) as client:
        keeper = RegisteredService(client, WEB).__enter__()
        agent.down = True
        with pytest.raises(MeshError):
            keeper.__exit__(None, None, None)
        agent.down = False
        keeper = RegisteredService(client, WEB).__enter__()
        agent.down = True
        keeper.__exit__(KeyError, KeyError(), None)


def test_in_trio_too_and_errors_of_the_block_come_out_as_they_are() -> None:
    agent = Agent()

    async def serve(client: TrioClient) -> None:
        async with service_in_trio(client, WEB, ttl_s=0.3):
            while not agent.updates:
                await trio.sleep(0.01)
            agent.services.clear()
            while agent.registrations_count < 2:
                await trio.sleep(0.01)
            raise KeyError("mine")

    async def main(address: str) -> None:
        async with TrioClient(address, environment={}) as client:
            with trio.fail_after(PATIENCE_S), pytest.raises(KeyError):
                await serve(client)

    with fake_agent(agent) as site:
        trio.run(main, site.address)
    assert agent.services == {}


class Losing(Agent):
    """Registers, and its answer is lost."""

    def answer(self, asked: Asked) -> Told:
        told = super().answer(asked)
        return Told(hang_up=True) if asked.path.startswith("/v1/agent/service/register") else told


def test_a_registration_that_may_have_happened_is_taken_back_and_a_refused_one_is_not() -> None:
    agent = Losing()
    with fake_agent(agent) as site, Client(site.address, environment={}) as client:
        with pytest.raises(MeshError) as caught:
            RegisteredService(client, WEB).__enter__()
        assert not caught.value.definite
        assert (agent.registrations_count, agent.services) == (3, {})  # equal registrations may be repeated

    def refuse(_: Asked) -> Told:
        return Told(status=400, body=b"no")

    with fake_agent(refuse) as site, Client(site.address, environment={}) as client:
        with pytest.raises(MeshError):
            RegisteredService(client, WEB).__enter__()
        assert [asked.path for asked in site.asked] == ["/v1/agent/service/register"]


def test_in_trio_a_registration_that_is_cancelled_on_its_way_is_taken_back() -> None:
    registered, let_go = threading.Event(), threading.Event()

    class Slow(Agent):
        def answer(self, asked: Asked) -> Told:
            told = super().answer(asked)
            if asked.path.startswith("/v1/agent/service/register"):
                registered.set()
                let_go.wait(PATIENCE_S)
            return told

    agent = Slow()

    async def main(address: str) -> None:
        async with TrioClient(address, environment={}) as client, trio.open_nursery() as nursery:

            async def serve() -> None:
                async with service_in_trio(client, WEB):
                    pytest.fail("it is cancelled before")

            nursery.start_soon(serve)
            await trio.to_thread.run_sync(registered.wait, PATIENCE_S)
            nursery.cancel_scope.cancel()

    with fake_agent(agent) as site:
        trio.run(main, site.address)
        assert agent.services == {}
        let_go.set()
