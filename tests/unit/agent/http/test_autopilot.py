"""/v1/operator/autopilot/configuration, health and state: what the leader is asked, and ill clusters."""

import json

from msgspec.structs import replace

from structs.autopilot import SECOND, AutopilotConfig, AutopilotSetRequest, ServerHealthRequest
from structs.cluster import MemberStatus
from structs.query import Consistency, QueryOptions, WriteOptions
from tests.fakes.http_server import http_site


async def test_the_whole_configuration_is_sent_with_its_condition() -> None:
    async with http_site() as site:
        body = (
            b'{"CleanupDeadServers":true,"LastContactThreshold":"1m0.5s","MaxTrailingLogs":18446744073709551615,'
            b'"ServerStabilizationTime":10000000000,"RedundancyZoneTag":"zone","DisableUpgradeMigration":true,'
            b'"UpgradeVersionTag":"v","CreateIndex":99,"ModifyIndex":99}'
        )
        assert (await site.ask("PUT", "/v1/operator/autopilot/configuration?cas=4&token=t", body))[2] == b"true"
        config = AutopilotConfig(
            cleanup_dead_servers=True,
            last_contact_threshold_ns=60_500_000_000,
            max_trailing_logs=(1 << 64) - 1,
            server_stabilization_time_ns=10 * SECOND,
            redundancy_zone_tag="zone",
            disable_upgrade_migration=True,
            upgrade_version_tag="v",
            modify_index=4,
        )
        assert site.delegate.calls[-1] == (
            "Operator.AutopilotSetConfiguration",
            AutopilotSetRequest(config=config, cas=True, options=WriteOptions(token="t")),
        )


async def test_without_a_condition_the_answer_is_always_true() -> None:
    async with http_site() as site:
        assert (await site.ask("PUT", "/v1/operator/autopilot/configuration", b"null"))[2] == b"true"
        sent = site.delegate.calls[-1][1]
        assert isinstance(sent, AutopilotSetRequest)
        assert (sent.cas, sent.config.cleanup_dead_servers, sent.config.max_trailing_logs) == (False, False, 0)


async def test_health_is_asked_of_the_leader_whatever_the_client_says() -> None:
    async with http_site() as site:
        for query in ("", "?stale", "?consistent", "?index=7"):
            assert (await site.ask("GET", f"/v1/operator/autopilot/health{query}"))[0] == 200
            asked = site.delegate.calls[-1][1]
            assert isinstance(asked, ServerHealthRequest)
            assert asked.options.consistency is Consistency.CONSISTENT
            assert asked.options.index_min == 0
        await site.ask("GET", "/v1/operator/autopilot/health")
        assert site.delegate.calls[-1][1] == ServerHealthRequest(
            options=QueryOptions(consistency=Consistency.CONSISTENT)
        )


async def test_an_unhealthy_cluster_is_a_429_with_the_same_body() -> None:
    async with http_site() as site:
        assert site.delegate.server_health is not None
        (server,) = site.delegate.server_health
        ill = replace(
            server,
            server_id="other",
            leader=False,
            voter=False,
            healthy=False,
            last_contact_ns=-1,
            stable_since_unix_s=0.0,
            serf_status=MemberStatus.FAILED,
            meta={"k": "v"},
        )
        site.delegate.server_health = [server, ill]
        status, headers, body = await site.ask("GET", "/v1/operator/autopilot/health")
        assert (status, headers["content-type"]) == (429, "application/json")
        row = json.loads(body)["Servers"][1]
        assert (row["LastContact"], row["StableSince"], row["SerfStatus"]) == ("-1ns", "0001-01-01T00:00:00Z", "failed")
        status, _, body = await site.ask("GET", "/v1/operator/autopilot/state")
        state = json.loads(body)
        assert (status, state["Healthy"], state["Voters"]) == (200, False, [server.server_id])
        assert (state["Servers"]["other"]["Status"], state["Servers"]["other"]["Meta"]) == ("non-voter", {"k": "v"})


async def test_before_the_first_round_nothing_is_known() -> None:
    async with http_site() as site:
        site.delegate.server_health = None
        status, _, body = await site.ask("GET", "/v1/operator/autopilot/health")
        assert (status, body) == (429, b'{"Healthy":false,"FailureTolerance":0,"Servers":null}')
        assert (await site.ask("GET", "/v1/operator/autopilot/state"))[2] == (
            b'{"Healthy":false,"FailureTolerance":0,"OptimisticFailureTolerance":0,"Servers":{},"Leader":"","Voters":[]}'
        )
