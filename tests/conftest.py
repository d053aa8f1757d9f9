"""Settings for every test: how hard hypothesis tries, and that its failures can be replayed.

`MESH_HYPOTHESIS=explore` tries many more examples with fresh seeds; the suite itself is the same every time.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from base.telemetry import TELEMETRY, TelemetrySettings

CLUSTERS = Path(__file__).parent / "integration"

settings.register_profile(
    "suite", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", parent=settings.get_profile("suite"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("MESH_HYPOTHESIS", "suite"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with clusters of real processes: they take longest, and mostly wait."""
    items.sort(key=lambda item: CLUSTERS in item.path.parents, reverse=True)


@pytest.fixture(autouse=True)
def _metrics_have_their_own_names() -> Iterator[None]:
    """What a process measures has one home, and an agent that a test makes names it after itself."""
    yield
    TELEMETRY.configure(TelemetrySettings())
