"""Records, and objects with ib_insync's attributes, become core's models with nothing lost and nothing made up."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import market_data_core as core
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.provider import ibkr_bar_to_bar, ibkr_ticker_to_quote, parse_ibkr_resolution
from ibkr_actor.provider.mapping import to_bar, to_past_bars, to_query, to_quote, to_trade
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.records import FEED_DELAYED, FEED_LIVE, Bar, Bars, Quote, Trade

NS = 1_767_623_400_000_000_000  # 2026-01-05 14:30 UTC
AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
QUOTE = Quote(1, 2, 265598, NS, None, FEED_LIVE, 0, -37.63, 0.0, 0.1, "0.5", "300", "1", "12345", 1)


def test_a_quote_keeps_negative_and_zero_prices_and_fractions_of_a_share() -> None:
    quote = to_quote(QUOTE, "CL", "CL.FUT.NYMEX.USD.20260120.CL")
    assert isinstance(quote, core.Quote)
    assert (quote.bid, quote.ask, quote.last) == (Decimal("-37.63"), Decimal("0.0"), Decimal("0.1"))
    assert (quote.bid_size, quote.ask_size, quote.volume) == (Decimal("0.5"), 300, 12345)
    assert type(quote.ask_size) is int
    assert (quote.symbol, quote.con_id, quote.instrument) == ("CL", 265598, "CL.FUT.NYMEX.USD.20260120.CL")
    assert quote.timestamp == AT
    assert quote.timestamp.tzinfo is not None
    assert quote.delayed is False


def test_a_quote_of_a_pair_has_no_last_and_no_volume_and_comes_out_all_the_same() -> None:
    pair = structs.replace(QUOTE, last=None, volume=None, bid_size="1000000", source_ns=NS - 1_000, feed=FEED_DELAYED)
    quote = to_quote(pair, "EUR")
    assert (quote.last, quote.volume, quote.bid_size, quote.delayed) == (None, 0, 1_000_000, True)
    assert quote.timestamp == datetime(2026, 1, 5, 14, 29, 59, 999999, tzinfo=UTC)


def test_a_whole_quote_is_read_by_cores_own_model() -> None:
    whole = structs.replace(QUOTE, bid_size="7")
    assert core.Quote.model_validate_json(to_quote(whole, "CL").model_dump_json()).bid_size == 7


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_price_is_the_shortest_decimal_that_means_it(price: float) -> None:
    bid = to_quote(structs.replace(QUOTE, bid=price), "X").bid
    assert bid is not None
    assert float(bid) == price


def test_a_trade_has_its_exchange_and_conditions_and_one_without_a_price_is_none() -> None:
    record = Trade(1, 2, 3, NS + 5_000_000, NS, FEED_LIVE, 0, 10.5, "0.25", "ARCA", "T I", False, False)
    trade = to_trade(record, "AAPL")
    assert isinstance(trade, core.Trade)
    assert (trade.price, trade.size, trade.exchange) == (Decimal("10.5"), Decimal("0.25"), "ARCA")
    assert (trade.conditions, trade.ts) == (["T", "I"], AT)
    assert to_trade(structs.replace(record, price=None), "AAPL") is None


def test_a_bar_is_labelled_with_its_end() -> None:
    record = Bar(1, 2, 3, NS, None, FEED_LIVE, 0, NS, NS + 5_000_000_000, 1.0, 2.0, 0.5, 1.5, "10.5", None, 3, True, 0,
                 "TRADES")  # fmt: skip
    bar = to_bar(record, "AAPL", "5s")
    assert bar is not None
    assert (bar.ts, bar.volume, bar.resolution) == (datetime(2026, 1, 5, 14, 30, 5, tzinfo=UTC), Decimal("10.5"), "5s")
    assert to_bar(structs.replace(record, high=None), "AAPL", "5s") is None
    pair = to_bar(structs.replace(record, volume=None), "EUR", "5s")
    assert pair is not None
    assert pair.volume == 0


def test_past_bars_come_row_by_row() -> None:
    rows: list[Any] = [(NS, NS + 60_000_000_000, 1.0, 2.0, 0.5, 1.5, "7", None, 3, None)]
    (bar,) = to_past_bars(Bars(1, 1, 3, NS, None, FEED_LIVE, 0, "TRADES", "1m", rows), "AAPL", "1m")
    assert (bar.ts, bar.close, bar.resolution) == (datetime(2026, 1, 5, 14, 31, tzinfo=UTC), Decimal("1.5"), "1m")


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ({"symbol": "AAPL"}, InstrumentQuery("AAPL", "STK", "SMART", "USD")),
        ({"symbol": "BMW", "currency": "EUR", "primary_exchange": "IBIS"},
         InstrumentQuery("BMW", "STK", "SMART", "EUR", primary_exchange="IBIS")),
        ({"symbol": "ES", "sec_type": "FUT", "exchange": "CME", "local_symbol": "ESZ6", "multiplier": "50"},
         InstrumentQuery("ES", "FUT", "CME", "USD", local_symbol="ESZ6", multiplier="50")),
        ({"symbol": "EUR", "sec_type": "CASH", "currency": "USD"}, InstrumentQuery("EUR", "CASH", "", "USD")),
        ({"symbol": "EUR.USD", "sec_type": "CASH"}, InstrumentQuery("EUR", "CASH", "", "USD")),
        ({"symbol": "USDJPY", "sec_type": "CASH"}, InstrumentQuery("USD", "CASH", "", "JPY")),
        ({"symbol": "AAPL", "sec_type": "OPT", "trading_class": "AAPL"},
         InstrumentQuery("AAPL", "OPT", "SMART", "USD", trading_class="AAPL")),
        ({"symbol": "anything", "conid": 265598}, InstrumentQuery(con_id=265598)),
        ({"symbol": "anything", "conid": 265598, "exchange": "ARCA"}, InstrumentQuery(con_id=265598, exchange="ARCA")),
        ({"symbol": "AAPL.OPT.SMART.USD.20261218.C.62.5.AAPL"},
         InstrumentQuery("AAPL", "OPT", "SMART", "USD", trading_class="AAPL", last_trade_date="20261218", strike=62.5,
                         right="C")),
    ],
)  # fmt: skip
def test_every_field_of_an_instrument_is_meant(given: dict[str, object], query: InstrumentQuery) -> None:
    assert to_query(core.Instrument.model_validate(given)) == query


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_a_resolution_has_its_bar_size_and_a_duration(name: str) -> None:
    size, duration = parse_ibkr_resolution(name)
    assert size == RESOLUTIONS[name].bar_size
    assert duration.split()[1] in {"S", "D", "W", "M", "Y"}


def test_a_resolution_that_is_none_is_refused() -> None:
    assert parse_ibkr_resolution("1m") == ("1 min", "1 D")
    assert parse_ibkr_resolution("1d") == ("1 day", "1 Y")
    with pytest.raises(core.ValidationError, match="45m"):
        parse_ibkr_resolution("45m")


def test_a_ticker_that_lacks_half_of_it_is_a_quote_with_half_of_it() -> None:
    ticker = SimpleNamespace(
        bid=-1.25, ask=0.0, last=math.nan, bidSize=0.5, askSize=math.nan, volume=math.nan, time=AT, marketDataType=3
    )
    quote = ibkr_ticker_to_quote(ticker, "EUR")
    assert (quote.bid, quote.ask, quote.last) == (Decimal("-1.25"), Decimal("0.0"), None)
    assert [quote.bid_size, quote.ask_size, quote.volume] == [Decimal("0.5"), None, 0]
    assert (quote.timestamp, quote.delayed) == (AT, True)


@pytest.mark.parametrize(
    ("given", "resolution", "end"),
    [
        ({"date": AT}, "1m", datetime(2026, 1, 5, 14, 31, tzinfo=UTC)),
        ({"time": AT, "open_": 9.5}, "5s", datetime(2026, 1, 5, 14, 30, 5, tzinfo=UTC)),
        ({"time": NS // 10**9}, "5s", datetime(2026, 1, 5, 14, 30, 5, tzinfo=UTC)),
        ({"date": date(2026, 1, 5)}, "1d", datetime(2026, 1, 6, tzinfo=UTC)),
        ({"date": "20260105"}, "1d", datetime(2026, 1, 6, tzinfo=UTC)),
        ({"date": date(2026, 12, 31)}, "1M", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_bar_of_either_kind_is_labelled_with_its_end(
    given: dict[str, object], resolution: str, end: datetime
) -> None:
    values: dict[str, object] = {"open": 9.5, "high": 11.0, "low": 9.0, "close": 10.0, "volume": -1} | given
    if "open_" in given:
        del values["open"]
    bar = ibkr_bar_to_bar(SimpleNamespace(**values), "AAPL", resolution)
    assert [bar.ts, bar.open, bar.volume, bar.resolution] == [end, Decimal("9.5"), Decimal(0), resolution]


def test_a_bar_without_a_time_or_a_price_is_refused() -> None:
    with pytest.raises(core.ValidationError, match="neither date nor time"):
        ibkr_bar_to_bar(SimpleNamespace(open=1, high=1, low=1, close=1), "AAPL", "1m")
    with pytest.raises(core.ValidationError, match="high"):
        ibkr_bar_to_bar(SimpleNamespace(date=AT, open=1, high=math.nan, low=1, close=1), "AAPL", "1m")
    with pytest.raises(core.ValidationError, match="45m"):
        ibkr_bar_to_bar(SimpleNamespace(date=AT, open=1, high=1, low=1, close=1), "AAPL", "45m")
