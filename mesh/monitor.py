"""The agent with its log, which has no end: for programs with threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mesh.agent import Agent
from mesh.call import Sync

if TYPE_CHECKING:
    from mesh.client import Client


class AgentAndLog(Agent[Sync]):
    """`client.agent` of a client for threads."""

    def __init__(self, client: "Client") -> None:
        super().__init__(client)
        self._follow = client.follow

    @contextmanager
    def monitor(self, *, level: str = "INFO", as_json: bool = False) -> Iterator[Iterator[bytes]]:
        """Iterate over the agent's log: first its newest lines, then each as it is written."""
        parameters = {"loglevel": level, **({"logjson": "1"} if as_json else {})}
        with self._follow("/v1/agent/monitor", parameters) as stream:
            yield stream.lines()
