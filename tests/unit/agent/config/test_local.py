"""Services and checks of configuration files: what is taken, what is complained about and where, what a reload does."""

from pathlib import Path

import pytest

from agent.config.load import load, validate_files
from agent.config.local import SCRIPTS_TEXT
from agent.config.reload import reloaded
from agent.config.runtime import RuntimeConfig
from agent.local.state import OutputSettings
from base.errors import ConfigInvalid

BASE = ["-data-dir=/x", "-bind=127.0.0.1", "-node=n1"]


def loaded(*words: str) -> tuple[RuntimeConfig, list[str]]:
    return load([*BASE, *words], environment={}, role="agent")


def written(folder: Path, text: str, name: str = "a.hcl") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_services_and_checks_of_all_files_count(tmp_path: Path) -> None:
    one = written(tmp_path, 'service { name = "web" check { ttl = "1s" } }\ncheck { name = "mem" ttl = "1s" }')
    two = written(
        tmp_path, '{"services": [{"name": "db"}, {"name": "api"}], "checks": [{"name": "c", "ttl": "1s"}]}', "b.json"
    )
    config, warnings = loaded("-config-file", one, "-config-file", two)
    definitions = config.local.definitions
    assert sorted(row.service.service_id for row in definitions.services) == ["api", "db", "web"]
    assert sorted(row.spec.check_id for row in definitions.checks) == ["c", "mem"]
    assert warnings == []


def test_everything_that_is_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    rows = (
        'service { name = "web" prot = 80 }',
        'service { name = "db" check { http = "x" } }',
        'check { name = "c" }',
        "service { }",
    )
    path = written(tmp_path, "\n".join(rows))
    with pytest.raises(ConfigInvalid) as raised:
        loaded("-config-file", path)
    assert str(raised.value).splitlines() == [
        f"{path}: service: 'web': service: invalid config key prot",
        f"{path}: service: 'db': Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
        f"{path}: service: one without a name: Missing service name",
        f"{path}: check: 'c': Invalid check: TTL must be > 0 for TTL checks",
    ]
    with pytest.raises(ConfigInvalid, match="invalid config key prot"):
        validate_files([path, written(tmp_path, 'data_dir = "/x"\nbind_addr = "127.0.0.1"', "b.hcl")])


def test_what_is_defined_twice_counts_once_and_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, 'service { name = "web" port = 1 }\nservice { name = "web" port = 2 }')
    config, warnings = loaded("-config-file", path)
    assert [row.service.port for row in config.local.definitions.services] == [2]
    assert warnings == ["services: 'web' is defined twice: the later one counts"]


def test_tokens_of_definitions_are_shown_to_nobody(tmp_path: Path) -> None:
    path = written(tmp_path, 'service { name = "web" token = "s3cret" check { ttl = "1s" token = "s3cret" } }')
    config, _ = loaded("-config-file", path)
    assert config.local.definitions.services[0].token == "s3cret"
    assert "s3cret" not in str(config.raw)


def test_scripts_are_off_unless_they_are_wanted_and_wanting_them_from_anywhere_is_a_warning() -> None:
    config, warnings = loaded()
    assert (config.local.scripts_from_anywhere, config.local.scripts_from_files, warnings) == (False, False, [])
    config, warnings = loaded("-enable-local-script-checks")
    assert (config.local.scripts_from_anywhere, config.local.scripts_from_files, warnings) == (False, True, [])
    config, warnings = loaded("-enable-script-checks")
    assert config.local.scripts_from_anywhere
    assert warnings == [f"-enable-script-checks: {SCRIPTS_TEXT}"]


def test_what_is_done_with_outputs_can_be_said() -> None:
    assert loaded()[0].local.outputs == OutputSettings(update_interval_s=300.0, discard=False, bytes_max=4096)
    hcl = 'check_update_interval = "0s"\ncheck_output_max_size = 100\ndiscard_check_output = true'
    config, _ = loaded("-hcl", hcl)
    assert config.local.outputs == OutputSettings(update_interval_s=0.0, discard=True, bytes_max=100)


def test_a_reload_takes_services_meta_and_what_becomes_of_outputs(tmp_path: Path) -> None:
    path = written(tmp_path, 'service { name = "web" }')
    old, _ = loaded("-config-file", path)
    written(
        tmp_path,
        'service { name = "db" }\nnode_meta { a = "b" }\ndiscard_check_output = true\ncheck_update_interval = "1s"',
    )
    new, _ = loaded("-config-file", path)
    result = reloaded(old, new)
    assert [row.service.service for row in result.config.local.definitions.services] == ["db"]
    assert result.config.node_meta == {"a": "b"}
    assert result.config.local.outputs == OutputSettings(discard=True)
    assert set(result.changed) == {"service", "node_meta", "discard_check_output"}
    assert result.needs_restart == ("check_update_interval",)


def test_what_checks_send_is_shown_to_nobody(tmp_path: Path) -> None:
    check = """{
        http = "http://user:s3cret@10.0.0.1:80/up?key=s3cret", interval = "1s", body = "s3cret"
        header { Authorization = ["Bearer s3cret"] }
    }"""
    path = written(tmp_path, f'service {{ name = "web" check {check} }} check {{ name = "c" ttl = "1s" }}')
    plain = '{"check": {"name": "d", "http": "http://10.0.0.1/?s3cret", "interval": "1s", "header": {"A": ["s3cret"]}}}'
    config, _ = loaded("-config-file", path, "-config-file", written(tmp_path, plain, "b.json"))
    shown = str(config.raw)
    assert "s3cret" not in shown
    assert "http://<hidden>@10.0.0.1:80/up?<hidden>" in shown
    assert "Authorization" in shown
    assert str(config.local.definitions.services).count("s3cret") == 4
