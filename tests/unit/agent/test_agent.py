"""What an agent knows and does by itself, over whoever keeps the list of members."""

import pytest
import trio
import trio.testing

from agent.agent import Agent, AgentFacts
from agent.config.load import load
from agent.config.runtime import RuntimeConfig
from agent.membership import JoinReport
from base.errors import Refused
from structs.cluster import Member, MemberStatus
from structs.coordinate import Coordinate
from tests.fakes.delegate import FakeDelegate
from tests.fakes.local import LocalSite


def configured(*flags: str) -> RuntimeConfig:
    words = ["-data-dir=/x", "-bind=127.0.0.1", "-node=n1", *flags]
    return load(words, environment={}, role="server" if "-server" in flags else "agent")[0]


class FakeMembership:
    """Notes what it is asked for; a leave takes until `may_leave` is set."""

    def __init__(self) -> None:
        self.leaves_count = 0
        self.may_leave = trio.Event()
        self.sections: dict[str, dict[str, str]] = {}

    def self_member(self) -> Member:
        return Member(name="n1", address="10.0.0.1", port=8301, tags={})

    def members(self, *, wan: bool) -> list[Member]:
        failed = Member(name="n2", address="10.0.0.2", port=8301, tags={}, status=MemberStatus.FAILED)
        return [] if wan else [self.self_member(), failed]

    def statistics(self) -> dict[str, dict[str, str]]:
        return self.sections

    def coordinate(self) -> Coordinate | None:
        return Coordinate()

    async def join(self, addresses: list[str], *, wan: bool) -> JoinReport:
        return JoinReport(contacted_count=len(addresses))

    async def force_leave(self, name: str, *, prune: bool, wan: bool) -> bool:
        return name == "n2"

    async def leave(self) -> None:
        self.leaves_count += 1
        await self.may_leave.wait()


def facts(*flags: str) -> tuple[AgentFacts, FakeMembership]:
    membership = FakeMembership()
    return AgentFacts(configured(*flags), node_id="id-1", membership=membership, local=LocalSite().local), membership


async def test_a_leave_is_carried_out_once_and_all_who_ask_wait_for_it() -> None:
    agent, membership = facts()
    done: list[str] = []

    async def leave(name: str) -> None:
        await agent.leave()
        done.append(name)

    async def watch() -> None:
        await agent.wait_left()
        done.append("watcher")

    async with trio.open_nursery() as nursery:
        for name in ("api", "signal"):
            nursery.start_soon(leave, name)
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        assert done == []
        membership.may_leave.set()
    assert sorted(done) == ["api", "signal", "watcher"]
    await agent.leave()
    assert membership.leaves_count == 1


async def test_a_leave_that_is_cancelled_can_be_asked_for_again() -> None:
    agent, membership = facts()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    membership.may_leave.set()
    await agent.leave()
    assert membership.leaves_count == 2


async def test_a_client_agent_joins_no_pool_of_servers() -> None:
    agent, _ = facts()
    with pytest.raises(Refused, match="Must be a server to join WAN cluster"):
        await agent.join(["10.0.0.9"], wan=True)
    assert (await agent.join(["10.0.0.9"], wan=False)).contacted_count == 1
    server, _ = facts("-server")
    assert (await server.join(["10.0.0.9"], wan=True)).contacted_count == 1


async def test_what_membership_counts_is_told_beside_what_every_agent_counts() -> None:
    agent, membership = facts()
    assert sorted(agent.statistics()) == ["agent", "build", "runtime"]
    membership.sections = {"serf_lan": {"encrypted": "true"}, "runtime": {"os": "better known"}}
    assert agent.statistics()["serf_lan"] == {"encrypted": "true"}
    assert agent.statistics()["runtime"] == {"os": "better known"}


async def test_coordinates_can_be_switched_off() -> None:
    agent, _ = facts()
    assert (agent.coordinates_enabled, agent.coordinate()) == (True, Coordinate())
    agent, _ = facts("-hcl", "disable_coordinates = true")
    assert (agent.coordinates_enabled, agent.coordinate()) == (False, None)


async def test_a_reload_that_is_refused_leaves_the_watches_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    about, _ = facts()
    agent = Agent(configured(), delegate=FakeDelegate(), facts=about, sockets=[], https_sockets=[])
    replaced: list[object] = []
    monkeypatch.setattr(agent.watches, "replace", replaced.append)

    async def refused(_: RuntimeConfig) -> None:
        raise Refused("Scripts are disabled on this agent")

    with monkeypatch.context() as patch:
        patch.setattr(about, "take_config", refused)
        with pytest.raises(Refused):
            await agent.reload(configured())
    assert replaced == []
    await agent.reload(configured())
    assert len(replaced) == 1
