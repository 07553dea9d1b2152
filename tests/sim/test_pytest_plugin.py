"""Owns the tests of the fixtures that other projects use, in a small project that names the plugin.

Must not use ibapi or ib_async; examples with them are in docs/SIMULATOR.md and run there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from ibkr_actor.sim import SimulatorSettings

pytest_plugins = ["ibkr_actor.sim.pytest_plugin"]


@pytest.fixture
def ib_gateway_settings():
    return SimulatorSettings(server_version=178, accounts=("DU7", "DU8"))
"""
TESTS = """
import socket
import pytest
from ibkr_actor.sim import SimulatorSettings

used = []


def greeted(gateway):
    with socket.create_connection((gateway.host, gateway.port), timeout=60) as connection:
        connection.sendall(b"API\\0\\0\\0\\0\\x09v100..226")
        reply = connection.recv(4096)
    return reply[4:].split(b"\\0")[0]


def test_the_projects_settings_hold(ib_gateway):
    used.append((ib_gateway.host, ib_gateway.port))
    assert greeted(ib_gateway) == b"178"
    assert ib_gateway.simulator.settings.accounts == ("DU7", "DU8")


def test_each_test_has_a_gateway_of_its_own_that_ends_with_it(ib_gateway):
    assert greeted(ib_gateway) == b"178"
    if used[0][1] != ib_gateway.port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(used[0], timeout=60)
    assert not ib_gateway.violations


class TestOther:
    @pytest.fixture
    def ib_gateway_settings(self):
        return SimulatorSettings(server_version=213)

    def test_a_fixture_nearer_to_the_test_wins(self, ib_gateway):
        assert greeted(ib_gateway) == b"213"


def test_no_warning_and_no_thread_stays():
    import threading
    assert [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()] == []
"""


def test_a_project_gets_a_gateway_for_each_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:valkey", "-p", "no:cacheprovider", "-W", "error")
    result.assert_outcomes(passed=4)
