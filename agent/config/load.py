"""Merge, validate, freeze: the one way from arguments to a RuntimeConfig.

Source: agent specification, section 2; servers specification, sections 3 and 6. Everything that is wrong is reported in
one error, each line with its place.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

from agent.config import addresses
from agent.config.dns import dns_listens, dns_settings
from agent.config.gossip import autopilot_settings, gossip_settings
from agent.config.local import DEFINING, local_settings, without_secrets
from agent.config.option import Kind
from agent.config.options import OPTIONS
from agent.config.runtime import HostPort, Limits, Performance, Ports, RuntimeConfig
from agent.config.security import tls_settings
from agent.config.sources import LISTS, CommandLine, Source, joined, parse_command_line, sources_of
from agent.config.values import checked
from agent.dns.settings import DNSSettings
from agent.watch_plan import WATCHES_MAX, WatchDefinition, parse_watch
from base.errors import ConfigInvalid, InvalidRequest
from base.secret import Secret
from base.telemetry import TelemetrySettings

Role = Literal["agent", "server"]

DATACENTER = re.compile(r"[a-z0-9_-]{1,63}\Z")
DOMAIN = re.compile(r"(?:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+\Z")
NODE_NAME_CHARACTERS_MAX = 128
NODE_META_PAIRS_MAX = 64
UI_PATH = re.compile(r"/([A-Za-z0-9_-][A-Za-z0-9._-]*/)+", re.ASCII)
NODE_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
NODE_META_VALUE_BYTES_MAX = 512
LOG_LEVELS = {
    "TRACE": "TRACE",
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "WARN": "WARN",
    "WARNING": "WARN",
    "ERR": "ERR",
    "ERROR": "ERR",
}

DEV = {
    "server": True,
    "bind_addr": "127.0.0.1",
    "log_level": "DEBUG",
    "leave_on_terminate": True,
    "gossip_lan.gossip_interval": 0.1,
    "gossip_lan.probe_interval": 0.1,
    "gossip_lan.probe_timeout": 0.1,
    "gossip_lan.suspicion_mult": 3,
}
"""What development mode changes before anything else is read."""


class HelpWanted(Exception):
    """`-help` or `-version` was given: nothing is to be started. `version` says which."""

    def __init__(self, *, version: bool) -> None:
        super().__init__("version" if version else "help")
        self.version = version


def load(argv: Sequence[str], *, environment: Mapping[str, str], role: Role) -> tuple[RuntimeConfig, list[str]]:
    """Return the configuration that `argv` (without the program's name) asks for, and warnings.

    `role` is which program asks: "server" implies `server = true`. The environment is a source for the command line
    tools only; agents and servers take nothing from it. Raises ConfigInvalid with one line for each thing that is
    wrong, and HelpWanted.
    """
    del environment
    line = parse_command_line(argv)
    if line.help or line.version:
        raise HelpWanted(version=line.version and not line.help)
    return _resolve(line, role)


def validate_files(paths: Sequence[str], *, file_format: str = "") -> list[str]:
    """Check configuration files as a start would, and return warnings; raises ConfigInvalid."""
    line = CommandLine(values=[], files=list(paths), fragments=[], format=file_format)
    return _resolve(line, "agent")[1]


def _resolve(line: CommandLine, role: Role) -> tuple[RuntimeConfig, list[str]]:
    complaints: list[str] = []
    warnings: list[str] = []
    sources = sources_of(line, complaints, warnings)
    if complaints:
        raise ConfigInvalid("\n".join(complaints))
    return Builder(
        merged(sources, dev=line.dev, role=role), dev=line.dev, role=role, warnings=warnings
    ).build(), warnings


def merged(sources: Sequence[Source], *, dev: bool, role: Role) -> Source:
    """Defaults, development defaults and sources, in this order, as one source."""
    result = Source({}, {})
    for option in OPTIONS:
        default = option.default
        result.values[option.path] = checked(option, default) if option.kind is Kind.DURATION else default
    if role == "server":
        result.values["server"] = True
    if dev:
        result.values.update(DEV)
    kinds = {option.path: option.kind for option in OPTIONS}
    for source in sources:
        for path, value in source.values.items():
            result.values[path] = joined(result.values[path], value) if kinds[path] in LISTS else value
            result.places[path] = source.places[path]
    return result


_AS_GIVEN: Final = MappingProxyType(
    {
        "discovery_stale_s_max": "discovery_max_stale",
        "http_use_cache": "http_config.use_cache",
        "log_file": "log_file",
        "log_json": "log_json",
        "pid_file": "pid_file",
        "tagged_addresses": "tagged_addresses",
        "translate_wan_addresses": "translate_wan_addrs",
        "ui_folder": "ui_config.dir",
    }
)
"""Fields that hold what an option says, unchanged: the option of each."""


class Builder:
    """Turns merged values into a RuntimeConfig; collects what is wrong."""

    def __init__(self, source: Source, *, dev: bool, role: Role, warnings: list[str]) -> None:
        self._values: dict[str, Any] = source.values
        self._places = source.places
        self._dev = dev
        self._role = role
        self._warnings = warnings
        self._complaints: list[str] = []

    def build(self) -> RuntimeConfig:
        """Return the frozen configuration; raises ConfigInvalid with everything that is wrong."""
        config = self._attempt()
        if self._complaints or config is None:
            raise ConfigInvalid("\n".join(self._complaints))
        return config

    def _attempt(self) -> RuntimeConfig | None:
        values = self._values
        server = self._server()
        expect = self._bootstrap_expect(server)
        datacenter = self._datacenter()
        domain = self._domain("domain")
        node_name = self._node_name()
        ports = Ports(**{name: values[f"ports.{name}"] for name in Ports.__struct_fields__})
        if ports.server < 1 and server:
            self._complain("ports.server", "a server needs its RPC port, it cannot be off")
        internal_tls, https_tls = tls_settings(
            values, datacenter=datacenter, domain=domain, https=ports.https > 0, complain=self._complain
        )
        try:
            bind, advertise = addresses.bind_and_advertise(values["bind_addr"], values["advertise_addr"])
            clients = addresses.client_addresses(values["client_addr"])
            http = addresses.listens(values["addresses.http"], clients, ports.http)
            https = addresses.listens(values["addresses.https"], clients, ports.https)
            dns_listen = dns_listens(values["addresses.dns"], clients, ports.dns)
            dns = self._dns(dns_listen, domain=domain, datacenter=datacenter, node_name=node_name)
            gossip = gossip_settings(
                values, ports=ports, bind=bind, advertise=advertise, server=server, complain=self._complain,
                warnings=self._warnings,
            )  # fmt: skip
        except ConfigInvalid as error:
            self._complaints.append(str(error))
            return None
        return RuntimeConfig(
            local=local_settings(values, complain=self._complain, warn=self._warn),
            advertise_wan_address=addresses.own_or("advertise_addr_wan", values["advertise_addr_wan"], advertise),
            server=server,
            dev=self._dev,
            datacenter=datacenter,
            domain=domain,
            node_name=node_name,
            node_id=self._node_id(),
            node_meta=self._node_meta(),
            data_dir=self._data_dir(),
            bind_address=bind,
            advertise_address=advertise,
            client_addresses=clients,
            http_listen=http,
            https_listen=https,
            dns_listen=dns_listen,
            dns=dns,
            rpc_listen=HostPort(bind, ports.server),
            ports=ports,
            bootstrap_expect=expect,
            gossip=gossip,
            autopilot=autopilot_settings(values),
            leave_on_terminate=self._by_role("leave_on_terminate", server=server, on_server=False),
            skip_leave_on_interrupt=self._by_role("skip_leave_on_interrupt", server=server, on_server=True),
            internal_tls=internal_tls,
            https_tls=https_tls,
            limits=self._limits(),
            performance=self._performance(),
            response_headers=self._response_headers(),
            block_endpoints=tuple(values["http_config.block_endpoints"]),
            ui_content_path=self._ui_content_path(),
            log_level=self._log_level(),
            telemetry=self._telemetry(),
            watches=self._watches(),
            acl_token_default=Secret(values["acl.tokens.default"]),
            raw=self._raw(),
            **{field: values[path] for field, path in _AS_GIVEN.items()},
        )

    def _dns(self, listen: Sequence[HostPort], *, domain: str, datacenter: str, node_name: str) -> DNSSettings:
        """Raises ConfigInvalid for templates that cannot be used."""
        return dns_settings(
            self._values,
            domain=domain,
            alt_domain=self._domain("alt_domain") if self._values["alt_domain"] else "",
            datacenter=datacenter,
            node_name=node_name,
            listen=listen,
            complain=self._complain,
        )

    def _ui_content_path(self) -> str:
        """Return "" where no page is served."""
        path = "/" + self._values["ui_config.content_path"].strip("/") + "/"
        if not UI_PATH.fullmatch(path) or path.startswith("/v1/"):
            self._complain("ui_config.content_path", "must be letters, digits, -, _, . and /, and not below /v1")
        return path if self._values["ui_config.enabled"] else ""

    def _complain(self, path: str, text: str) -> None:
        self._complaints.append(f"{self._places.get(path, path)}: {text}")

    def _server(self) -> bool:
        server: bool = self._values["server"]
        if self._role == "server" and not server:
            self._complain("server", "mesh-server cannot run with server = false; start mesh-agent instead")
        return server

    def _bootstrap_expect(self, server: bool) -> int:
        alone: bool = self._values["bootstrap"]
        expect: int = self._values["bootstrap_expect"]
        if alone and not server:
            self._complain("bootstrap", "'bootstrap = true' requires 'server = true'")
        if expect > 0 and not server:
            self._complain("bootstrap_expect", "'bootstrap_expect > 0' requires 'server = true'")
        if expect > 0 and self._dev:
            self._complain("bootstrap_expect", "'bootstrap_expect > 0' not allowed in dev mode")
        if expect > 0 and alone:
            self._complain("bootstrap_expect", "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive")
        if expect == 2:
            self._warn("bootstrap_expect", "a cluster with 2 servers provides no failure tolerance")
        elif expect and expect % 2 == 0:
            self._warn("bootstrap_expect", "an even number of servers does not achieve optimum fault tolerance")
        return 1 if alone or self._dev else expect

    def _warn(self, path: str, text: str) -> None:
        self._warnings.append(f"{self._places.get(path, path)}: {text}")

    def _datacenter(self) -> str:
        name: str = self._values["datacenter"].lower()
        if not DATACENTER.match(name):
            self._complain("datacenter", "must be letters, digits, underscores and hyphens only, at most 63")
        return name

    def _domain(self, path: str) -> str:
        name: str = self._values[path].lower().rstrip(".")
        if not DOMAIN.match(name + "."):
            self._complain(path, f"{self._values[path]!r} is not a DNS name")
        return name

    def _node_name(self) -> str:
        name: str = self._values["node_name"].strip() or addresses.host_name()
        if not name or len(name) > NODE_NAME_CHARACTERS_MAX or not name.isprintable():
            self._complain("node_name", f"must be 1 to {NODE_NAME_CHARACTERS_MAX} printable characters")
        return name

    def _node_id(self) -> str:
        text: str = self._values["node_id"]
        if not text:
            return ""
        try:
            return str(uuid.UUID(text))
        except ValueError:
            self._complain("node_id", f"{text!r} is not a UUID")
            return ""

    def _node_meta(self) -> dict[str, str]:
        meta: dict[str, str] = self._values["node_meta"]
        if len(meta) > NODE_META_PAIRS_MAX:
            self._complain("node_meta", f"Node metadata cannot contain more than {NODE_META_PAIRS_MAX} key/value pairs")
        for key, value in meta.items():
            if not NODE_META_KEY.match(key):
                self._complain("node_meta", f"key {key!r} must be 1 to 128 letters, digits, underscores or hyphens")
            elif key.startswith("consul-"):
                self._complain("node_meta", f"key {key!r}: the prefix 'consul-' is reserved")
            if len(value.encode()) > NODE_META_VALUE_BYTES_MAX:
                self._complain("node_meta", f"value of {key!r} is longer than {NODE_META_VALUE_BYTES_MAX} bytes")
        return meta

    def _data_dir(self) -> str:
        path: str = self._values["data_dir"]
        if not path and not self._dev:
            self._complain("data_dir", "data_dir cannot be empty: give -data-dir, or -dev to keep nothing")
        return path

    def _by_role(self, path: str, *, server: bool, on_server: bool) -> bool:
        value: bool | None = self._values[path]
        if value is None:
            return on_server if server else not on_server
        return value

    def _limits(self) -> Limits:
        values = self._values
        if values["default_query_time"] > values["max_query_time"]:
            self._complain("default_query_time", "cannot be longer than max_query_time")
        return Limits(
            http_connections_per_client_max=values["limits.http_max_conns_per_client"],
            http_head_bytes_max=values["http_config.max_header_bytes"],
            rpc_connections_per_client_max=values["limits.rpc_max_conns_per_client"],
            rpc_handshake_timeout_s=values["limits.rpc_handshake_timeout"],
            rpc_rate_per_s=values["limits.rpc_rate"],
            rpc_burst_max=values["limits.rpc_max_burst"],
            kv_value_bytes_max=values["limits.kv_max_value_size"],
            txn_body_bytes_max=values["limits.txn_max_req_len"],
            query_wait_s_default=values["default_query_time"],
            query_wait_s_max=values["max_query_time"],
        )

    def _performance(self) -> Performance:
        values = self._values
        return Performance(
            raft_multiplier=values["performance.raft_multiplier"],
            rpc_hold_timeout_s=values["performance.rpc_hold_timeout"],
            leave_drain_time_s=values["performance.leave_drain_time"],
            raft_snapshot_threshold=values["raft_snapshot_threshold"],
            raft_snapshot_interval_s=values["raft_snapshot_interval"],
            raft_trailing_logs=values["raft_trailing_logs"],
            session_ttl_s_min=values["session_ttl_min"],
        )

    def _telemetry(self) -> TelemetrySettings:
        values = self._values
        allowed: list[str] = []
        blocked: list[str] = []
        for text in values["telemetry.prefix_filter"]:
            kind, start = text[:1], text[1:]
            if kind not in ("+", "-") or not start:
                self._complain("telemetry.prefix_filter", f"{text!r} must begin with + or - and name something")
            else:
                (allowed if kind == "+" else blocked).append(start)
        return TelemetrySettings(
            prefix=values["telemetry.metrics_prefix"],
            host_name="" if values["telemetry.disable_hostname"] else addresses.host_name(),
            allowed=tuple(allowed),
            blocked=tuple(blocked),
            filter_default=values["telemetry.filter_default"],
            prometheus_retention_s=values["telemetry.prometheus_retention_time"],
        )

    def _response_headers(self) -> dict[str, str]:
        headers: dict[str, str] = self._values["http_config.response_headers"]
        for name, value in headers.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
                self._complain("http_config.response_headers", f"{name!r} is not a header that can be sent")
        return headers

    def _log_level(self) -> str:
        level = LOG_LEVELS.get(self._values["log_level"].upper(), "")
        if not level:
            self._complain(
                "log_level", f"expected TRACE, DEBUG, INFO, WARN or ERR, found {self._values['log_level']!r}"
            )
        return level

    def _watches(self) -> tuple[WatchDefinition, ...]:
        rows: list[dict[str, object]] = self._values["watches"]
        if len(rows) > WATCHES_MAX:
            self._complain("watches", f"at most {WATCHES_MAX}, found {len(rows)}")
        found = []
        for position, row in enumerate(rows):
            try:
                found.append(parse_watch(row))
            except InvalidRequest as error:
                self._complain("watches", f"Failed to parse watch {position}: {error}")
        return tuple(found)

    def _raw(self) -> dict[str, object]:
        hidden = {option.path for option in OPTIONS if option.kind is Kind.SECRET}
        shown = {
            path: ("<hidden>" if value else "") if path in hidden else value for path, value in self._values.items()
        }
        # A watch's token and what it sends to whom are secrets inside of a row.
        secret = ("token", "http_handler_config")
        shown["watches"] = [
            {name: "<hidden>" if name in secret else value for name, value in row.items()}
            for row in self._values["watches"]
        ]
        return shown | {path: without_secrets(self._values[path]) for path in DEFINING}
