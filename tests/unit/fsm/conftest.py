"""A replica in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.replica import Replica


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """An empty state machine; its invariants are checked when the test has ended."""
    fresh = Replica(tmp_path / "state")
    yield fresh
    fresh.check()
    fresh.close()
