"""Owns the tests of the health check that the container uses."""

from __future__ import annotations

import pytest

from ibkr_actor.sim import SimulatorSettings, simulator
from ibkr_actor.sim.health import main


def test_a_gateway_that_answers_is_healthy_and_its_client_ids_stay_free(capsys: pytest.CaptureFixture[str]) -> None:
    with simulator(SimulatorSettings(server_version=206)) as sim:
        assert main([str(sim.port)]) == 0
        assert main(["127.0.0.1", str(sim.port)]) == 0
        assert sim.call(lambda it: it.clients()) == []
    assert "answers with server version 206" in capsys.readouterr().out


def test_a_gateway_that_is_gone_or_hangs_up_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with simulator() as sim:
        port = sim.port
        sim.refuse_connections(True)
        assert main([str(port)]) == 1
    assert str(port) in capsys.readouterr().err


def test_anything_but_a_port_is_a_wrong_call() -> None:
    assert main([]) == 2
    assert main(["localhost"]) == 2
