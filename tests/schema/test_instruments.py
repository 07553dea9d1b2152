from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ibkr_actor.schema.instruments import (
    SEC_TYPES,
    WITH_EXPIRY,
    WITH_STRIKE,
    Contract,
    InstrumentQuery,
    InvalidInstrumentText,
    combination_id,
    escape,
    instrument_id,
    parse_instrument,
    strike_text,
    with_defaults,
)

FUT = Contract(1, "ES", "FUT", "CME", "USD", last_trade_date="20261218", trading_class="ES")
OPT = Contract(
    2, "AAPL", "OPT", "SMART", "USD", last_trade_date="20261218", strike=62.5, right="C", trading_class="AAPL"
)


@pytest.mark.parametrize(
    ("contract", "text"),
    [
        (Contract(1, "AAPL", "STK", "SMART", "USD"), "AAPL.STK.SMART.USD"),
        (Contract(1, "BRK B", "STK", "SMART", "USD"), "BRK%20B.STK.SMART.USD"),
        (Contract(1, "EUR", "CASH", "IDEALPRO", "USD"), "EUR.CASH.IDEALPRO.USD"),
        (Contract(1, "BTC", "CRYPTO", "PAXOS", "USD"), "BTC.CRYPTO.PAXOS.USD"),
        (FUT, "ES.FUT.CME.USD.20261218.ES"),
        (OPT, "AAPL.OPT.SMART.USD.20261218.C.62.5.AAPL"),
        (Contract(1, "A.B~c:d@e{f}", "STK", "SMART", "USD"), "A%2EB%7Ec%3Ad%40e%7Bf%7D.STK.SMART.USD"),
        (Contract(7, "US912828", "BOND", "SMART", "USD"), "US912828.BOND.SMART.USD@7"),
    ],
)
def test_the_canonical_id_of(contract: Contract, text: str) -> None:
    assert instrument_id(contract) == text


def test_a_contract_whose_id_is_taken_has_its_con_id_behind_it() -> None:
    assert instrument_id(Contract(9, "AAPL", "STK", "SMART", "USD"), with_con_id=True) == "AAPL.STK.SMART.USD@9"


@pytest.mark.parametrize(
    ("strike", "text"),
    [(62.5, "62.5"), (5000.0, "5000"), (0.005, "0.005"), (0.0, "0"), (-0.0, "0"), (-0.5, "-0.5"), (1e6, "1000000")],
)
def test_a_strike_is_the_shortest_plain_decimal(strike: float, text: str) -> None:
    assert strike_text(strike) == text


symbols = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12)
strikes = st.integers(-100_000_000, 100_000_000).map(lambda ticks: ticks / 1000)
contracts = st.builds(
    Contract,
    con_id=st.integers(1, 2**31 - 1),
    symbol=symbols,
    sec_type=st.sampled_from(sorted(SEC_TYPES)),
    exchange=st.sampled_from(["SMART", "CME", "IDEALPRO", "OSE.JPN", "SFE"]),
    currency=st.sampled_from(["USD", "EUR", "JPY"]),
    last_trade_date=st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0")),
    strike=strikes,
    right=st.sampled_from(["C", "P"]),
    trading_class=st.sampled_from(["ES", "AAPL", "7203", "1", "A B", "E.W", ""]),
)


@given(contracts, st.booleans())
def test_a_canonical_id_read_again_names_the_same_contract(contract: Contract, with_con_id: bool) -> None:
    text = instrument_id(contract, with_con_id=with_con_id)
    if len(text) > 200:
        return
    query = parse_instrument(text)
    assert (query.symbol, query.sec_type) == (contract.symbol, contract.sec_type)
    assert (query.exchange, query.currency) == (contract.exchange, contract.currency)
    assert query.con_id == (contract.con_id if "@" in text else 0)
    again = structs.replace(
        contract,
        last_trade_date=query.last_trade_date,
        strike=query.strike,
        right=query.right,
        trading_class=query.trading_class or "",
    )
    assert instrument_id(again, with_con_id=with_con_id) == text
    if contract.sec_type in WITH_STRIKE:
        assert (query.strike, query.right) == (contract.strike, contract.right)
    if contract.sec_type in WITH_EXPIRY:
        assert (query.last_trade_date, query.trading_class) == (contract.last_trade_date, contract.trading_class)


@given(contracts)
def test_an_id_holds_no_character_that_a_key_gives_meaning_to(contract: Contract) -> None:
    assert set(instrument_id(contract)).isdisjoint(set(":{} *?[]\\\n"))


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_escaped_text_is_plain(text: str) -> None:
    plain = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%")
    assert set(escape(text)) <= plain


def test_a_plain_symbol_is_a_smart_dollar_stock() -> None:
    assert parse_instrument("AAPL") == InstrumentQuery("AAPL", "STK", "SMART", "USD")
    assert parse_instrument("BRK%20B").symbol == "BRK B"


def test_a_numeric_trading_class_is_not_taken_for_the_strikes_fraction() -> None:
    query = parse_instrument("7203.OPT.OSE%2EJPN.JPY.20261211.P.2500.7203")
    assert (query.strike, query.trading_class) == (2500.0, "7203")


def test_a_con_id_alone_names_an_instrument() -> None:
    assert parse_instrument("@265598") == InstrumentQuery(con_id=265598)


@given(st.text(max_size=60))
def test_any_text_is_an_instrument_or_is_refused_and_nothing_else(text: str) -> None:
    with suppress(InvalidInstrumentText):
        with_defaults(parse_instrument(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 201,
        "AAPL@",
        "AAPL@x",
        "AAPL@\u00b2",
        "BAG@0f3c",
        "BRK.B",
        "AAPL.STK",
        "AAPL.XXX.SMART.USD",
        "AAPL.STK.SMART.USD.20261218",
        "ES.FUT.CME.USD",
        "ES.FUT.CME.USD.20261218.ES.X",
        "AAPL.OPT.SMART.USD.20261218",
        "AAPL.OPT.SMART.USD.20261218.C",
        "AAPL.OPT.SMART.USD.20261218.X.5.AAPL",
        "AAPL.OPT.SMART.USD.20261218.C.abc.AAPL",
        "AAPL.OPT.SMART.USD.20261218.C.\u00b2.AAPL",
        "AAPL.OPT.SMART.USD.20261218.C.1.2.3.AAPL",
    ],
)
def test_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInstrumentText):
        parse_instrument(text)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (InstrumentQuery("AAPL"), InstrumentQuery("AAPL", "STK", "SMART", "USD")),
        (InstrumentQuery("EUR", "CASH"), InstrumentQuery("EUR", "CASH", "IDEALPRO", "USD")),
        (InstrumentQuery("ES", "FUT"), InstrumentQuery("ES", "FUT", "", "USD")),
        (InstrumentQuery(con_id=5), InstrumentQuery(con_id=5)),
        (InstrumentQuery(conid=5), InstrumentQuery(con_id=5)),
        (
            InstrumentQuery("AAPL", "OPT", right="call", strike=5.0, last_trade_date="202612"),
            InstrumentQuery("AAPL", "OPT", "SMART", "USD", right="C", strike=5.0, last_trade_date="202612"),
        ),
    ],
)
def test_what_is_left_out_has_a_default(query: InstrumentQuery, expected: InstrumentQuery) -> None:
    assert with_defaults(query) == expected


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (InstrumentQuery(), "needs a symbol"),
        (InstrumentQuery(con_id=-1), "con_id"),
        (InstrumentQuery(con_id=2**31), "con_id"),
        (InstrumentQuery(conid=10**30), "con_id"),
        (InstrumentQuery("A", "STOCK"), "sec_type"),
        (InstrumentQuery("A\x00B"), "control character"),
        (InstrumentQuery("A", local_symbol="x\n"), "control character"),
        (InstrumentQuery("A" * 101), "more than 100 characters"),
        (InstrumentQuery("A", last_trade_date="2026-12-18"), "last_trade_date"),
        (InstrumentQuery("A", strike=math.nan), "strike"),
        (InstrumentQuery("A", strike=math.inf), "strike"),
        (InstrumentQuery("A", right="X"), "right"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_in_words(query: InstrumentQuery, word: str) -> None:
    with pytest.raises(InvalidInstrumentText, match=word):
        with_defaults(query)


def test_the_id_of_a_combination_does_not_depend_on_the_order_of_its_legs() -> None:
    legs = [(2, 1, "SELL", "SMART"), (1, 1, "BUY", "SMART")]
    assert combination_id(legs) == combination_id(legs[::-1])
    assert combination_id(legs).startswith("BAG@")
    assert combination_id(legs) != combination_id([(2, 2, "SELL", "SMART"), (1, 1, "BUY", "SMART")])
