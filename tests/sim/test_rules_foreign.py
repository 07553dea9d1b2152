"""Owns the proof that each of IB's limits holds against a client that is not ours: the official one breaks every rule.

Must not use the simulator's own decoder, and must not sleep: the clock stands and is moved.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from ibkr_actor.sim import Rule
from tests.sim.foreign_breaches import BREACHES, Breach
from tests.sim.foreign_client import contract, meeting
from tests.sim.test_docs import rows

# What a cell of the page says is answered: `...: 321`, `error 100`, `of a book 310`.
_CODE = re.compile(r"(?:: |error |a book |a scan )(\d{3,5})\b")
TEXT, PROTOBUF = 178, 226


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.rule}-{breach.name}")
def test_the_official_client_breaks_a_rule_and_is_told_so(breach: Breach, version: int) -> None:
    if version not in breach.versions:
        pytest.skip("the client has no such request at this version, or refuses it by itself")
    with meeting(version, **breach.settings) as met:
        breach.commit(met)
        met.wait_for_errors(len(breach.answers))
        met.settle()
        assert met.errors() == list(breach.answers)
        assert met.sim.violations == Counter({breach.rule: len(breach.answers)})


def test_every_rule_of_the_page_is_broken_here_with_every_answer_it_names() -> None:
    told: dict[str, set[int]] = {}
    for breach in BREACHES:
        told.setdefault(breach.rule.value, set()).update(code for _, code in breach.answers)
    page = {name: {int(code) for code in _CODE.findall(cell)} for name, cell in rows("Rules").items()}
    # The answer goes to another connection than the one that looks on: below.
    told[Rule.CLIENT_ID.value] = {326}
    assert told == page


def test_a_client_id_in_use_is_326_and_hung_up_on() -> None:
    with meeting(PROTOBUF) as met:
        with met.another(welcome="connectionClosed") as second:
            assert [call[2] for call in second.named("error")] == [326]
        assert met.sim.violations == Counter({Rule.CLIENT_ID: 1})
        met.settle()


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
def test_the_third_strike_of_the_message_rate_ends_the_connection(version: int) -> None:
    with meeting(version, lines=20, enforce_message_rate=True) as met:
        for strike in (1, 2, 3):
            for _ in range(11):
                met.client.reqCurrentTime()
            met.wait_for_errors(strike)
            met.sim.advance(1.0)
        met.client.wait_for_call("connectionClosed")
        assert met.errors()[:3] == [(-1, 100)] * 3
        assert met.sim.violations == Counter({Rule.MESSAGE_RATE: 3})


def test_a_client_that_asked_for_pacing_is_never_refused_and_waits() -> None:
    with meeting(PROTOBUF, options="+PACEAPI", lines=20, enforce_message_rate=True) as met:
        for _ in range(25):
            met.client.reqCurrentTime()
        met.client.wait_for(lambda: len(met.client.named("currentTime")) == 10)
        met.sim.advance(1.0)
        met.client.wait_for(lambda: len(met.client.named("currentTime")) == 20)
        met.sim.advance(1.0)
        met.client.wait_for(lambda: len(met.client.named("currentTime")) == 25)
        assert met.errors() == []
        # Each second in which messages had to wait.
        assert met.sim.violations == Counter({Rule.MESSAGE_RATE: 2})


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
def test_every_question_can_be_cancelled_before_its_answer_which_then_never_comes(version: int) -> None:
    with meeting(version, history_latency_s=30.0) as met:
        apple = contract("AAPL")
        met.bars(1, apple)
        met.client.cancelHistoricalData(1)
        met.client.reqHeadTimeStamp(2, apple, "TRADES", 1, 1)
        met.client.cancelHeadTimeStamp(2)
        met.client.reqHistogramData(3, apple, True, "3 days")
        met.client.cancelHistogramData(3)
        wanted = {"historicalTicksLast": 1, "headTimestamp": 0, "histogramData": 0, "historicalDataEnd": 0}
        met.client.reqHistoricalTicks(4, apple, "20231114-15:00:00", "", 10, "TRADES", 0, False, [])
        if version >= 215:
            met.client.cancelHistoricalTicks(4)
            wanted["historicalTicksLast"] = 0
        met.settle()
        met.sim.advance(60.0)
        met.settle()
        assert met.errors() == [(1, 162)]
        assert met.text_of(1).endswith("API historical data query cancelled: 1")
        assert {name: len(met.client.named(name)) for name in wanted} == wanted
        assert not met.sim.violations
