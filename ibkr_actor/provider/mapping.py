"""Owns how records become market-data-core's models, and what a core resolution is at IB.

Pure: reads no clock where data has a time of its own, and asks nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from market_data_core import Bar, Instrument, Quote, ValidationError

from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.provider.models import IBKRBar, IBKRQuote, IBKRTrade, Size
from ibkr_actor.schema import records
from ibkr_actor.schema.instruments import InstrumentQuery, parse_instrument
from ibkr_actor.schema.records import FEED_DELAYED, FEED_DELAYED_FROZEN

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DELAYED: Final = frozenset({FEED_DELAYED, FEED_DELAYED_FROZEN})
# How far one request of IB may reach for a bar size. Source: IBKR, Historical Data Limitations, "Valid Duration and
# Bar Size Settings"; from a day on what the replaced package had.
_DURATIONS: Final = {
    "1s": "1800 S", "5s": "3600 S", "10s": "14400 S", "15s": "14400 S", "30s": "28800 S", "1m": "1 D", "2m": "2 D",
    "3m": "1 W", "5m": "1 W", "10m": "1 W", "15m": "1 W", "20m": "1 W", "30m": "1 M", "1h": "1 M", "2h": "1 M",
    "3h": "1 M", "4h": "1 M", "8h": "1 M", "1d": "1 Y", "1w": "2 Y", "1M": "5 Y",
}  # fmt: skip


def parse_ibkr_resolution(resolution: str) -> tuple[str, str]:
    """IB's bar size of a core resolution, and a duration that one request may have: `1m` is ("1 min", "1 D").

    Raises:
        ValidationError: there is no such resolution; the message lists those there are.
    """
    row = RESOLUTIONS.get(resolution)
    if row is None:
        known = ", ".join(RESOLUTIONS)
        raise ValidationError(f"resolution {resolution!r} is not one of {known}", field="resolution", value=resolution)
    return row.bar_size, _DURATIONS[resolution]


def to_query(instrument: Instrument) -> InstrumentQuery:
    """What a core instrument says, field by field; a `symbol` that is a canonical id is one.

    Core's Instrument has no expiry, strike or right: an option is named by its canonical id, its `local_symbol` or its
    `conid`, a future by one of these too. What core fills in by itself (SMART, USD) is left out where a con_id or the
    type of security says otherwise.
    """
    if "." in instrument.symbol and len(instrument.symbol.split(".")) >= 4:
        query = parse_instrument(instrument.symbol)
        return query if not instrument.conid else InstrumentQuery(con_id=instrument.conid, exchange=query.exchange)
    given = instrument.model_fields_set
    sec_type = instrument.sec_type.upper()
    if instrument.conid:
        return InstrumentQuery(con_id=instrument.conid, exchange=instrument.exchange if "exchange" in given else "")
    exchange, symbol, currency = instrument.exchange, instrument.symbol, instrument.currency
    if "exchange" not in given and sec_type not in ("STK", "OPT", "CFD", "BOND", "CMDTY"):
        exchange = ""
    if sec_type == "CASH" and "currency" not in given and len(symbol) in (6, 7):
        # EURUSD, EUR.USD and EUR/USD name both currencies.
        symbol, currency = symbol[:3], symbol[-3:]
    return InstrumentQuery(
        symbol=symbol,
        sec_type=sec_type,
        exchange=exchange,
        currency=currency,
        primary_exchange=instrument.primary_exchange,
        local_symbol=instrument.local_symbol,
        trading_class=instrument.trading_class,
        multiplier=instrument.multiplier,
    )


def to_quote(record: records.Quote, symbol: str, instrument: str = "") -> IBKRQuote:
    """The quote of a record. Its time is IB's own where there is one, else that of its arrival."""
    return IBKRQuote(
        symbol=symbol,
        bid=price(record.bid),
        ask=price(record.ask),
        last=price(record.last),
        bid_size=size(record.bid_size),
        ask_size=size(record.ask_size),
        volume=size(record.volume) or 0,
        timestamp=utc(record.source_ns or record.received_ns),
        delayed=record.feed in DELAYED,
        con_id=record.con_id,
        instrument=instrument,
    )


def snapshot_to_quote(values: Mapping[str, Any], symbol: str) -> IBKRQuote:
    """The quote of a snapshot's result."""
    return IBKRQuote(
        symbol=symbol,
        bid=_number(values.get("bid")),
        ask=_number(values.get("ask")),
        last=_number(values.get("last")),
        bid_size=_whole(_number(values.get("bid_size"))),
        ask_size=_whole(_number(values.get("ask_size"))),
        volume=_whole(_number(values.get("volume"))) or 0,
        timestamp=utc(int(values["received_ns"])),
        delayed=values.get("feed") in DELAYED,
        con_id=int(values.get("con_id") or 0),
        instrument=str(values.get("instrument") or ""),
    )


def to_trade(record: records.Trade, symbol: str, instrument: str = "") -> IBKRTrade | None:
    """The trade of a record; None for one without a price or a size, which is none."""
    at, of = price(record.price), size(record.size)
    if at is None or of is None:
        return None
    return IBKRTrade(
        symbol=symbol,
        ts=utc(record.source_ns or record.received_ns),
        price=at,
        size=of,
        exchange=record.exchange or None,
        conditions=record.conditions.split(),
        con_id=record.con_id,
        instrument=instrument,
    )


def to_bar(record: records.Bar, symbol: str, resolution: str, instrument: str = "") -> IBKRBar | None:
    """The bar of a record, labelled with its end; None for one without prices."""
    return _bar(
        record.end_ns,
        (record.open, record.high, record.low, record.close),
        record.volume,
        symbol=symbol,
        resolution=resolution,
        delayed=record.feed in DELAYED,
        con_id=record.con_id,
        instrument=instrument,
    )


def to_past_bars(record: records.Bars, symbol: str, resolution: str) -> list[IBKRBar]:
    """The bars of one entry of a history job."""
    found = [
        _bar(row[1], row[2:6], row[6], symbol=symbol, resolution=resolution, delayed=record.feed in DELAYED,
             con_id=record.con_id, instrument="")
        for row in record.rows
    ]  # fmt: skip
    return [bar for bar in found if bar is not None]


def _bar(end_ns: int, prices: tuple[float | None, ...], volume: str | None, **rest: Any) -> IBKRBar | None:
    open_, high, low, close = (price(each) for each in prices)
    if open_ is None or high is None or low is None or close is None:
        return None
    # Core's bar must have a volume; that of a pair, which has none, is 0 as IB's own is.
    traded = size(volume)
    return IBKRBar(ts=utc(end_ns), open=open_, high=high, low=low, close=close, volume=Decimal(traded or 0), **rest)


def ibkr_ticker_to_quote(ticker: Any, symbol: str) -> Quote:
    """The quote of an object with ib_insync's or ib_async's attributes of a ticker.

    What the ticker does not know (NaN, None) is None; a negative price and a fraction of a share stay what they are.
    """
    market_data_type = getattr(ticker, "marketDataType", 1)
    return IBKRQuote(
        symbol=symbol,
        bid=_number(getattr(ticker, "bid", None)),
        ask=_number(getattr(ticker, "ask", None)),
        last=_number(getattr(ticker, "last", None)),
        bid_size=_whole(_number(getattr(ticker, "bidSize", None))),
        ask_size=_whole(_number(getattr(ticker, "askSize", None))),
        volume=_whole(_number(getattr(ticker, "volume", None))) or 0,
        timestamp=_aware(getattr(ticker, "time", None)) or datetime.now(UTC),
        delayed=market_data_type in DELAYED,
    )


def ibkr_bar_to_bar(bar: Any, symbol: str, resolution: str) -> Bar:
    """The bar of an object with ib_insync's attributes of a historical bar (`date`) or a real-time bar (`time`).

    IB labels a bar with its start, core with its end. A bar of a day or more is labelled with the end of its last
    day in UTC: its session is not known here.

    Raises:
        ValidationError: unknown resolution, or an object that has no time or no prices.
    """
    parse_ibkr_resolution(resolution)
    start = getattr(bar, "date", None) or getattr(bar, "time", None)
    at = _aware(start)
    if at is None:
        raise ValidationError(f"bar has neither date nor time: {bar!r}", field="date", value=start)
    open_, high, low, close = (_named(bar, name) for name in ("open", "high", "low", "close"))
    volume = _number(getattr(bar, "volume", None))
    return IBKRBar(
        symbol=symbol,
        ts=_end(at, resolution),
        open=open_,
        high=high,
        low=low,
        close=close,
        # IB's -1 says that there is none.
        volume=volume if volume is not None and volume >= 0 else Decimal(0),
        resolution=resolution,
    )


def _named(bar: Any, name: str) -> Decimal:
    """A price by its name; `open` of a real-time bar is `open_`."""
    value = _number(getattr(bar, name, getattr(bar, f"{name}_", None)))
    if value is None:
        raise ValidationError(f"bar has no {name}: {bar!r}", field=name)
    return value


def _end(start: datetime, resolution: str) -> datetime:
    if resolution == "1M":
        # A month's bar is dated with its first or its last trade date.
        return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
    return start + timedelta(seconds=RESOLUTIONS[resolution].seconds)


def utc(ns: int) -> datetime:
    """A time in nanoseconds, in whole microseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _aware(value: Any) -> datetime | None:
    """A time that knows its zone: text as IB writes it or ISO 8601, seconds since 1970, a date, or a datetime."""
    match value:
        case datetime():
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case int() | float():
            return _EPOCH + timedelta(seconds=value)
        case str() if value.isdigit() and len(value) != 8:
            return _EPOCH + timedelta(seconds=int(value))
        case str():
            try:
                return _aware(datetime.fromisoformat(value.strip().replace("  ", " ")))
            except ValueError:
                return None
    return None


def price(value: float | None) -> Decimal | None:
    """A float of a record as the shortest decimal that means it."""
    return None if value is None or not math.isfinite(value) else Decimal(repr(value))


def _number(value: Any) -> Decimal | None:
    """A number of any kind, None for what is none (NaN, None, infinity)."""
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def size(text: str | None) -> Size | None:
    """A size of a record."""
    return None if text is None else _whole(_number(text))


def _whole(number: Decimal | None) -> Size | None:
    """An int where that says the same, as core has it."""
    if number is None:
        return None
    return int(number) if number == number.to_integral_value() else number
