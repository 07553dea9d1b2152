"""Owns the proof of IB's limits on history: each row with its code, and the counting with literal times.

Must not start a simulator.
"""

from __future__ import annotations

import pytest

from ibkr_actor.sim.desks.rules import Rule, Window
from ibkr_actor.sim.history import rules
from ibkr_actor.sim.history.rules import BarAsk, SmallBars, legal_bar_size, refusal_of, ticks_refusal_of
from ibkr_actor.sim.history.times import parse_duration
from ibkr_actor.sim.market.bars import BarSize


def _ask(
    duration: str = "1 D",
    size: str = "1 min",
    show: str = "TRADES",
    sec_type: str = "STK",
    *,
    end: bool = False,
    keep: bool = False,
    format_date: int = 1,
) -> BarAsk:
    return BarAsk(sec_type, show, end, BarSize.parse(size), parse_duration(duration), format_date, keep)


# ask -> rule, code and a part of the text
BREACHES = [
    (_ask("86401 S"), Rule.HISTORY_DURATION, 321, "greater than 86400 seconds"),
    (_ask("366 D"), Rule.HISTORY_DURATION, 321, "longer than 365 days must be made in years"),
    (_ask("53 W"), Rule.HISTORY_DURATION, 321, "longer than 52 weeks must be made in years"),
    (_ask("13 M"), Rule.HISTORY_DURATION, 321, "longer than 12 months must be made in years"),
    (_ask("69 Y", "1 day"), Rule.HISTORY_DURATION, 321, "duration is invalid"),
    (_ask(show="ADJUSTED_LAST", end=True), Rule.HISTORY_END, 321, "End date not supported with adjusted last"),
    (_ask(sec_type="CONTFUT", end=True), Rule.HISTORY_END, 10339, "continuous future"),
    (_ask(size="1 week", show="ADJUSTED_LAST"), Rule.HISTORY_VIEW, 321, "Multi day bar size"),
    (_ask(show="LAST"), Rule.HISTORY_VIEW, 321, "what to show"),
    (_ask(format_date=4), Rule.HISTORY_FORMAT, 321, "Date formatting selection of 4 rejected."),
    (_ask(keep=True, end=True), Rule.HISTORY_UPDATES, 321, "End date not supported with live updates"),
    (_ask(keep=True, sec_type="BAG"), Rule.HISTORY_UPDATES, 321, "Live updates for combos"),
    (_ask(keep=True, show="BID_ASK"), Rule.HISTORY_UPDATES, 321, "Source price not supported"),
    (_ask("60 S", "1 secs", keep=True), Rule.HISTORY_UPDATES, 321, "Bar size not supported"),
    (_ask(show="SCHEDULE"), Rule.HISTORY_VIEW, 10295, "Only daily resolution"),
    (_ask(sec_type="CRYPTO"), Rule.HISTORY_VIEW, 10299, "Expected what to show is AGGTRADES, please use that"),
    (_ask(show="AGGTRADES"), Rule.HISTORY_VIEW, 10299, "Expected what to show is TRADES, please use that"),
    (_ask("1 D", "1 secs"), Rule.HISTORY_STEP, 162, "invalid step: 1"),
    (_ask("1 W", "5 secs"), Rule.HISTORY_STEP, 162, "invalid step: 5"),
    (_ask("1 M", "15 secs"), Rule.HISTORY_STEP, 162, "invalid step: 15"),
    (_ask("1 Y", "30 secs"), Rule.HISTORY_STEP, 162, "invalid step: 30"),
    (_ask("2001 S", "1 secs"), Rule.HISTORY_STEP, 162, "Time length exceed max."),
]
ALLOWED = [
    _ask("86400 S"),
    _ask("365 D"),
    _ask("52 W", "10 secs"),
    _ask("12 M", "30 secs"),
    _ask("68 Y", "1 month"),
    _ask("1 M", "1 day"),
    _ask("2000 S", "1 secs"),
    _ask("1 D", "5 secs", end=True),
    _ask(show="ADJUSTED_LAST"),
    _ask(sec_type="CONTFUT"),
    _ask("1 M", "1 day", "SCHEDULE"),
    _ask(sec_type="CRYPTO", show="AGGTRADES"),
    _ask(keep=True, size="5 secs", show="MIDPOINT"),
    _ask(format_date=3),
]


@pytest.mark.parametrize(("ask", "rule", "code", "text"), BREACHES, ids=lambda value: str(value)[:40])
def test_a_breach_is_refused_with_ibs_code_and_words(ask: BarAsk, rule: Rule, code: int, text: str) -> None:
    refusal = refusal_of(ask)
    assert refusal is not None
    assert (refusal.rule, refusal.code) == (rule, code)
    assert text in refusal.text
    assert refusal.text.startswith("Error validating request.-") == (code == 321)
    assert refusal.text.startswith("Historical Market Data Service error message:") == (code == 162)


def test_every_row_has_a_breach_of_its_own() -> None:
    met = {next(number for number, row in enumerate(rules.ROWS) if row.breach(ask)) for ask, *_ in BREACHES}
    assert met == set(range(len(rules.ROWS)))


@pytest.mark.parametrize("ask", ALLOWED, ids=str)
def test_what_ib_takes_is_taken(ask: BarAsk) -> None:
    assert refusal_of(ask) is None


@pytest.mark.parametrize("text", ["1 sec", "1 mins", "4 mins", "1 hours", "1 days", "", "1w2"])
def test_a_bar_size_spelled_otherwise_is_refused_with_the_list(text: str) -> None:
    with pytest.raises(ValueError, match="Legal ones are: 1 secs, 5 secs, 10 secs"):
        legal_bar_size(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1 secs", "1 secs"), ("1 MIN", "1 min"), ("1W", "1 week"), ("1 month", "1 month")]
)
def test_a_bar_size_spelled_as_ib_does_is_read(text: str, size: str) -> None:
    assert legal_bar_size(text) == BarSize.parse(size)


TICK_CASES = [
    (("STK", "TRADES", 1000, 1), None),
    (("CASH", "BID_ASK", 1, 1), None),
    (("BAG", "TRADES", 10, 1), "Combo types are not supported"),
    (("STK", "TRADES", 0, 1), "Number of ticks must be > 0"),
    (("STK", "TRADES", 1001, 1), "Number of ticks must be <= 1000"),
    (("STK", "", 10, 1), "Source price must not be empty"),
    (("STK", "BID", 10, 1), "Invalid source price"),
    (("STK", "TRADES", 10, 2), "Exactly one of start and end date"),
    (("STK", "TRADES", 10, 0), "Exactly one of start and end date"),
]


@pytest.mark.parametrize(("asked", "cause"), TICK_CASES)
def test_a_request_for_ticks_is_judged(asked: tuple[str, str, int, int], cause: str | None) -> None:
    refusal = ticks_refusal_of(*asked)
    if cause is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert (refusal.rule, refusal.code) == (Rule.HISTORY_TICKS, 321)
        assert cause in refusal.text


def test_the_same_request_is_a_breach_until_fifteen_seconds_have_passed() -> None:
    pacing = SmallBars(Window(60, 600.0))
    assert pacing.breach("a", "AAPL", 1, 1000.0) is None
    assert pacing.breach("a", "AAPL", 1, 1014.9) is Rule.HISTORY_IDENTICAL
    assert pacing.breach("b", "AAPL", 1, 1014.9) is None
    assert pacing.breach("a", "AAPL", 1, 1015.0) is None


def test_the_sixth_of_one_contract_in_two_seconds_is_a_breach() -> None:
    pacing = SmallBars(Window(60, 600.0))
    for number in range(5):
        assert pacing.breach(number, "AAPL", 1, 1000.0 + number / 10) is None
    assert pacing.breach(5, "AAPL", 1, 1001.9) is Rule.HISTORY_BURST
    assert pacing.breach(6, "MSFT", 1, 1001.9) is None
    assert pacing.breach(7, "AAPL", 1, 1002.0) is None


def test_bid_ask_counts_twice_in_two_seconds_too() -> None:
    pacing = SmallBars(Window(60, 600.0))
    assert pacing.breach(1, "AAPL BID_ASK", 2, 1000.0) is None
    assert pacing.breach(2, "AAPL BID_ASK", 2, 1000.1) is None
    assert pacing.breach(3, "AAPL BID_ASK", 2, 1001.9) is Rule.HISTORY_BURST
    assert pacing.breach(4, "AAPL BID_ASK", 2, 1002.0) is None


def test_the_sixty_first_in_ten_minutes_is_a_breach_and_bid_ask_counts_twice() -> None:
    window = Window(60, 600.0)
    pacing = SmallBars(window)
    for number in range(29):
        assert pacing.breach(number, number, 2, 1000.0 + number) is None
    assert window.take(1030.0)
    assert pacing.breach(29, 29, 2, 1031.0) is Rule.HISTORY_RATE
    assert pacing.breach(29, 29, 1, 1031.0) is None
    assert pacing.breach(30, 30, 1, 1599.9) is Rule.HISTORY_RATE
    assert pacing.breach(30, 30, 2, 1600.0) is None


def test_a_refused_request_does_not_count() -> None:
    pacing = SmallBars(Window(1, 600.0))
    assert pacing.breach("a", "AAPL", 1, 1000.0) is None
    assert pacing.breach("b", "AAPL", 1, 1001.0) is Rule.HISTORY_RATE
    assert pacing.breach("b", "AAPL", 1, 1600.0) is None


def test_the_service_names_what_it_has_not_got() -> None:
    text = rules.no_such_data("EUR", "CASH", "IDEALPRO", "TRADES", 3600)
    assert text.endswith("error message:No historical market data for EUR/CASH@IDEALPRO Last 3600")
    text = rules.nothing_found("GE", "SMART", "BID_ASK")
    assert text.endswith("error message:HMDS query returned no data: GE@SMART Bid_ask")
