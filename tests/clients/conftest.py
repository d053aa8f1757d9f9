"""One real cluster for all tests of other people's clients; each test uses keys of its own."""

from collections.abc import Iterator

import pytest
import trio

from jepsen.cluster import Cluster


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
