"""Asking this process's own HTTP API without a socket: what runs inside an agent sees what its clients see."""

import msgspec

from agent.http import endpoints  # noqa: F401  registers the routes
from agent.http.dispatch import Dispatcher
from agent.http.reader import Head, Request
from agent.http.registry import AgentInfo, Delegate, Services
from agent.http.response import Response
from agent.http.settings import HTTPSettings

_INDEX = b"x-consul-index"


class InsideAnswer(msgspec.Struct, frozen=True):
    """What a client would have got: status, X-Consul-Index (0 where there is none) and body."""

    status: int
    index: int
    body: bytes


class InsideClient:
    """Reads of the API; never blocked by `block_endpoints`, which is about clients."""

    def __init__(self, settings: HTTPSettings, delegate: Delegate, agent: AgentInfo) -> None:
        open_settings = msgspec.structs.replace(settings, block_endpoints=(), ui_content_path="")
        self._dispatcher = Dispatcher(Services(open_settings, delegate, agent))

    async def get(self, target: str, *, token: str = "") -> InsideAnswer:
        """Return the answer to GET `target` (path and query, percent-encoded). Errors are answers, too."""
        head = Head({b"x-consul-token": token.encode("latin-1", "replace")} if token else {})
        prepared = self._dispatcher.prepare(Request(b"GET", target.encode("ascii"), head, 1))
        if isinstance(prepared, Response):
            return _answer(prepared)
        result = self._dispatcher.run(*prepared)
        return _answer(result if isinstance(result, Response) else await result)


def _answer(response: Response) -> InsideAnswer:
    index = 0
    for line in response.headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == _INDEX:
            index = int(value)
    return InsideAnswer(response.status, index, response.body)
