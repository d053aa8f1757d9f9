"""What an HTTP listener can be told, frozen. The agent fills it from its configuration."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from structs.kv import KIB, VALUE_BYTES_MAX

MIB = 1024 * KIB
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class HTTPLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one listener."""

    head_bytes_max: int = 16 * KIB
    """Request line and headers (431), and trailers. Room for an 8 KiB key and a token."""
    url_bytes_max: int = 12 * KIB
    """Path and query (414). A key of 8 KiB that needs some percent-encoding, and its parameters."""
    value_bytes_max: int = VALUE_BYTES_MAX
    """Body of a KV write (413); `limits.kv_max_value_size`."""
    txn_bytes_max: int = VALUE_BYTES_MAX
    """Body of a transaction (413); `limits.txn_max_req_len`."""
    body_bytes_max: int = 64 * KIB
    """Body of any other request (413). Bodies that stream, such as snapshots, have no limit here."""
    connections_per_client_max: int = 200
    """Per source address; more are answered 429 and closed. 0: no limit. `limits.http_max_conns_per_client`."""
    connections_max: int = 16_384
    """All connections together; more are closed at once. Each costs a file descriptor and some 2 KiB."""
    idle_s: float = 120.0
    """Between two requests of a connection."""
    head_s: float = 10.0
    """From the first byte of a request to the end of its head."""
    body_s: float = 60.0
    """From the end of the head to the end of the body; for a streamed body, between two pieces."""
    write_s: float = 30.0
    """Without the client taking anything of an answer."""
    call_s: float = 720.0
    """One request in the handler. Above the longest blocking query (600 s + 1/16) and the hold time of a call."""
    linger_s: float = 2.0
    """How long a refused client may go on sending what nobody reads, so that it can read the refusal."""
    gzip_bytes_min: int = 1
    """Smallest body that is compressed for a client that asks for it."""


class HTTPSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a listener but its sockets."""

    limits: HTTPLimits = HTTPLimits()
    response_headers: Mapping[str, str] = NO_HEADERS
    """`http_config.response_headers`: added to every answer."""
    block_endpoints: tuple[str, ...] = ()
    """`http_config.block_endpoints`: path prefixes that answer 403."""
    use_cache: bool = True
    """`http_config.use_cache`: whether `?cached` means anything."""
    translate_wan_addresses: bool = False
    """`translate_wan_addrs`: tell the WAN addresses of what is in another datacenter."""
    pretty_always: bool = False
    """`-dev`: JSON is always indented."""
    debug_enabled: bool = False
    """`enable_debug`: /debug answers."""
    token_default: str = ""
    """The agent's user token, for requests that bring none."""
    discovery_stale_s_max: float = 0.0
    """`discovery_max_stale`."""
    ui_content_path: str = ""
    """`ui_config.content_path`: where the web page is; "": nowhere."""
    ui_folder: str = ""
    """`ui_config.dir`: files of another page than ours."""
    wait_default_s: float = 300.0
    """`default_query_time`: how long a blocking query waits that does not say."""
    wait_s_max: float = 600.0
    """`max_query_time`."""
