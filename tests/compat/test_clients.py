"""Owns the tests of the comparison itself, with two clients that are here: yes to what is there, no to what is not.

Must not install anything; all seven clients are `just compat`.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ibkr_actor.sim import SimulatorSettings, SyncSimulator, simulator
from tests.compat import clients
from tests.compat.probes import probe_ib_async, probe_ibapi

SYMBOLS = ["SIM000", "SIM001", "SIM002", "SIM003"]
YES = dict.fromkeys(clients.CAPABILITIES, "")


@pytest.fixture
def gateway() -> Iterator[SyncSimulator]:
    with simulator(SimulatorSettings(clock_speed=20.0, ticks_per_s=1.0, lines=1000)) as running:
        yield running


def seen_by_ibapi(gateway: SyncSimulator) -> dict[str, Any]:
    return dataclasses.asdict(probe_ibapi.probe(gateway.port, 1, SYMBOLS))


def test_the_official_client_can_do_everything(gateway: SyncSimulator) -> None:
    facts = seen_by_ibapi(gateway)
    assert clients.judged([facts], [226]) == YES
    assert not gateway.violations
    # What is taken away from the facts is missed, and nothing else is.
    gone = {
        "connect": "accounts", "resolve": "contracts", "level 1": "level1", "5 s bars": "bar", "depth": "depth",
        "smart depth": "smart_depth",
    }  # fmt: skip
    for capability, name in gone.items():
        damaged = facts | {name: type(facts[name])()}
        assert {each for each, reason in clients.judged([damaged], [226]).items() if reason} == {capability}
    for kind in ("Last", "AllLast", "BidAsk", "MidPoint"):
        damaged = copy.deepcopy(facts)
        del damaged["ticks"][kind]
        assert {each for each, reason in clients.judged([damaged], [226]).items() if reason} == {kind}


def test_ib_async_can_do_everything(gateway: SyncSimulator, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(probe_ib_async.run(["", "1", ",".join(SYMBOLS), str(gateway.port)]))
    facts = json.loads(capsys.readouterr().out)
    assert clients.judged([facts], [178]) == YES
    assert not gateway.violations


def test_errors_late_ticks_and_a_missing_version_are_told() -> None:
    assert clients.cancels({"errors": [[23, 10189, "no permission"]], "late": 0}) == "error 10189 no permission"
    assert clients.cancels({"errors": [], "late": 3}) == "3 ticks after the cancel"
    assert clients.cancels({"errors": [], "late": -1}) == "no answer"
    assert clients.judged([], [226])["connect"] == "negotiated [] instead of [226]"
