"""HTTP to one agent from trio, over httpx. Says whether a failed request may have been, as `mesh/transport.py` does.

Proxies of the environment are not used, redirects not followed: an agent is asked where it is, or not at all.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from base.errors import InvalidRequest, OutcomeUnknown, TooLarge, Unreachable
from mesh.address import Target, TLSFiles
from mesh.reply import Reply
from mesh.transport import ANSWER_BYTES_MAX, CONNECT_TIMEOUT_S, IDLE_CONNECTIONS_MAX, tls_context

CONNECTIONS_MAX = 1024
"""Every blocking query has one for itself; far above what a program watches, far below what a process may open."""
NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class TrioTransport:
    """Connections to one agent; `close` ends them."""

    def __init__(self, target: Target, tls: TLSFiles, *, user_agent: str) -> None:
        """Raises InvalidRequest for TLS files that cannot be read."""
        self._target = target
        scheme = "https" if target.https else "http"
        host = f"[{target.host}]" if ":" in target.host else target.host
        port = f":{target.port}" if target.port else ""
        self._base = f"{scheme}://{host}{port}{target.path_prefix}"
        self._extensions: dict[str, Any] = {"sni_hostname": tls.server_name} if tls.server_name else {}
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        if target.authorization:
            self._headers["Authorization"] = target.authorization.reveal()
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=tls_context(tls) if target.https else False,
                uds=target.unix_path or None,
                http2=False,
                trust_env=False,
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=IDLE_CONNECTIONS_MAX),
            ),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def exchange(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Reply:
        """Send one request and return its answer, whatever its status.

        Raises Unreachable if the request certainly never left, OutcomeUnknown if the connection broke or `timeout_s`
        (for each wait on the socket) ran out after that, TooLarge for an answer beyond ANSWER_BYTES_MAX.
        """
        try:
            request = self._client.build_request(
                method,
                self._base + path,
                headers={**self._headers, **headers},
                content=body,
                timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
                extensions=self._extensions,
            )
        except (ValueError, TypeError, httpx.InvalidURL) as error:
            raise InvalidRequest(f"{method} {path}: {error}") from error
        try:
            response = await self._client.send(request, stream=True)
            try:
                data = await self._body(response)
            finally:
                await response.aclose()
        except NEVER_LEFT as error:
            raise Unreachable(f"{self._target}: {_reason(error)}") from error
        except httpx.TimeoutException as error:
            raise OutcomeUnknown(f"{self._target}: no answer in time") from error
        except (httpx.HTTPError, RuntimeError) as error:  # the latter: the client was closed meanwhile
            raise OutcomeUnknown(f"{self._target}: {_reason(error)}") from error
        found = {name.lower(): value for name, value in response.headers.items()}
        return Reply(status=response.status_code, headers=found, body=data)

    async def _body(self, response: httpx.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size <= ANSWER_BYTES_MAX:
                    chunks.append(chunk)
                else:
                    await response.aclose()  # the loop then ends by itself: broken off, its generators would linger
        except (httpx.HTTPError, httpx.StreamError):
            if size <= ANSWER_BYTES_MAX:
                raise
        if size > ANSWER_BYTES_MAX:
            raise TooLarge(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        return b"".join(chunks)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
