"""What every room's tests share: the async backend, and Hypothesis without a stopwatch.

Holds no fixture of one room.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A deadline per example, and one for making them, would make a slow machine fail a sound test.
# The examples are the same in each run; HYPOTHESIS_PROFILE=search looks for others.
_STOPWATCH = [HealthCheck.too_slow]
settings.register_profile("same", deadline=None, print_blob=True, suppress_health_check=_STOPWATCH, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True, suppress_health_check=_STOPWATCH)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The sidecar runs on asyncio, since redis-py does."""
    return "asyncio"
