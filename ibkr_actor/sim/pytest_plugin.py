"""Owns the pytest fixtures for projects that test their own TWS API client: a simulated gateway for each test.

Must not be imported by the package itself: a project names it, `pytest_plugins = ["ibkr_actor.sim.pytest_plugin"]`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ibkr_actor.sim.settings import SimulatorSettings
from ibkr_actor.sim.sync import SyncSimulator, simulator


@pytest.fixture
def ib_gateway_settings() -> SimulatorSettings:
    """What the gateway of a test is like; a project changes it by a fixture of this name in its conftest or test."""
    return SimulatorSettings()


@pytest.fixture
def ib_gateway(ib_gateway_settings: SimulatorSettings) -> Iterator[SyncSimulator]:
    """A running gateway of this test's own, at `ib_gateway.host` and `ib_gateway.port`; it ends with the test.

    It runs on a thread, so that blocking and async clients can use it alike.
    """
    with simulator(ib_gateway_settings) as running:
        yield running
