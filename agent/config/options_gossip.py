"""Options of gossip, of joining, and of what the leader does about servers that come and go.

Source: agent specification, section 2; gossip specification, sections 1 and 7; servers specification, section 5.
"""

from typing import Any

from agent.config.option import Kind, Option, Reader

PORT_MAX = 65535
_SERVER = Reader.SERVER


def _row(path: str, kind: Kind, default: object, doc: str, **more: Any) -> Option:
    return Option(path=path, kind=kind, default=default, doc=doc, **more)


def _port(path: str, default: int, doc: str, flag: str, **more: Any) -> Option:
    return Option(path=path, kind=Kind.INT, default=default, doc=doc, flag=flag, least=-1, most=PORT_MAX, **more)


_ADDRESSES = (
    _port("ports.serf_lan", 8301, "Gossip inside the datacenter, TCP and UDP.", "serf-lan-port"),
    _port("ports.serf_wan", 8302, "Gossip between datacenters; -1 turns it off.", "serf-wan-port", reader=_SERVER),
    _row("serf_lan", Kind.TEXT, "", "Address to listen on for LAN gossip. Default: bind_addr.", flag="serf-lan-bind"),
    _row(
        "serf_wan",
        Kind.TEXT,
        "",
        "Address to listen on for WAN gossip. Default: bind_addr.",
        flag="serf-wan-bind",
        reader=_SERVER,
    ),
    _row(
        "advertise_addr_wan",
        Kind.TEXT,
        "",
        "Address told to other datacenters. Default: advertise_addr.",
        flag="advertise-wan",
    ),
    _row(
        "tagged_addresses",
        Kind.TEXT_MAP,
        {},
        "More addresses of this node, by name, for the catalog; `lan` and `wan` are always those advertised.",
    ),
    _row(
        "translate_wan_addrs",
        Kind.BOOL,
        False,
        "Tell the `wan` addresses of what is in another datacenter, by HTTP and DNS.",
    ),
    _row(
        "serf_allowed_cidrs_lan",
        Kind.TEXTS,
        [],
        "Networks allowed to gossip in the LAN; none: all.",
        flag="serf-lan-allowed-cidrs",
    ),
    _row(
        "serf_allowed_cidrs_wan",
        Kind.TEXTS,
        [],
        "Networks allowed to gossip over WAN; none: all.",
        flag="serf-wan-allowed-cidrs",
        reader=_SERVER,
    ),
)


def _joining(suffix: str, flag_suffix: str, whom: str, **more: Any) -> tuple[Option, ...]:
    return (
        _row(
            f"start_join{suffix}",
            Kind.TEXTS,
            [],
            f"Addresses of {whom} to join; the start fails if none answers.",
            flag=f"join{flag_suffix}",
            **more,
        ),
        _row(
            f"retry_join{suffix}",
            Kind.TEXTS,
            [],
            f"Addresses of {whom} to join, tried again until one answers.",
            flag=f"retry-join{flag_suffix}",
            **more,
        ),
        _row(
            f"retry_interval{suffix}",
            Kind.DURATION,
            "30s",
            f"Longest pause between two tries of retry_join{suffix}; the first ones follow sooner.",
            flag=f"retry-interval{flag_suffix}",
            least=0.01,
            **more,
        ),
        _row(
            f"retry_max{suffix}",
            Kind.INT,
            0,
            f"Tries of retry_join{suffix} before giving up; 0: no limit.",
            flag=f"retry-max{flag_suffix}",
            least=0,
            **more,
        ),
    )


_JOINING = (
    *_joining("", "", "members"),
    *_joining("_wan", "-wan", "servers in other datacenters", reader=_SERVER),
    _row("rejoin_after_leave", Kind.BOOL, False, "Join again after a leave and restart.", flag="rejoin"),
    _row(
        "reconnect_timeout",
        Kind.DURATION,
        "72h",
        "When a failed member is forgotten.",
        least=8 * 3600,
        most=365 * 86400,
    ),
    _row(
        "reconnect_timeout_wan",
        Kind.DURATION,
        "72h",
        "When a failed member of the WAN is forgotten.",
        least=8 * 3600,
        most=365 * 86400,
        reader=_SERVER,
    ),
)

_KEYS = (
    _row("encrypt", Kind.SECRET, "", "Key of gossip, base64 of 16, 24 or 32 bytes; see `mesh keygen`.", flag="encrypt"),
    _row("encrypt_verify_incoming", Kind.BOOL, True, "Refuse gossip in clear once there is a key."),
    _row("encrypt_verify_outgoing", Kind.BOOL, True, "Never send gossip in clear once there is a key."),
    _row("disable_keyring_file", Kind.BOOL, False, "Keep the keyring in memory only.", flag="disable-keyring-file"),
)


def _timing(pool: str, *, wan: bool) -> tuple[Option, ...]:
    whose = "between datacenters" if wan else "in the datacenter"
    more: dict[str, Any] = {"reader": _SERVER} if wan else {}
    return (
        _row(f"{pool}.gossip_interval", Kind.DURATION, "500ms" if wan else "200ms", f"Pause of gossip {whose}.",
             least=0.01, most=60, **more),
        _row(f"{pool}.gossip_nodes", Kind.INT, 4 if wan else 3, f"Members told in each round {whose}.",
             least=1, most=32, **more),
        _row(f"{pool}.probe_interval", Kind.DURATION, "5s" if wan else "1s", f"Pause between two probes {whose}.",
             least=0.01, most=600, **more),
        _row(f"{pool}.probe_timeout", Kind.DURATION, "3s" if wan else "500ms",
             f"Time for the answer to a direct probe {whose}.", least=0.005, most=600, **more),
        _row(f"{pool}.suspicion_mult", Kind.INT, 6 if wan else 4,
             f"Scales how long a member is suspected before it is dead {whose}.", least=1, most=100, **more),
        _row(f"{pool}.retransmit_mult", Kind.INT, 4, f"Scales how often each news is sent {whose}.",
             least=1, most=100, **more),
    )  # fmt: skip


_AUTOPILOT = (
    _row(
        "autopilot.cleanup_dead_servers",
        Kind.BOOL,
        True,
        "Remove dead servers when new ones join. For the first start of a cluster; later it is changed by the API.",
        reader=_SERVER,
    ),
    _row(
        "autopilot.last_contact_threshold",
        Kind.DURATION,
        "200ms",
        "Silence after which a server is unhealthy.",
        reader=_SERVER,
    ),
    _row(
        "autopilot.max_trailing_logs", Kind.INT, 250, "Lag after which a server is unhealthy.", least=0, reader=_SERVER
    ),
    _row(
        "autopilot.server_stabilization_time",
        Kind.DURATION,
        "10s",
        "How long a new server must have been healthy before it gets a vote.",
        reader=_SERVER,
    ),
)

_COORDINATES = (_row("disable_coordinates", Kind.BOOL, False, "Neither keep nor send positions in the network."),)

GOSSIP: tuple[Option, ...] = (
    *_ADDRESSES,
    *_JOINING,
    *_KEYS,
    *_timing("gossip_lan", wan=False),
    *_timing("gossip_wan", wan=True),
    *_AUTOPILOT,
    *_COORDINATES,
)
