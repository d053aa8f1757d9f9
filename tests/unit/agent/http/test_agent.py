"""/v1/agent/self, join, leave and force-leave: what the agent is asked to do, and what it says when it cannot."""

import json

from base.errors import OutcomeUnknown
from structs.coordinate import Coordinate
from tests.fakes.http_server import http_site


async def test_the_agents_position_is_part_of_what_it_says_of_itself() -> None:
    async with http_site() as site:
        assert json.loads((await site.ask("GET", "/v1/agent/self"))[2])["Coord"] is None
        site.agent.position = Coordinate(vec=[0.25, *[0.0] * 7])
        body = (await site.ask("GET", "/v1/agent/self"))[2]
        assert b'"Coord":{"Vec":[0.25,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0.00001},"Member":' in body


async def test_what_is_wanted_reaches_the_agent() -> None:
    async with http_site() as site:
        for target in (
            "join/10.0.0.9:8301",
            "join/%5Bfd00::1%5D:8302?wan=1",
            "join/h?wan=",
            "force-leave/n2",
            "force-leave/n2?prune&wan",
            "leave",
        ):
            assert (await site.ask("PUT", f"/v1/agent/{target}"))[::2] == (200, b"")
        assert site.agent.done == [
            ("join", ["10.0.0.9:8301"], False),
            ("join", ["[fd00::1]:8302"], True),
            ("join", ["h"], False),
            ("force_leave", "n2", False, False),
            ("force_leave", "n2", True, True),
            ("leave",),
        ]


async def test_an_address_that_did_not_take_us_in_is_an_error_with_its_reason() -> None:
    async with http_site() as site:
        site.agent.join_errors = {"10.0.0.9": "dial tcp 10.0.0.9:8301: connection refused"}
        status, headers, body = await site.ask("PUT", "/v1/agent/join/10.0.0.9")
        assert (status, headers["x-mesh-outcome"]) == (500, "unknown")
        assert body.decode() == (
            "1 error occurred:\n\n* Failed to join 10.0.0.9: dial tcp 10.0.0.9:8301: connection refused"
        )


async def test_only_servers_join_the_pool_of_all_servers() -> None:
    async with http_site() as site:
        site.agent.is_server = False
        status, headers, body = await site.ask("PUT", "/v1/agent/join/10.0.0.9?wan=1")
        assert (status, headers["x-mesh-outcome"]) == (500, "refused")
        assert body == b"Must be a server to join WAN cluster"
        assert (await site.ask("GET", "/v1/agent/members?wan=1"))[2] == b"[]"
        assert site.agent.done == []


async def test_a_leave_that_fails_says_why() -> None:
    async with http_site() as site:
        site.agent.error = OutcomeUnknown("nobody heard it")
        assert (await site.ask("PUT", "/v1/agent/leave"))[::2] == (500, b"nobody heard it")
