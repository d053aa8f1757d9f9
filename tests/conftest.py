"""Settings for every test: how hard hypothesis tries, and that its failures can be replayed.

`MESH_HYPOTHESIS=explore` tries many more examples with fresh seeds; the suite itself is the same every time.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", parent=settings.get_profile("suite"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("MESH_HYPOTHESIS", "suite"))
