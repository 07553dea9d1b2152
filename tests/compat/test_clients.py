"""Owns the tests of the comparison itself, with two clients that are here: yes to what is there, no to what is not.

Must not install anything; all seven clients are `just compat`.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ibkr_actor.sim import SimulatorSettings, SyncSimulator, simulator
from tests.compat import clients, judging
from tests.compat.probes import probe_ib_async, probe_ibapi

SYMBOLS = ["SIM000", "SIM001", "SIM002", "SIM003"]
YES = dict.fromkeys(judging.CAPABILITIES, "")
START_S = datetime.datetime.fromisoformat(clients.START).timestamp()


@pytest.fixture
def gateway() -> Iterator[SyncSimulator]:
    settings = SimulatorSettings(clock_speed=100.0, ticks_per_s=0.1, lines=1000, start_time_s=START_S)
    with simulator(settings) as running:
        yield running


def missed(facts: dict[str, Any]) -> set[str]:
    return {capability for capability, reason in clients.judged([facts], [226]).items() if reason}


def test_the_official_client_can_do_everything(gateway: SyncSimulator) -> None:
    facts = dataclasses.asdict(probe_ibapi.probe(gateway.port, 1, SYMBOLS))
    assert clients.judged([facts], [226]) == YES
    assert not gateway.violations
    # What is taken away from the facts is missed, and nothing else is.
    for capability, name in {"connect": "accounts", "depth": "depth", "smart depth": "smart_depth"}.items():
        assert missed(facts | {name: type(facts[name])()}) == {capability}
    for part, prefix in (("contracts", "resolve"), ("prices", "price of")):
        for name in facts[part]:
            damaged = copy.deepcopy(facts)
            del damaged[part][name]
            assert missed(damaged) == {f"{prefix} {name}"}
    told = set()
    for name in facts["seen"]:
        damaged = copy.deepcopy(facts)
        del damaged["seen"][name]
        [gone] = missed(damaged)
        told.add(gone)
    others = {"connect", "depth", "smart depth", "cancel of each", "no error"}
    resolved = {name for name in judging.CAPABILITIES if name.startswith(("resolve", "price of"))}
    assert told == set(judging.CAPABILITIES) - others - resolved


def test_ib_async_can_do_everything_but_what_it_has_not_got(
    gateway: SyncSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(probe_ib_async.run(["", "1", ",".join(SYMBOLS), str(gateway.port)]))
    facts = json.loads(capsys.readouterr().out)
    assert clients.judged([facts], [178], "ib_async 2.1.0") == YES
    assert not gateway.violations
    absent = {capability for name, capability in clients.ABSENT if name == "ib_async 2.1.0"}
    assert {each for each, reason in clients.judged([facts], [178]).items() if reason} == absent


def test_errors_late_ticks_and_a_missing_version_are_told() -> None:
    ended = [220, 162, "Historical Market Data Service error message:API historical data query cancelled: 220"]
    assert judging.without_errors({"errors": [[23, 10189, "no permission"], ended]}) == "error 10189 no permission"
    assert judging.cancels({"errors": [ended], "late": 0}) == ""
    assert judging.cancels({"errors": [], "late": 0}) == "no 162 of history kept up to date"
    assert judging.cancels({"errors": [ended], "late": 3}) == "3 ticks after the cancel"
    assert judging.cancels({"errors": [ended], "late": -1}) == "no answer"
    assert clients.judged([], [226])["connect"] == "negotiated [] instead of [226]"
