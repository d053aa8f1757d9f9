"""Check kind http: one request on a new connection; its status code decides.

What answers may be anybody: the body is read up to a limit and only its end is kept, compression is not offered,
proxies and credentials of the environment are not used. A redirect could send the agent where only the agent can reach
(addresses that hand out a cloud machine's credentials, the agent's own API), so it is followed only on the
very host and port that the check names, and never to a link-local address. Source: agent specification, section 4.
"""

import ipaddress

import httpx
import trio

from agent.checks.body import read_body
from agent.checks.dial import reason_of, tls_context
from agent.checks.interface import CheckSettings, Result
from agent.checks.output import Tail, output_bytes_max
from agent.checks.transport import WaryTransport
from base.errors import Unreachable
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec

BODY_BYTES_MAX = 1024 * 1024
"""More of a body is not read."""
REDIRECTS_MAX = 5
REASON_CHARACTERS_MAX = 128
"""Of a status line's text or a refused redirect's host."""
USER_AGENT = "Consul Health Check"
ACCEPT = "text/plain, text/*, */*"
_SEE_OTHER = (301, 302, 303)
_REDIRECTS = (*_SEE_OTHER, 307, 308)
_LINK_LOCAL = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")))


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Ask once, redirects included."""
    method = spec.method or "GET"
    tail = Tail(output_bytes_max(spec, settings))
    head = ""
    status = CheckStatus.CRITICAL
    with trio.move_on_after(timeout_s):
        try:
            verify = tls_context(spec, settings) if spec.http.lower().startswith("https:") else False
            transport = WaryTransport(verify)
            async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:  # noqa: S113
                response, refused = await _answer(client, spec, method)
                try:
                    status = _status_of(response.status_code)
                    reason = response.reason_phrase[:REASON_CHARACTERS_MAX]
                    head = f"HTTP {method} {spec.http}: {response.status_code} {reason}{refused}"
                    await read_body(response, tail.feed, BODY_BYTES_MAX)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, Unreachable, OSError, ValueError) as error:
            if not head:
                return Result(CheckStatus.CRITICAL, f'{method.capitalize()} "{spec.http}": {reason_of(error)}')
    if not head:
        return Result(CheckStatus.CRITICAL, f'{method.capitalize()} "{spec.http}": context deadline exceeded')
    return Result(status, f"{head} Output: {tail.text()}")


def _status_of(code: int) -> CheckStatus:
    if 200 <= code <= 299:
        return CheckStatus.PASSING
    return CheckStatus.WARNING if code == httpx.codes.TOO_MANY_REQUESTS else CheckStatus.CRITICAL


async def _answer(client: httpx.AsyncClient, spec: CheckSpec, method: str) -> tuple[httpx.Response, str]:
    """Return the answer that counts, and a word about a redirect that was not followed."""
    url = httpx.URL(spec.http)
    body = spec.body.encode()
    for _ in range(REDIRECTS_MAX + 1):
        request = client.build_request(method, url, content=body, headers=_headers(spec))
        if spec.tls_server_name:
            request.extensions["sni_hostname"] = spec.tls_server_name
        response = await client.send(request, stream=True, follow_redirects=False)
        location = response.headers.get("location", "")
        if spec.disable_redirects or response.status_code not in _REDIRECTS or not location:
            return response, ""
        try:
            target = url.join(location)
        except httpx.InvalidURL:
            return response, " (redirect to an invalid URL is not followed)"
        if not may_follow(url, target):
            shown = f"{target.scheme}://{target.netloc.decode('ascii', 'replace')[:REASON_CHARACTERS_MAX]}"
            return response, f" (redirect to {shown} is not followed)"
        await response.aclose()
        if response.status_code in _SEE_OTHER and method != "HEAD":
            method, body = "GET", b""
        url = target
    raise Unreachable(f"stopped after {REDIRECTS_MAX} redirects")


def may_follow(url: httpx.URL, target: httpx.URL) -> bool:
    """Whether a redirect leads no further than where the check itself asks."""
    if target.scheme not in ("http", "https") or target.host != url.host or is_link_local(target.host):
        return False
    ports = (_port(url), _port(target))
    upgrade = ports == (80, 443) and (url.scheme, target.scheme) == ("http", "https")
    return upgrade or (ports[0] == ports[1] and url.scheme == target.scheme)


def is_link_local(host: str) -> bool:
    """Whether `host` is an address by which clouds hand out what only this machine may know."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in _LINK_LOCAL)


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _headers(spec: CheckSpec) -> list[tuple[str, str]]:
    own = [(name, value) for name, values in (spec.header or {}).items() for value in values]
    named = {name.lower() for name, _ in own}
    defaults = [
        ("User-Agent", USER_AGENT),
        ("Accept", ACCEPT),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    return [*own, *((name, value) for name, value in defaults if name.lower() not in named)]
