"""From arguments and files to one frozen configuration, or one error that names every mistake."""

from pathlib import Path

import pytest

from agent.config import addresses
from agent.config.load import HelpWanted, load, validate_files
from agent.config.options import OPTIONS
from agent.config.reload import reloaded
from agent.config.runtime import HostPort, RuntimeConfig, UnixPath
from base.errors import ConfigInvalid

BASE = ["-data-dir", "/var/lib/mesh", "-bind", "127.0.0.1"]


def server(*flags: str) -> RuntimeConfig:
    return load([*BASE, *flags], environment={}, role="server")[0]


def agent(*flags: str) -> RuntimeConfig:
    return load([*BASE, *flags], environment={}, role="agent")[0]


def complaint(*flags: str, role: str = "agent", base: bool = True) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load([*(BASE if base else []), *flags], environment={}, role=role)  # type: ignore[arg-type]
    return str(caught.value)


def test_every_flag_of_the_issue_is_understood_in_every_spelling() -> None:
    config = server(
        "-node=n1", "--client", "0.0.0.0", "-http-port", "9500", "-server-port=9300", "-log-level", "debug",
        "-bootstrap-expect=3", "-join", "a:1", "-retry-join=b", "-retry-join", "[::1]:7", "-datacenter=DC2",
        "-log-json", "-node-meta", "rack:7", "-node-meta=zone:a:b", "-log-json=false",
    )  # fmt: skip
    assert config.node_name == "n1"
    assert config.http_listen == (HostPort("0.0.0.0", 9500),)
    assert config.rpc_listen == HostPort("127.0.0.1", 9300)
    assert config.bootstrap_expect == 3
    assert config.gossip.lan.join.start == ("a:1",)
    assert config.gossip.lan.join.retry == ("b:8301", "[::1]:7")
    assert config.datacenter == "dc2"
    assert config.log_level == "DEBUG"
    assert config.log_json is False
    assert config.node_meta == {"rack": "7", "zone": "a:b"}


def test_defaults_are_those_of_the_specification() -> None:
    config = server()
    assert (config.ports.http, config.ports.https, config.ports.dns, config.ports.server) == (8500, -1, 8600, 8300)
    assert (config.ports.serf_lan, config.ports.serf_wan) == (8301, 8302)
    assert (config.datacenter, config.domain, config.log_level) == ("dc1", "consul", "INFO")
    assert config.http_listen == (HostPort("127.0.0.1", 8500),)
    assert config.https_listen == ()
    assert config.node_name == addresses.host_name()
    assert config.performance.raft_multiplier == 1
    assert config.performance.rpc_hold_timeout_s == 7.0
    assert config.performance.raft_snapshot_threshold == 16384
    assert config.limits.kv_value_bytes_max == 524288
    assert config.limits.http_connections_per_client_max == 200
    assert (config.limits.query_wait_s_default, config.limits.query_wait_s_max) == (300.0, 600.0)
    gossip = config.gossip
    assert gossip.wan is not None
    assert gossip.lan.join.retry_interval_s == 30.0
    assert (gossip.lan.listen.port, gossip.wan.listen.port) == (8301, 8302)
    assert (gossip.lan.probe_interval_s, gossip.lan.probe_timeout_s, gossip.lan.suspicion_multiplier) == (1.0, 0.5, 4)
    assert (gossip.wan.probe_interval_s, gossip.wan.probe_timeout_s, gossip.wan.suspicion_multiplier) == (5.0, 3.0, 6)
    assert (gossip.verify_incoming, gossip.verify_outgoing, gossip.keeps_keyring) == (True, True, True)
    assert gossip.lan.reconnect_timeout_s == 72 * 3600
    assert config.autopilot.server_stabilization_time_s == 10.0


def test_gossip_of_a_server_and_of_an_agent_listens_and_tells_what_was_asked_for() -> None:
    made = server(
        "-serf-lan-port=1", "-serf-wan-port=2", "-serf-lan-bind=127.0.0.2", "-advertise=10.0.0.9",
        "-advertise-wan=192.0.2.1", "-join-wan=far", "-serf-lan-allowed-cidrs=10.0.0.7/8",
        "-hcl", 'gossip_lan { probe_interval = "3s" } rejoin_after_leave = true',
    )  # fmt: skip
    lan, wan = made.gossip.lan, made.gossip.wan
    assert wan is not None
    assert (lan.listen, lan.advertise) == (HostPort("127.0.0.2", 1), HostPort("10.0.0.9", 1))
    assert (wan.listen, wan.advertise) == (HostPort("127.0.0.1", 2), HostPort("192.0.2.1", 2))
    assert wan.join.start == ("far:2",)
    assert lan.allowed_networks == ("10.0.0.0/8",)
    assert (lan.probe_interval_s, wan.probe_interval_s) == (3.0, 5.0)
    assert made.gossip.rejoin_after_leave
    assert agent().gossip.wan is None
    assert server("-serf-wan-port=-1").gossip.wan is None


def test_leaving_on_signals_depends_on_the_role_unless_said() -> None:
    assert (server().leave_on_terminate, server().skip_leave_on_interrupt) == (False, True)
    assert (agent().leave_on_terminate, agent().skip_leave_on_interrupt) == (True, False)
    assert server("-hcl", "leave_on_terminate = true").leave_on_terminate is True


def test_the_program_decides_the_role_and_contradictions_are_refused() -> None:
    assert server().server is True
    assert agent().server is False
    assert agent("-server").server is True
    assert "mesh-agent" in complaint("-server=false", role="server")


def test_development_needs_nothing_and_binds_to_loopback() -> None:
    config, _ = load(["-dev"], environment={}, role="agent")
    assert (config.server, config.dev, config.data_dir, config.bootstrap_expect) == (True, True, "", 1)
    assert (config.bind_address, config.advertise_address, config.log_level) == ("127.0.0.1", "127.0.0.1", "DEBUG")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-bootstrap"], "'bootstrap = true' requires 'server = true'"),
        (["-bootstrap-expect=3"], "'bootstrap_expect > 0' requires 'server = true'"),
        (["-server", "-bootstrap", "-bootstrap-expect=3"], "mutually exclusive"),
        (["-server", "-dev", "-bootstrap-expect=3"], "not allowed in dev mode"),
        (["-bootstrap-expect=-1"], "at least 0"),
        (["-datacenter", "a.b"], "-datacenter: must be"),
        (["-node-id", "x"], "not a UUID"),
        (["-log-level", "loud"], "-log-level: expected TRACE"),
        (["-bind", "example.org"], "bind_addr: 'example.org' is not an IP address"),
        (["-advertise", "0.0.0.0"], "cannot be 0.0.0.0"),
        (["-client", "unix://x"], "absolute path"),
        (["-retry-join", "a:b"], "retry_join: 'a:b'"),
        (["-retry-join", "a:70000"], "retry_join: 'a:70000'"),
        (["-server", "-retry-join-wan", "a:b"], "retry_join_wan: 'a:b'"),
        (["-retry-join-wan", "a"], "only servers with a WAN gossip port"),
        (["-encrypt", "no base64"], "encrypt: the key is not base64"),
        (["-encrypt", "YWJj"], "a key has 16, 24 or 32 bytes, this one 3"),
        (["-serf-lan-port=-1"], "every member needs its gossip port"),
        (["-serf-lan-allowed-cidrs", "10.0.0.0/40"], "serf_allowed_cidrs_lan: "),
        (["-serf-lan-bind", "nowhere"], "serf_lan: 'nowhere' is not an IP address"),
        (["-http-port", "x"], "-http-port: expected a whole number"),
        (["-http-port", "65536"], "at most 65535"),
        (["-nonsense"], "-nonsense: unknown flag"),
        (["-node"], "-node: needs a value"),
        (["stray"], "unexpected argument 'stray'"),
        (["-server=maybe"], "-server: expected true or false"),
        (["-node-meta", "consul-x:1"], "reserved"),
        (["-domain", "a..b"], "not a DNS name"),
        (["-default-query-time=20m"], "longer than max_query_time"),
        (["-hcl", "retry_interval = 30"], "-hcl: retry_interval: expected a duration"),
        (["-hcl", 'retry_interval = "-1s"'], "at least 0"),
        (["-hcl", "http_config { response_headers { \"a b\" = \"c\" } }"], "not a header"),
        (["-hcl", "performance { raft_multiplier = 11 }"], "at most 10"),
        (["-hcl", 'datacenter = 1'], "expected a text, found 1"),
        (["-hcl", 'ports = [1]'], "-hcl: ports: expected a map"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_their_place(flags: list[str], text: str) -> None:
    assert text in complaint(*flags)


def test_a_data_directory_is_required() -> None:
    assert "data_dir cannot be empty" in complaint("-bind", "127.0.0.1", base=False)


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"ports": {"htttp": 1}, "server": "yes", "datacenter": "dc1", "zzz": {"a": 1}}')
    (tmp_path / "b.hcl").write_text("retry_join = 7\n")
    text = complaint("-config-dir", str(tmp_path), "-config-file", str(tmp_path / "none.json"))
    assert f"{tmp_path}/a.json: ports.htttp: invalid config key" in text
    assert f"{tmp_path}/a.json: server: expected true or false, found 'yes'" in text
    assert f"{tmp_path}/a.json: zzz: invalid config key" in text
    assert f"{tmp_path}/b.hcl: retry_join: expected a list of texts, found 7" in text
    assert "none.json: No such file or directory" in text
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.json", "{", "Expecting property name"),
        ("a.json", "[]", "expected a JSON object"),
        ("a.json", '{"server": true, "server": false}', "duplicate key 'server'"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.hcl", "a = ", "line 1"),
        ("a.hcl", "ports { http = 1 }\nports { http = 2 }", "set twice"),
        ("a.txt", "{}", "must end in .json or .hcl"),
    ],
)
def test_files_that_cannot_be_read_are_refused_by_name(tmp_path: Path, name: str, content: str, text: str) -> None:
    (tmp_path / name).write_text(content)
    found = complaint("-config-file", str(tmp_path / name))
    assert found.startswith(f"{tmp_path}/{name}: ")
    assert text in found


@pytest.mark.parametrize(
    "text",
    [
        '{"acl_token": "old", "acl": {"tokens": {"default": "new"}}, "audit": {"enabled": false}}',
        '{"acl": {"tokens": {"default": "new"}}, "acl_token": "old"}',
    ],
)
def test_of_an_old_and_a_new_name_in_one_file_the_new_one_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    config, warnings = load([*BASE, "-config-file", str(tmp_path / "a.json")], environment={}, role="server")
    assert config.acl_token_default.reveal() == "new"
    assert any("acl_token: has no effect beside acl.tokens.default, its newer name" in warning for warning in warnings)


def test_files_with_foreign_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"node_name": "\xff"}')
    assert "not UTF-8 at byte 15" in complaint("-config-dir", str(tmp_path))


def test_later_sources_override_lists_append_and_maps_merge(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(
        '{"node_name": "one", "retry_join": ["b"], "node_meta": {"x": "1", "y": "1"}, "ports": {"http": 1, "serf_lan": 7}}'  # noqa: E501
    )
    (tmp_path / "2.hcl").write_text(
        'node_name = "two"\nretry_join = ["c"]\nnode_meta { y = "2" }\nports { http = 2 }\nlog_level = "WARN"\n'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "3.json").write_text('{"node_name": "never read"}')
    (tmp_path / "notes.txt").write_text("never read")
    config = server(
        "-log-level=ERR", "-config-dir", str(tmp_path), "-retry-join=a", "-node=three", "-hcl", 'node_name = "four"',
        "-node-meta", "x:0",
    )  # fmt: skip
    assert config.node_name == "four"
    assert config.gossip.lan.join.retry == ("a:7", "b:7", "c:7")
    assert config.node_meta == {"x": "1", "y": "2"}
    assert config.ports.http == 2
    assert config.log_level == "ERR"


def test_a_forced_format_reads_files_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "mesh.conf").write_text("server = true")
    assert agent("-config-format=hcl", "-config-dir", str(tmp_path)).server is True


def test_null_means_not_set_and_blocks_may_be_wrapped_in_lists(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"node_name": null, "ports": [{"http": 9}], "performance": null}')
    config = agent("-config-dir", str(tmp_path))
    assert config.ports.http == 9
    assert config.node_name == addresses.host_name()


FOREIGN = """{
  "datacenter": "East-1", "data_dir": "/opt/consul", "log_level": "INFO", "node_name": "s1", "server": true,
  "bootstrap_expect": 3, "encrypt": "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=", "client_addr": "127.0.0.1 10.0.0.1",
  "bind_addr": "10.0.0.1", "retry_join": ["10.0.0.1", "10.0.0.2:8301", "provider=aws tag_key=x tag_value=y"],
  "ui": true, "enable_script_checks": false, "leave_on_terminate": true, "telemetry": {"statsite_address": "x:1"},
  "acl_datacenter": "east-1", "acl_default_policy": "deny", "acl_master_token": "b1gs33cr3t",
  "addresses": {"http": "0.0.0.0", "dns": "10.0.0.1"}, "ports": {"dns": 53, "https": -1},
  "dns_config": {"service_ttl": {"*": "10s"}, "node_ttl": "5s"}, "recursors": ["8.8.8.8"],
  "watches": [{"type": "key", "key": "a", "args": ["x"]}], "service": {"name": "web", "port": 80},
  "connect": {"enabled": true, "ca_config": {"a": 1}}, "performance": {"raft_multiplier": 5},
  "http_config": {"response_headers": {"Access-Control-Allow-Origin": "*"}},
  "ca_file": "/ca.pem", "cert_file": "/cert.pem", "key_file": "/key.pem", "verify_incoming": true,
  "verify_outgoing": true, "verify_server_hostname": true, "autopilot": {"cleanup_dead_servers": true}
}"""


def test_a_foreign_file_starts_our_server_unchanged_with_a_warning_for_each_key_without_effect(tmp_path: Path) -> None:
    path = tmp_path / "consul.json"
    path.write_text(FOREIGN)
    config, warnings = load(["-config-file", str(path)], environment={}, role="server")
    assert config.datacenter == "east-1"
    assert config.bootstrap_expect == 3
    assert config.http_listen == (HostPort("0.0.0.0", 8500),)
    assert config.gossip.lan.join.retry == ("10.0.0.1:8301", "10.0.0.2:8301")
    assert config.performance.raft_multiplier == 5
    assert config.internal_tls.verify_server_hostname
    assert config.leave_on_terminate is True
    text = "\n".join(warnings)
    assert "encrypt" not in text
    assert config.gossip.key.reveal() == "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
    assert f"{path}: acl_default_policy: access control is not enforced by this version" in text
    assert f"{path}: telemetry.statsite_address: nothing is sent there" in text
    assert "cloud" in text
    assert "retry_join: known" not in text


def test_secrets_are_not_in_the_dump_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "consul.json"
    path.write_text(FOREIGN)
    config, warnings = load(["-config-file", str(path)], environment={}, role="server")
    assert config.raw["encrypt"] == "<hidden>"
    assert config.raw["acl.tokens.initial_management"] == "<hidden>"
    assert "b1gs33cr3t" not in repr(config) + str(warnings)


def test_even_numbers_of_servers_are_warned_about() -> None:
    for expect, word in ((2, "no failure tolerance"), (4, "even number")):
        warnings = load([*BASE, f"-bootstrap-expect={expect}"], environment={}, role="server")[1]
        assert any(word in warning for warning in warnings)
    assert load([*BASE, "-bootstrap-expect=3"], environment={}, role="server")[1] == []


def test_bootstrap_alone_is_an_expectation_of_one() -> None:
    assert server("-bootstrap").bootstrap_expect == 1


def test_unix_sockets_can_be_listened_on() -> None:
    config = agent("-hcl", 'addresses { http = "unix:///run/mesh.sock 127.0.0.2" }')
    assert config.http_listen == (UnixPath("/run/mesh.sock"), HostPort("127.0.0.2", 8500))
    assert agent("-http-port=-1").http_listen == ()


def test_help_and_version_start_nothing() -> None:
    for flag, version in (("-help", False), ("-h", False), ("-version", True)):
        with pytest.raises(HelpWanted) as caught:
            load([flag], environment={}, role="agent")
        assert caught.value.version is version


def test_validation_gives_the_answer_of_a_start(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{"data_dir": "/x", "bind_addr": "127.0.0.1", "server": true, "bootstrap_expect": 3, "enable_syslog": true}'
    )
    assert [warning.split(": ")[1] for warning in validate_files([str(path)])] == ["enable_syslog"]
    path.write_text('{"bind_addr": "127.0.0.1"}')
    with pytest.raises(ConfigInvalid, match="data_dir"):
        validate_files([str(path)])


def test_a_reload_takes_what_may_change_and_names_what_needs_a_restart() -> None:
    old = server("-log-level=INFO", "-node=a")
    new = server("-log-level=DEBUG", "-node=b", "-hcl", "limits { http_max_conns_per_client = 7 }")
    result = reloaded(old, new)
    assert result.config.log_level == "DEBUG"
    assert result.config.limits.http_connections_per_client_max == 7
    assert result.config.node_name == "a"
    assert set(result.changed) == {"log_level", "limits.http_max_conns_per_client"}
    assert result.needs_restart == ("node_name",)


def test_the_environment_changes_nothing() -> None:
    environment = {"CONSUL_HTTP_ADDR": "10.0.0.1:1", "CONSUL_HTTP_TOKEN": "x"}
    assert load(BASE, environment=environment, role="agent") == load(BASE, environment={}, role="agent")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.path)
def test_every_default_is_a_value_of_its_kind(option: object) -> None:
    from agent.config.option import Option
    from agent.config.values import checked

    assert isinstance(option, Option)
    if option.default is not None:
        checked(option, option.default)
    assert option.doc.endswith(".")


def test_watches_are_checked_at_the_start_and_their_tokens_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text('{"watches": [{"type": "key", "key": "a", "args": ["x"], "token": "secret"}, {"type": "odd"}]}')
    assert "Failed to parse watch 1: Must define a watch handler" in complaint("-config-file", str(path))
    path.write_text('{"watches": [{"type": "key", "key": "a", "args": ["x"], "token": "secret"}]}')
    config = agent("-config-file", str(path))
    assert [(watch.target, watch.token) for watch in config.watches] == [("/v1/kv/a?", "secret")]
    assert "secret" not in str(config.raw)
    path.write_text('{"watches": [{"type": "key", "key": "a", "args": ["x"], "token": "other"}]}')
    assert reloaded(config, agent("-config-file", str(path))).config.watches[0].token == "other"
    assert reloaded(config, agent()).config.watches == ()


def test_watches_in_hcl(tmp_path: Path) -> None:
    path = tmp_path / "w.hcl"
    path.write_text(
        'watches { type = "event" handler_type = "http" http_handler_config { path = "http://x/" timeout = "3s" } }\n'
        'watches { type = "nodes" handler = "cat" }\n'
    )
    first, second = agent("-config-file", str(path)).watches
    assert first.http is not None
    assert (first.http.path, first.http.timeout_s) == ("http://x/", 3.0)
    assert (second.target, second.shell) == ("/v1/catalog/nodes?", "cat")
