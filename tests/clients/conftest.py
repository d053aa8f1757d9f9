"""One real cluster for all tests of other people's clients; each test uses keys and services of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import consul
import pytest
import trio

from jepsen.cluster import POLL_INTERVAL_S, Cluster

PATIENCE_S = 30.0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers and an agent, as an operator would run them."""
    running = Cluster(tmp_path_factory.mktemp("clients"), servers=3, agents=1)
    try:
        running.start()
        trio.run(running.wait_ready)
        yield running
    finally:
        running.close()


@pytest.fixture(params=["agent", "server"])
def client(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Any]:
    """py-consul pointed at the client agent, and at a follower's or leader's embedded agent."""
    node = cluster.agents[0] if request.param == "agent" else cluster.servers[1]
    host, _, port = node.http_address.partition(":")
    found = consul.Consul(host=host, port=int(port))
    found.kv.delete("app/", recurse=True)
    yield found
    found.http.session.close()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return the first true answer of a question asked again and again."""

    def ask(question: Callable[[], Any]) -> Any:
        async def poll() -> Any:
            found = None
            with trio.move_on_after(PATIENCE_S):
                while not (found := question()):
                    await trio.sleep(POLL_INTERVAL_S)
                return found
            raise AssertionError(f"it did not come about: {found!r}")

        return trio.run(poll)

    return ask
