"""Gossip and autopilot from merged values: defaults that depend on one another, keys and networks checked.

Source: agent specification, section 2; gossip specification, sections 1 and 7.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from agent.config import addresses
from agent.config.runtime import AutopilotSettings, GossipPoolSettings, GossipSettings, HostPort, Join, Ports
from base.secret import Secret

KEY_BYTES = (16, 24, 32)

Complain = Callable[[str, str], None]


def gossip_settings(
    values: dict[str, Any],
    *,
    ports: Ports,
    bind: str,
    advertise: str,
    server: bool,
    complain: Complain,
    warnings: list[str],
) -> GossipSettings:
    """Return the settings; raises ConfigInvalid for addresses, and complains of everything else."""
    if ports.serf_lan < 1:
        complain("ports.serf_lan", "every member needs its gossip port, it cannot be off")
    _check_key(values["encrypt"], complain)
    near = HostPort(addresses.own_or("serf_lan", values["serf_lan"], bind), ports.serf_lan)
    lan = _pool(values, "lan", "", near, HostPort(advertise, ports.serf_lan), warnings)
    wan = None
    if server and ports.serf_wan > 0:
        far = HostPort(addresses.own_or("serf_wan", values["serf_wan"], bind), ports.serf_wan)
        told = addresses.own_or("advertise_addr_wan", values["advertise_addr_wan"], advertise)
        wan = _pool(values, "wan", "_wan", far, HostPort(told, ports.serf_wan), warnings)
    elif values["start_join_wan"] or values["retry_join_wan"]:
        complain("retry_join_wan", "only servers with a WAN gossip port can join other datacenters")
    return GossipSettings(
        lan=lan,
        wan=wan,
        key=Secret(values["encrypt"]),
        verify_incoming=values["encrypt_verify_incoming"],
        verify_outgoing=values["encrypt_verify_outgoing"],
        keeps_keyring=not values["disable_keyring_file"],
        rejoin_after_leave=values["rejoin_after_leave"],
        coordinates=not values["disable_coordinates"],
    )


def _pool(
    values: dict[str, Any], pool: str, suffix: str, listen: HostPort, advertise: HostPort, warnings: list[str]
) -> GossipPoolSettings:
    start, retry = f"start_join{suffix}", f"retry_join{suffix}"
    timing = f"gossip_{pool}."
    return GossipPoolSettings(
        listen=listen,
        advertise=advertise,
        join=Join(
            start=addresses.join_addresses(start, values[start], listen.port, warnings),
            retry=addresses.join_addresses(retry, values[retry], listen.port, warnings),
            retry_interval_s=values[f"retry_interval{suffix}"],
            retry_attempts_max=values[f"retry_max{suffix}"],
        ),
        allowed_networks=addresses.networks(f"serf_allowed_cidrs_{pool}", values[f"serf_allowed_cidrs_{pool}"]),
        gossip_interval_s=values[timing + "gossip_interval"],
        gossip_nodes_count=values[timing + "gossip_nodes"],
        probe_interval_s=values[timing + "probe_interval"],
        probe_timeout_s=values[timing + "probe_timeout"],
        suspicion_multiplier=values[timing + "suspicion_mult"],
        retransmit_multiplier=values[timing + "retransmit_mult"],
        reconnect_timeout_s=values[f"reconnect_timeout{suffix}"],
    )


def _check_key(text: str, complain: Complain) -> None:
    if not text:
        return
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        complain("encrypt", "the key is not base64")
        return
    if len(key) not in KEY_BYTES:
        complain("encrypt", f"a key has 16, 24 or 32 bytes, this one {len(key)}")


def autopilot_settings(values: dict[str, Any]) -> AutopilotSettings:
    """Return what a new cluster starts with."""
    return AutopilotSettings(
        cleanup_dead_servers=values["autopilot.cleanup_dead_servers"],
        last_contact_threshold_s=values["autopilot.last_contact_threshold"],
        max_trailing_logs=values["autopilot.max_trailing_logs"],
        server_stabilization_time_s=values["autopilot.server_stabilization_time"],
    )
