"""The agent's own services through lives and reloads: what survives, what wins, what goes on undisturbed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from agent.local.definitions import (
    CheckDefinition,
    Definitions,
    check_from_api,
    check_from_file,
    service_from_api,
    service_from_file,
)
from agent.local.persist import LocalFiles, StoredService
from agent.local.services import aggregated
from agent.local.state import Origin, OutputSettings
from base.errors import ConfigInvalid, DiskFailed, NotFound, Refused
from structs.catalog import HealthCheck
from tests.fakes.http_server import until
from tests.fakes.local import INFO, LocalSite

WEB: dict[str, object] = {"Name": "web", "Check": {"TTL": "10s"}}


@asynccontextmanager
async def running(site: LocalSite) -> AsyncGenerator[LocalSite, None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(site.local.run)
        yield site
        nursery.cancel_scope.cancel()


async def register(site: LocalSite, body: dict[str, object], *, replaces_checks: bool = False) -> None:
    await site.local.register_service(service_from_api(body), token="t", replaces_checks=replaces_checks)


def from_files(*services: dict[str, object], checks: tuple[dict[str, object], ...] = ()) -> Definitions:
    return Definitions(
        services=[service_from_file(row) for row in services], checks=[check_from_file(row) for row in checks]
    )


async def reload(site: LocalSite, definitions: Definitions) -> None:
    await site.local.reload(definitions, OutputSettings(), INFO)


def statuses(site: LocalSite) -> dict[str, str]:
    return {check_id: entry.check.status for check_id, entry in site.local.state.checks.items()}


async def test_a_restart_restores_services_and_the_states_that_still_hold(tmp_path: Path) -> None:
    async with running(LocalSite(folder=tmp_path)) as site:
        await register(site, WEB)
        await register(site, {"Name": "db", "Check": {"TTL": "10s", "Status": "passing"}})
        await register(site, {"Name": "http", "Check": {"HTTP": "http://x", "Interval": "1s", "Status": "passing"}})
        site.local.update_ttl("service:web", "warning", "so so")
        await site.local.maintain_node(enable=True, reason="", token="")
    async with running(LocalSite(folder=tmp_path, wall_unix_s=1_000_005.0)) as site:
        assert sorted(site.local.state.services) == ["db", "http", "web"]
        assert site.local.state.services["web"].token == "t"
        assert statuses(site) == {
            "_node_maintenance": "critical",
            "service:db": "critical",
            "service:http": "critical",
            "service:web": "warning",
        }
        assert site.local.state.checks["service:web"].check.output == "so so"
        assert sorted(site.runs.running) == ["service:db", "service:http", "service:web"]
    async with running(LocalSite(folder=tmp_path, wall_unix_s=1_000_011.0)) as site:
        assert statuses(site)["service:web"] == "critical"


async def test_what_is_deregistered_does_not_come_back(tmp_path: Path) -> None:
    async with running(LocalSite(folder=tmp_path)) as site:
        await register(site, WEB)
        await site.local.register_check(check_from_api({"Name": "mem", "TTL": "1s"}).spec, token="")
        await site.local.deregister_service("web")
        await site.local.deregister_check("mem")
        assert site.runs.running == {}
        with pytest.raises(NotFound, match=r'Unknown service ID "web". Ensure that the service ID is passed'):
            await site.local.deregister_service("web")
        with pytest.raises(NotFound, match=r'Unknown check ID "mem". Ensure that the check ID is passed'):
            await site.local.deregister_check("mem")
    async with running(LocalSite(folder=tmp_path)) as site:
        assert (dict(site.local.state.services), statuses(site)) == ({}, {})


async def test_a_file_wins_over_what_the_api_defined_under_the_same_id(tmp_path: Path) -> None:
    async with running(LocalSite(folder=tmp_path)) as site:
        await register(site, {"Name": "web", "Port": 1, "Check": {"TTL": "10s"}})
    definitions = from_files({"name": "web", "port": 2, "check": {"ttl": "20s"}})
    async with running(LocalSite(folder=tmp_path, definitions=definitions)) as site:
        entry = site.local.state.services["web"]
        assert (entry.service.port, entry.origin) == (2, Origin.FILE)
        assert site.runs.running["service:web"].ttl_s == 20.0
    async with running(LocalSite(folder=tmp_path)) as site:
        assert dict(site.local.state.services) == {}, "what the file overruled is forgotten"


async def test_a_script_that_may_not_run_changes_nothing(tmp_path: Path) -> None:
    async with running(LocalSite(folder=tmp_path)) as site:
        with pytest.raises(Refused, match="Scripts are disabled"):
            await register(site, {"Name": "web", "Check": {"Args": ["x"], "Interval": "1s"}})
        assert dict(site.local.state.services) == {}
        assert LocalFiles(tmp_path).load_services() == []
    definitions = from_files({"name": "web", "check": {"args": ["x"], "interval": "1s"}})
    with pytest.RaisesGroup(ConfigInvalid, flatten_subgroups=True):
        async with running(LocalSite(definitions=definitions)):
            pytest.fail("it started")


async def test_a_stored_check_that_may_not_run_now_is_left_where_it_is(tmp_path: Path) -> None:
    spec = check_from_api({"Name": "s", "Args": ["x"], "Interval": "1s"}).spec
    LocalFiles(tmp_path).save_check(CheckDefinition(spec=spec))
    LocalFiles(tmp_path).save_service(StoredService(service=service_from_api(WEB).service, token=""))
    async with running(LocalSite(folder=tmp_path)) as site:
        assert list(site.local.state.services) == ["web"]
        assert statuses(site) == {}
    assert len(LocalFiles(tmp_path).load_checks()) == 1


async def test_registering_again_keeps_the_status_and_disturbs_nothing_that_is_the_same() -> None:
    async with running(LocalSite()) as site:
        await register(site, WEB)
        site.local.update_ttl("service:web", "passing", "fine")
        await register(site, WEB)
        assert site.runs.started == ["service:web critical"]
        await register(site, {"Name": "web", "Check": {"TTL": "20s"}})
        assert site.runs.started[1:] == ["service:web passing fine"]
        assert statuses(site) == {"service:web": "passing"}


async def test_a_check_alone_that_is_registered_anew_begins_anew() -> None:
    async with running(LocalSite()) as site:
        spec = check_from_api({"Name": "mem", "TTL": "1s"}).spec
        await site.local.register_check(spec, token="")
        site.local.update_ttl("mem", "passing", "")
        await site.local.register_check(spec, token="")
        assert statuses(site) == {"mem": "passing"}, "the same is no change"
        await site.local.register_check(check_from_api({"Name": "mem", "TTL": "2s"}).spec, token="")
        assert statuses(site) == {"mem": "critical"}
        await site.local.register_check(
            check_from_api({"Name": "mem", "TTL": "2s", "Status": "passing"}).spec, token=""
        )
        assert statuses(site) == {"mem": "passing"}


async def test_other_checks_of_a_service_go_only_where_that_is_wanted(tmp_path: Path) -> None:
    both: dict[str, object] = {"Name": "web", "Checks": [{"CheckID": "a", "TTL": "1s"}, {"CheckID": "b", "TTL": "1s"}]}
    one: dict[str, object] = {"Name": "web", "Check": {"CheckID": "a", "TTL": "1s"}}
    async with running(LocalSite(folder=tmp_path)) as site:
        await register(site, both)
        await register(site, one)
        assert sorted(statuses(site)) == ["a", "b"]
        await register(site, one, replaces_checks=True)
        assert sorted(statuses(site)) == ["a"]
        await until(lambda: sorted(site.catalog.checks) == ["a"])
        assert sorted(site.runs.running) == ["a"]
    assert [row.spec.check_id for row in LocalFiles(tmp_path).load_checks()] == ["a"]


async def test_maintenance_begins_once_and_ends() -> None:
    async with running(LocalSite()) as site:
        await register(site, WEB)
        await site.local.maintain_service("web", enable=True, reason="upgrade", token="")
        await site.local.maintain_service("web", enable=True, reason="other", token="")
        check = site.local.state.checks["_service_maintenance:web"].check
        assert (check.name, check.status, check.notes) == ("Service Maintenance Mode", "critical", "upgrade")
        await site.local.maintain_service("web", enable=False, reason="", token="")
        await site.local.maintain_service("web", enable=False, reason="", token="")
        assert list(site.local.state.checks) == ["service:web"]
        with pytest.raises(NotFound, match='No service registered with ID "db"'):
            await site.local.maintain_service("db", enable=True, reason="", token="")
        await site.local.maintain_node(enable=True, reason="", token="")
        notes = site.local.state.checks["_node_maintenance"].check.notes
        assert notes == (
            "Maintenance mode is enabled for this node, but no reason was provided. This is a default message."
        )


async def test_a_reload_touches_only_what_is_different(tmp_path: Path) -> None:
    definitions = from_files(
        {"name": "same", "check": {"ttl": "1s"}},
        {"name": "changed", "check": {"ttl": "1s"}},
        {"name": "gone", "check": {"ttl": "1s"}},
        checks=({"id": "mem", "name": "mem", "ttl": "1s"},),
    )
    async with running(LocalSite(folder=tmp_path, definitions=definitions)) as site:
        await register(site, {"Name": "api", "Check": {"TTL": "1s"}})
        for check_id in site.local.state.checks:
            site.local.update_ttl(check_id, "passing", "ok")
        started = len(site.runs.started)
        await reload(
            site,
            from_files(
                {"name": "same", "check": {"ttl": "1s"}},
                {"name": "changed", "port": 80, "check": {"ttl": "2s"}},
                {"name": "new", "check": {"ttl": "1s"}},
            ),
        )
        assert sorted(site.local.state.services) == ["api", "changed", "new", "same"]
        assert statuses(site) == {
            "service:api": "passing",
            "service:changed": "passing",
            "service:new": "critical",
            "service:same": "passing",
        }
        assert site.runs.started[started:] == ["service:changed passing ok", "service:new critical"]
        await until(lambda: sorted(site.catalog.services) == ["api", "changed", "new", "same"])
        assert "mem" not in site.catalog.checks


async def test_a_reload_that_cannot_be_had_changes_nothing() -> None:
    async with running(LocalSite(definitions=from_files({"name": "web"}))) as site:
        with pytest.raises(Refused, match="Scripts are disabled"):
            await reload(site, from_files({"name": "other", "check": {"args": ["x"], "interval": "1s"}}))
        with pytest.raises(Refused, match='ServiceID "nobody" does not exist'):
            await reload(site, from_files(checks=({"name": "c", "ttl": "1s", "service_id": "nobody"},)))
        with pytest.raises(Refused, match='ServiceID "web" does not exist'):
            await reload(site, from_files(checks=({"name": "c", "ttl": "1s", "service_id": "web"},)))
        assert list(site.local.state.services) == ["web"]


async def test_a_check_in_a_file_may_be_of_a_service_of_the_api(tmp_path: Path) -> None:
    definitions = from_files(checks=({"name": "c", "ttl": "1s", "service_id": "web"},))
    async with running(LocalSite(folder=tmp_path)) as site:
        await register(site, {"Name": "web"})
        await reload(site, definitions)
        assert statuses(site) == {"c": "critical"}
    async with running(LocalSite(folder=tmp_path, definitions=definitions)) as site:
        assert statuses(site) == {"c": "critical"}
    async with running(LocalSite(definitions=definitions)) as site:
        assert statuses(site) == {}, "told of, but no reason not to start"


async def test_a_service_that_is_critical_for_too_long_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with running(LocalSite()) as site:
        await register(site, {"Name": "web", "Check": {"TTL": "1s", "DeregisterCriticalServiceAfter": "1m"}})
        await trio.sleep(31.0)
        assert list(site.local.state.services) == ["web"]
        site.now_s += 61.0
        await trio.sleep(31.0)
        assert dict(site.local.state.services) == {}
        await until(lambda: site.catalog.services == {})


async def test_one_that_recovers_while_others_are_given_up_stays(autojump_clock: trio.testing.MockClock) -> None:
    """Without servers, each takes a while to be given up."""
    check = {"TTL": "1s", "DeregisterCriticalServiceAfter": "1m"}
    async with running(LocalSite()) as site:
        await register(site, {"Name": "web", "Check": check})
        await register(site, {"Name": "db", "Check": check})
        site.catalog.gate = trio.Event()
        site.now_s += 61.0
        await trio.sleep(30.5)
        assert list(site.local.state.services) == ["db"]
        site.local.update_ttl("service:db", "passing", "back again")
        site.catalog.gate.set()
        await trio.sleep(61.0)
        assert list(site.local.state.services) == ["db"]


async def test_a_kill_between_its_files_never_leaves_a_service_without_its_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without checks it would pass."""

    def killed(*_: object) -> None:
        raise DiskFailed("killed here")

    async with running(LocalSite(folder=tmp_path)) as site:
        with monkeypatch.context() as patch:
            patch.setattr(LocalFiles, "save_service", killed)
            with pytest.raises(DiskFailed):
                await register(site, WEB)
    async with running(LocalSite(folder=tmp_path)) as site:
        assert (dict(site.local.state.services), statuses(site)) == ({}, {})
        await register(site, WEB)
        with monkeypatch.context() as patch:
            patch.setattr(LocalFiles, "forget_check", killed)
            with pytest.raises(DiskFailed):
                await site.local.deregister_service("web")
    async with running(LocalSite(folder=tmp_path)) as site:
        assert (dict(site.local.state.services), statuses(site)) == ({}, {})


async def test_a_state_is_written_when_it_changes_and_when_half_its_time_is_over(tmp_path: Path) -> None:
    async with running(LocalSite(folder=tmp_path)) as site:
        await register(site, WEB)
        folder = tmp_path / "checks" / "state"
        site.local.update_ttl("service:web", "passing", "ok")
        (path,) = folder.iterdir()
        path.unlink()
        site.local.update_ttl("service:web", "passing", "ok")
        assert not path.exists()
        site.now_s += 5.0
        site.local.update_ttl("service:web", "passing", "ok")
        assert path.exists()
        path.unlink()
        site.local.update_ttl("service:web", "warning", "ok")
        assert path.exists()


async def test_what_is_counted_is_told() -> None:
    async with running(LocalSite()) as site:
        await register(site, WEB)
        await register(site, {"Name": "db", "Check": {"TCP": "x:1", "Interval": "1s"}})
        await site.local.maintain_node(enable=True, reason="", token="")
        assert site.local.statistics() == {"check_monitors": "1", "check_ttls": "1", "checks": "3", "services": "2"}
        assert dict(site.local.event_services()) == {"web": [], "db": []}


@pytest.mark.parametrize(
    ("checks", "worst"),
    [
        ([], "passing"),
        ([("a", "passing"), ("b", "warning")], "warning"),
        ([("a", "critical"), ("b", "warning")], "critical"),
        ([("a", "critical"), ("_node_maintenance", "critical")], "maintenance"),
        ([("_service_maintenance:web", "critical"), ("a", "passing")], "maintenance"),
    ],
)
def test_the_worst_counts(checks: list[tuple[str, str]], worst: str) -> None:
    assert aggregated(HealthCheck(node="n", check_id=name, status=status) for name, status in checks) == worst
