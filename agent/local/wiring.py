"""The configuration -> the agent's own services and checks."""

import ipaddress
from collections.abc import Callable
from pathlib import Path

from agent.checks.interface import CheckSettings, LocalChecks, Report
from agent.checks.runs import CheckRuns
from agent.config.runtime import RuntimeConfig
from agent.http.registry import Delegate
from agent.local.persist import LocalFiles
from agent.local.plan import NodeInfo
from agent.local.services import LocalServices
from base.chance import Chance

SEGMENT_META = "consul-network-segment"
"""Every node says which network segment it is in; there is one, without a name."""


def local_services(
    config: RuntimeConfig,
    *,
    node_id: str,
    folder: Path,
    delegate: Delegate,
    nodes_count: Callable[[], int],
    chance: Chance,
) -> LocalServices:
    """Return them; nothing is read or run yet."""
    settings = check_settings(config)

    def make_runs(report: Report, local: LocalChecks) -> CheckRuns:
        return CheckRuns(
            report=report, local=local, delegate=delegate, settings=settings, rng=chance.generator("checks")
        )

    return LocalServices(
        info=node_info(config, node_id=node_id),
        outputs=config.local.outputs,
        definitions=config.local.definitions,
        files=LocalFiles(folder),
        delegate=delegate,
        make_runs=make_runs,
        nodes_count=nodes_count,
        rng=chance.generator("local"),
    )


def node_info(config: RuntimeConfig, *, node_id: str) -> NodeInfo:
    """Return what the catalog shall know of this node."""
    token = config.acl_token_default.reveal()
    return NodeInfo(
        node_id=node_id,
        node=config.node_name,
        address=config.advertise_address,
        tagged_addresses={
            **config.tagged_addresses,
            **_addresses("lan", config.advertise_address),
            **_addresses("wan", config.advertise_wan_address),
        },
        meta=node_meta(config),
        token=token,
        node_token=token,
    )


def node_meta(config: RuntimeConfig) -> dict[str, str]:
    """Return this node's metadata."""
    return {SEGMENT_META: "", **config.node_meta}


def _addresses(name: str, address: str) -> dict[str, str]:
    return {name: address, f"{name}_ipv{ipaddress.ip_address(address).version}": address}


def check_settings(config: RuntimeConfig) -> CheckSettings:
    """Return what checks are told."""
    tls = config.https_tls
    return CheckSettings(
        node_name=config.node_name,
        output_bytes_max=config.local.outputs.bytes_max,
        scripts_from_anywhere=config.local.scripts_from_anywhere,
        scripts_from_files=config.local.scripts_from_files,
        token=config.acl_token_default.reveal(),
        tls_ca_file=tls.ca_file if config.local.own_tls else "",
        tls_cert_file=tls.cert_file if config.local.own_tls else "",
        tls_key_file=tls.key_file if config.local.own_tls else "",
    )
