"""What every room's tests share: the async backend, and Hypothesis without a stopwatch.

Holds no fixture of one room.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A deadline per example would make a slow machine fail a sound test; in CI the examples are the same on every run.
settings.register_profile("local", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The sidecar runs on asyncio, since redis-py does."""
    return "asyncio"
