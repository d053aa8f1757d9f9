"""Sans-IO: whether a request was made by a page of another site, in the browser of somebody who may reach this agent.

Such a page may send a POST without asking first, and never needs to see the answer. Browsers say where a request comes
from: in `Sec-Fetch-Site`, to addresses they trust (https, loopback), and else in `Origin`. Other clients send neither.
What this can't tell: a site whose own name was made to lead to this agent (DNS rebinding) is its own origin.
Source: W3C Fetch Metadata; the same rules as Go's http.CrossOriginProtection.
"""

from collections.abc import Mapping

ALLOW_ORIGIN = "access-control-allow-origin"
FOREIGN_TEXT = (
    "Refused: a page of another site may not write. http_config.response_headers can allow its origin by "
    "Access-Control-Allow-Origin"
)
_OWN_SITES = (b"same-origin", b"none")


def origin_allowed(response_headers: Mapping[str, str]) -> bytes:
    """Return the one origin, or *, that the operator's own headers let in; b"" for none."""
    for name, value in response_headers.items():
        if name.lower() == ALLOW_ORIGIN:
            return value.strip().lower().encode()
    return b""


def is_foreign(headers: Mapping[bytes, bytes], allowed: bytes) -> bool:
    """Whether a page of another origin sent this, which `allowed` doesn't let in. Header names are in lower case."""
    origin = headers.get(b"origin")
    site = headers.get(b"sec-fetch-site")
    if origin is None and site is None:
        return False
    if allowed == b"*" or (allowed and origin is not None and allowed == origin.lower()):
        return False
    if site is not None:
        return site.lower() not in _OWN_SITES
    _, separator, host = (origin or b"").lower().partition(b"://")
    return not separator or host != headers.get(b"host", b"").lower()
