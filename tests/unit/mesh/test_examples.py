"""The examples of the page about the client library run as they are printed."""

import json
import re

import pytest

from tests.fakes.http_agent import Asked, Told, fake_agent
from tests.fakes.kv_agent import KVAgent, Threads
from tests.meta.sources import ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/client_library.md").read_text(encoding="utf-8"), re.DOTALL)


class Site(Threads):
    """Keys and sessions, transactions that succeed, and one healthy service."""

    def __call__(self, asked: Asked) -> Told:
        path = asked.path.partition("?")[0]
        if path == "/v1/txn":
            return Told(body=json.dumps({"Results": [], "Errors": None}).encode())
        if path.startswith("/v1/agent/"):
            return Told()
        if path.startswith("/v1/health/"):
            row = {"Node": {"Node": "n1", "Address": "10.0.0.1"}, "Service": {"ID": "w", "Service": "web", "Port": 80}}
            return Told(body=json.dumps([row]).encode(), headers={"X-Consul-Index": "5"})
        return super().__call__(asked)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_agent(Site(KVAgent())) as agent:
        exec(compile(example.replace("127.0.0.1:8500", agent.address), "docs/client_library.md", "exec"), {})
        assert agent.asked
    if "print(" in example:
        assert capsys.readouterr().out
