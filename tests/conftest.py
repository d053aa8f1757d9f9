"""Settings for every test: how hard hypothesis tries, and that its failures can be replayed.

`MESH_HYPOTHESIS=explore` tries many more examples with fresh seeds; the suite itself is the same every time.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CLUSTERS = Path(__file__).parent / "integration"

settings.register_profile(
    "suite", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", parent=settings.get_profile("suite"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("MESH_HYPOTHESIS", "suite"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with clusters of real processes, one at a time: they mostly wait, and all else is done beside them."""
    items.sort(key=_is_a_cluster, reverse=True)
    for item in filter(_is_a_cluster, items):
        item.add_marker(pytest.mark.xdist_group("clusters"))


def _is_a_cluster(item: pytest.Item) -> bool:
    return CLUSTERS in item.path.parents
