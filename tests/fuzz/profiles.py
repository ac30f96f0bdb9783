"""Two ways to fuzz: the suite is small and the same each time; HYPOTHESIS_PROFILE=fuzz (`make fuzz`) is long and new each time."""

import os

from hypothesis import HealthCheck, settings

COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
PROFILES = {
    "suite": settings(COMMON, max_examples=30, derandomize=True),
    "fuzz": settings(COMMON, max_examples=500, print_blob=True),
}
profile = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "suite")]
