"""The replaced system's defects of history and pacing, one by one, each shown not to happen here.

D10 to D15 are the numbers under which they were found; each test would fail on the code that had them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from ibkr_actor.client import MarketDataError
from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Announce, Effect, Send
from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.core.messages import Enqueue, PacingViolated, RequestEnded, RequestRefused, SessionUp, WakeUp
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.requests import AnyRequest, ReqHistoricalData, ReqMktData
from ibkr_actor.schema.commands import History
from ibkr_actor.schema.records import Bars
from tests.core.kit import at, only, stock, told
from tests.core.past_desk import DECEMBER, PastDesk, later, reply
from tests.e2e.past import delivered, figures, of_the_tape, running_past

HMDS = "Historical Market Data Service error message:"


# ---- D10: `start` was not used, the span fixed, regular hours and TRADES hard-wired, bars outside were returned


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("instrument", "bar", "show", "start", "end", "rth"),
    [
        ("AAPL.STK.SMART.USD", "1m", "TRADES", "2025-12-01T15:07:00", "2025-12-03T15:11:00", False),
        ("AAPL.STK.SMART.USD", "1d", "TRADES", "2022-03-01", "2025-12-31", True),
        ("EUR.CASH.IDEALPRO.USD", "1h", "MIDPOINT", "2025-12-01", "2025-12-05", False),
        ("BTC.CRYPTO.PAXOS.USD", "1h", "AGGTRADES", "2025-12-01", "2025-12-05", False),
        ("IBUS500.CFD.SMART.USD", "1h", "MIDPOINT", "2025-12-01", "2025-12-05", False),
        ("SPX.IND.CBOE.USD", "1h", "TRADES", "2025-12-01", "2025-12-05", False),
    ],
)
async def test_d10_start_and_end_are_meant_and_every_type_has_its_data(
    instrument: str, bar: str, show: str, start: str, end: str, rth: bool
) -> None:
    async with running_past() as (sim, house):
        command = History(instrument=instrument, bar=bar, start=start, end=end, use_rth=rth)
        entries, done, _ = await delivered(house.redis, command)
        expected = of_the_tape(sim, instrument, bar, show, start, end, rth)
        assert expected
        assert figures(entries) == expected
        assert {entry.what_to_show for entry in entries} == {show}
        assert done.outcome == "complete"
        assert not sim.violations


# ---- D11: an unknown resolution became one minute and was labelled with what was asked


@pytest.mark.parametrize("bar", ["45m", "4m", "1min", "7d", "1 min", "1y", "0s", "-1m"])
def test_d11_a_resolution_that_is_not_there_is_refused_with_those_that_are(bar: str) -> None:
    desk = PastDesk()
    refused = reply(desk.send(structs.replace(DECEMBER, bar=bar)))
    assert refused.error is not None
    assert refused.error.code == "validation_error"
    assert bar in refused.error.message
    assert all(name in refused.error.message for name in RESOLUTIONS)
    assert not desk.open


def test_d11_a_bar_is_labelled_with_the_resolution_that_ib_was_asked_for() -> None:
    for bar, row in RESOLUTIONS.items():
        desk = PastDesk()
        desk.begun(structs.replace(DECEMBER, bar=bar, start="2025-12-30", end="2025-12-30"))
        assert {request.bar_size for request in desk.windows} <= {row.bar_size}
        desk.finish()
        entries = [entry for write in desk.writes for entry in write.entries if isinstance(entry, Bars)]
        assert {entry.bar for entry in entries} <= {bar}


# ---- D12: an error gave an empty list and a success


@pytest.mark.parametrize(
    ("code", "message", "wanted"),
    [
        (200, "No security definition has been found for the request", "invalid_instrument"),
        (354, "Requested market data is not subscribed.", "permissions_missing"),
        (162, f"{HMDS}No market data permissions for NYSE STK", "permissions_missing"),
        (166, f"{HMDS}expired", "invalid_instrument"),
        (321, "Error validating request", "validation_error"),
        (10314, "End Date/Time: The date, time, or time-zone entered is invalid.", "validation_error"),
    ],
)
def test_d12_an_error_is_a_typed_rejection_and_the_stream_says_failed(code: int, message: str, wanted: str) -> None:
    desk = PastDesk()
    desk.begun()
    (note,) = later(desk.error(desk.asked[0], code, message))
    assert note.error is not None
    assert (note.status, note.error.code, note.error.ib_code) == ("rejected", wanted, code)
    assert message in note.error.message
    assert desk.done("c.1").outcome == "failed"


@pytest.mark.anyio
async def test_d12_a_client_gets_an_exception_and_not_an_empty_list() -> None:
    async with running_past() as (_, house):
        for instrument, wanted in (("NOSUCH", "invalid_instrument"), ("ES", "invalid_instrument")):
            with pytest.raises(MarketDataError) as refused:
                await delivered(house.redis, History(instrument=instrument, start="2025-12-01", bar="1d"))
            assert refused.value.rejection.code == wanted


def test_d12_no_data_is_told_as_a_hole_with_its_reason() -> None:
    desk = PastDesk()
    desk.begun()
    while desk.open:
        desk.error(desk.asked[0], 162, f"{HMDS}HMDS query returned no data: AAPL@SMART Trades")
    done = desk.done("c.1")
    assert (done.outcome, done.rows) == ("incomplete", 0)
    assert {hole.reason for hole in done.holes} == {"no_data"}


# ---- D13: 119 requests were granted in 600 s, where IB allows 60


class Pacing:
    """Pacing on its own, woken whenever it wants to be; remembers what it let go and when."""

    def __init__(self) -> None:
        self.core = PacingCore(PacingConfig())
        self.sent: list[tuple[float, AnyRequest]] = []
        self.handle(SessionUp(1, 200), 0.0)

    def handle(self, message: Any, s: float) -> list[Effect]:
        effects = self.core.handle(message, at(s))
        self.sent += [(s, effect.request) for effect in only(Send, effects)]
        return effects

    def until(self, s: float) -> None:
        """Lets time pass; each request is answered at once, so that none is held for being open."""
        answered = 0
        while True:
            while answered < len(self.sent):
                at_s, request = self.sent[answered]
                answered += 1
                self.handle(RequestEnded(request.req_id), at_s)
            due_s = self.core.next_wakeup_s()
            if due_s is None or due_s > s:
                return
            self.handle(WakeUp(), due_s)

    @property
    def history(self) -> list[float]:
        return [at_s for at_s, request in self.sent if isinstance(request, ReqHistoricalData)]


def small(number: int, *, con_id: int | None = None, show: str = "TRADES", end: str | None = None) -> ReqHistoricalData:
    contract = stock("X", number if con_id is None else con_id)
    return ReqHistoricalData(number * 10 + 3, contract, end or f"e{number}", "3600 S", "5 secs", show, False)


def in_any(times: list[float], window_s: float) -> int:
    """The most that lie in any window."""
    return max(sum(1 for each in times if first <= each < first + window_s) for first in times)


def test_d13_sixty_small_requests_in_any_ten_minutes_and_not_one_more() -> None:
    pacing = Pacing()
    for number in range(180):
        pacing.handle(Enqueue(small(number), 1, "c"), 0.0)
    pacing.until(2_000.0)
    assert len(pacing.history) == 180
    assert in_any(pacing.history, 600.0) == 60
    # And no slower than that.
    assert pacing.history[-1] < 1_200 * 1.02


# ---- D14: the cooldown could never come, since IB's words have "pacing" and the code looked for "pace"


@pytest.mark.parametrize(
    "message",
    [
        f"{HMDS}Historical data request pacing violation",
        "Mensaje de error:Infracción de ritmo de solicitudes de datos históricos",
        "Überschreitung des Anfragelimits für historische Daten",
    ],
)
def test_d14_a_pacing_violation_is_recognised_and_rests_what_shares_the_limit(message: str) -> None:
    desk = PastDesk()
    desk.begun(structs.replace(DECEMBER, bar="30s", start="2025-12-30", end="2025-12-30"))
    (req_id, *_) = desk.asked
    desk.error(req_id, 162, message, 1)
    if not desk.violated:
        # In words that are not known it is recognised by its being said again.
        desk.wake(17.0)
        desk.error(desk.asked[-1], 162, message, 18)
    assert len(desk.violated) == 1
    assert not desk.is_done("c.1")
    pacing = Pacing()
    pacing.handle(Enqueue(small(1), 1, "c"), 0.0)
    effects = pacing.handle(PacingViolated(13), 1.0)
    assert [effect.record.topic for effect in only(Announce, effects)] == ["pacing"]
    pacing.handle(Enqueue(small(2), 1, "c"), 2.0)
    pacing.until(600.0)
    assert len(pacing.history) == 1
    pacing.until(602.0)
    assert len(pacing.history) == 2


# ---- D15: the other limits were not there; bars of a minute were held though IB does not limit them


def test_d15_an_identical_request_waits_15_s() -> None:
    pacing = Pacing()
    for number in (1, 2):
        pacing.handle(Enqueue(small(number, con_id=1, end="same"), 1, "c"), 0.0)
    pacing.until(100.0)
    first, second = pacing.history
    assert 15.0 <= second - first <= 16.0


def test_d15_fewer_than_six_of_one_contract_in_two_seconds() -> None:
    pacing = Pacing()
    for number in range(12):
        pacing.handle(Enqueue(small(number, con_id=1), 1, "c"), 0.0)
    pacing.until(100.0)
    assert len(pacing.history) == 12
    assert in_any(pacing.history, 2.0) == 5


def test_d15_bid_ask_counts_double() -> None:
    pacing = Pacing()
    for number in range(40):
        pacing.handle(Enqueue(small(number, show="BID_ASK"), 1, "c"), 0.0)
    pacing.until(599.0)
    assert len(pacing.history) == 30


def test_d15_fifty_at_most_are_open() -> None:
    pacing = Pacing()
    for number in range(60):
        pacing.handle(Enqueue(small(number), 1, "c"), 0.0)
    for s in (5.0, 10.0, 100.0):
        pacing.handle(WakeUp(), s)
    assert len(pacing.history) == 50


def test_d15_fifty_messages_a_second_at_most() -> None:
    pacing = Pacing()
    for number in range(200):
        pacing.handle(Enqueue(ReqMktData(number * 10 + 2, stock("X", number)), 1, "c"), 0.0)
    pacing.until(60.0)
    times = [at_s for at_s, _ in pacing.sent]
    assert len(times) == 200
    assert in_any(times, 1.0) == 50


def test_d15_bars_of_a_minute_and_more_do_not_wait_for_the_small_ones_window() -> None:
    pacing = Pacing()
    for number in range(300):
        request = structs.replace(small(number), bar_size="1 day", duration="1 Y")
        pacing.handle(Enqueue(request, 1, "c"), 0.0)
    pacing.until(60.0)
    assert len(pacing.history) == 300
    # Thirty a second, and each second as much longer as pacing trusts the network to differ.
    assert pacing.history[-1] < 10 * (1.0 + PacingConfig().message_margin_s) + 1.0
    assert all(before <= after for before, after in pairwise(pacing.history))


def test_d15_a_refusal_says_when_to_come_again() -> None:
    pacing = PacingCore(PacingConfig(queue_max=1))
    effects = pacing.handle(SessionUp(1, 200), at(0))
    for number in range(70):
        effects += pacing.handle(Enqueue(small(number), 1, "c"), at(0))
    refusals = told(effects, RequestRefused)
    assert refusals
    assert all(refusal.retry_after_s > 0 for refusal in refusals)
