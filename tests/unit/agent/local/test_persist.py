"""Files of the data directory: what is kept, what is taken over from others, and what damage does (nothing)."""

import hashlib
import json
import stat
from pathlib import Path

import pytest

from agent.local.definitions import CheckDefinition, service_from_api
from agent.local.persist import LocalFiles, StoredService, file_name
from base.errors import DiskFailed
from structs.catalog import HealthCheck
from structs.check_spec import CheckSpec

WEB = service_from_api({"Name": "web", "ID": "a/b", "Tags": ["x"], "Check": {"TTL": "10s"}})
STORED = StoredService(service=WEB.service, token="secret")


def md5(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def test_what_is_saved_is_loaded_by_another_life(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(STORED)
    files.save_check(CheckDefinition(spec=WEB.checks[0], token="t"))
    again = LocalFiles(tmp_path)
    assert again.load_services() == [STORED]
    assert again.load_checks() == [CheckDefinition(spec=WEB.checks[0], token="t")]
    path = tmp_path / "services" / file_name("a/b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes())["Token"] == "secret"
    again.forget_service("a/b")
    again.forget_check("service:a/b")
    again.forget_check("never there")
    assert (again.load_services(), again.load_checks()) == ([], [])


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "nowhere")
    assert (files.load_services(), files.load_checks(), files.load_state("c")) == ([], [], None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"5",
        b'{"Service": 5}',
        b'{"Service": {"Service": ""}}',
        b'{"Token": 1}',
        b"x" * 99,
    ],
)
def test_a_damaged_file_is_skipped_and_stays(content: bytes, tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(STORED)
    files.save_check(CheckDefinition(spec=WEB.checks[0]))
    for folder in ("services", "checks"):
        (tmp_path / folder / file_name("bad")).write_bytes(content)
    assert files.load_services() == [STORED]
    assert len(files.load_checks()) == 1
    assert (tmp_path / "services" / file_name("bad")).read_bytes() == content


def test_a_file_under_the_name_of_another_id_does_not_count(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(STORED)
    (tmp_path / "services" / file_name("a/b")).rename(tmp_path / "services" / file_name("c"))
    assert files.load_services() == []


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(STORED)
    left = tmp_path / "services" / (file_name("x") + ".tmp")
    left.write_bytes(b"{")
    assert files.load_services() == [STORED]
    assert not left.exists()


def test_files_of_an_older_agent_are_taken_over_once(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "checks" / "state").mkdir(parents=True)
    service = {
        "Token": "",
        "Service": {
            "Kind": "", "ID": "web1", "Service": "web", "Tags": None, "Address": "", "Meta": {}, "Port": 80,
            "EnableTagOverride": False, "ProxyDestination": "", "Connect": {"Native": False, "Proxy": None},
            "CreateIndex": 0, "ModifyIndex": 0,
        },
    }  # fmt: skip
    check = {
        "Check": {
            "Node": "n1", "CheckID": "service:web1", "Name": "Service 'web' check", "Status": "critical", "Notes": "",
            "Output": "", "ServiceID": "web1", "ServiceName": "web", "ServiceTags": [], "Definition": {},
        },
        "ChkType": {
            "CheckID": "", "Name": "", "Status": "", "Notes": "", "ScriptArgs": None, "HTTP": "", "Header": None,
            "Method": "", "TCP": "", "Interval": 0, "Timeout": 0, "TTL": 10_000_000_000,
            "DeregisterCriticalServiceAfter": 0,
        },
        "Token": "t",
    }  # fmt: skip
    state = {"CheckID": "service:web1", "Output": "fine", "Status": "passing", "Expires": 1_000_010}
    (tmp_path / "services" / md5("web1")).write_text(json.dumps(service))
    (tmp_path / "checks" / md5("service:web1")).write_text(json.dumps(check))
    (tmp_path / "checks" / "state" / md5("service:web1")).write_text(json.dumps(state))
    files = LocalFiles(tmp_path, wall_unix_s=lambda: 1_000_000.0)
    found = files.load_services()
    assert [(stored.service.service_id, stored.service.port) for stored in found] == [("web1", 80)]
    assert [(row.spec.check_id, row.spec.ttl_s, row.token) for row in files.load_checks()] == [
        ("service:web1", 10.0, "t")
    ]
    assert files.load_state("service:web1") is not None
    assert [path.name for path in (tmp_path / "services").iterdir()] == [file_name("web1")]
    assert not (tmp_path / "checks" / md5("service:web1")).exists()
    assert LocalFiles(tmp_path).load_services() == found


def test_where_both_names_are_there_the_new_one_counts(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_service(STORED)
    old = json.loads((tmp_path / "services" / file_name("a/b")).read_bytes())
    old["Service"]["Port"] = 9
    (tmp_path / "services" / md5("a/b")).write_text(json.dumps(old))
    assert files.load_services() == [STORED]
    assert [path.name for path in (tmp_path / "services").iterdir()] == [file_name("a/b")]


def test_a_state_holds_until_its_time_is_over(tmp_path: Path) -> None:
    now_s = 1_000_000.0
    files = LocalFiles(tmp_path, wall_unix_s=lambda: now_s)
    check = HealthCheck(node="n1", check_id="c", status="warning", output="so so")
    files.save_state(check, 10.0)
    found = files.load_state("c")
    assert found is not None
    assert (found.status, found.output, found.left_s) == ("warning", "so so", 10.0)
    now_s += 10.0
    assert files.load_state("c") is None
    files.forget_check("c")
    now_s -= 100.0
    assert files.load_state("c") is None


@pytest.mark.parametrize(
    "state",
    [
        {"CheckID": "c", "Status": "passing", "Output": 5, "Expires": 2e9},
        {"CheckID": "c", "Status": "fine", "Expires": 2e9},
        {"CheckID": "other", "Status": "passing", "Expires": 2e9},
        {"CheckID": "c", "Status": "passing", "Expires": "later"},
        {"CheckID": "c", "Status": "passing", "Expires": 10**400},
    ],
)
def test_a_state_that_makes_no_sense_is_none(state: dict[str, object], tmp_path: Path) -> None:
    folder = tmp_path / "checks" / "state"
    folder.mkdir(parents=True)
    (folder / file_name("c")).write_text(json.dumps(state))
    assert LocalFiles(tmp_path, wall_unix_s=lambda: 1e9).load_state("c") is None


def test_a_disk_that_fails_says_so_and_works_again_later(tmp_path: Path) -> None:
    (tmp_path / "services").write_text("in the way")
    files = LocalFiles(tmp_path)
    with pytest.raises(DiskFailed):
        files.save_service(STORED)
    assert files.load_services() == []
    (tmp_path / "services").unlink()
    files.save_service(STORED)
    assert files.load_services() == [STORED]


def test_only_what_is_set_of_a_check_is_written(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.save_check(CheckDefinition(spec=CheckSpec(check_id="_node_maintenance", name="m", status="critical")))
    row = json.loads((tmp_path / "checks" / file_name("_node_maintenance")).read_bytes())
    assert row["ChkType"] == {"Status": "critical", "H2PingUseTLS": True}
    assert files.load_checks()[0].spec.kind == ""
