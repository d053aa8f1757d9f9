"""Which agent to talk to and how: address, TLS files, token; from arguments and the environment.

Source: command-line specification, common flags. The variables have the names that existing scripts set.
"""

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from base.errors import InvalidRequest
from base.secret import Secret

DEFAULT_ADDRESS = "http://127.0.0.1:8500"
PORT_DEFAULT = {"http": 8500, "https": 8501}
_TRUE = {"1", "t", "true", "yes", "on"}
_FALSE = {"0", "f", "false", "no", "off"}


class TLSFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of PEM files, each "" if not used, and how the agent's certificate is checked."""

    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    """Name expected in the agent's certificate; "" is the host of the address."""
    verify: bool = True


NO_TLS_FILES = TLSFiles()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's HTTP API, taken apart. With `unix_path` the host only fills the Host header."""

    host: str
    port: int
    https: bool = False
    unix_path: str = ""
    path_prefix: str = ""
    authorization: Secret = Secret()
    """Value of a Basic Authorization header, for proxies in front of agents; empty if none."""

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix://{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.https else 'http'}://{host}:{self.port}{self.path_prefix}"


def parse_address(text: str, *, https: bool = False, authorization: str = "") -> Target:
    """Return the target that `text` names: host:port, http(s)://host:port or unix:///path; raises InvalidRequest.

    `https` applies where the text has no scheme. `authorization` is `user[:password]`.
    """
    secret = Secret("Basic " + base64.b64encode(authorization.encode()).decode() if authorization else "")
    if text.startswith("unix://"):
        return Target(host="localhost", port=0, unix_path=text.removeprefix("unix://"), authorization=secret)
    if "://" not in text:
        text = f"{'https' if https else 'http'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not an address: {error}") from None
    if parts.scheme not in PORT_DEFAULT or not parts.hostname:
        raise InvalidRequest(f"{text!r} is not an address: use host:port, http://, https:// or unix://")
    return Target(
        host=parts.hostname,
        port=PORT_DEFAULT[parts.scheme] if port is None else port,
        https=parts.scheme == "https",
        path_prefix=parts.path.rstrip("/"),
        authorization=secret,
    )


def truth(name: str, text: str) -> bool:
    """Return what a variable such as CONSUL_HTTP_SSL says; raises InvalidRequest."""
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise InvalidRequest(f"{name}: expected true or false, found {text!r}")


def target_from(environment: Mapping[str, str], address: str = "") -> Target:
    """Return the target of `address`, or of CONSUL_HTTP_ADDR, or the default one; raises InvalidRequest."""
    https = truth("CONSUL_HTTP_SSL", environment.get("CONSUL_HTTP_SSL") or "false")
    text = address or environment.get("CONSUL_HTTP_ADDR", "") or DEFAULT_ADDRESS.removeprefix("http://")
    return parse_address(text, https=https, authorization=environment.get("CONSUL_HTTP_AUTH", ""))


def tls_from(environment: Mapping[str, str], given: TLSFiles) -> TLSFiles:
    """Fill what `given` leaves open from the environment; raises InvalidRequest."""
    return TLSFiles(
        ca_file=given.ca_file or environment.get("CONSUL_CACERT", ""),
        ca_path=given.ca_path or environment.get("CONSUL_CAPATH", ""),
        cert_file=given.cert_file or environment.get("CONSUL_CLIENT_CERT", ""),
        key_file=given.key_file or environment.get("CONSUL_CLIENT_KEY", ""),
        server_name=given.server_name or environment.get("CONSUL_TLS_SERVER_NAME", ""),
        verify=given.verify and truth("CONSUL_HTTP_SSL_VERIFY", environment.get("CONSUL_HTTP_SSL_VERIFY") or "true"),
    )
