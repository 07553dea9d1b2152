"""Owns the proof that history is asked and told in the official client's and ib_async's own words, at every version.

Must not open a socket.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ib_async import Stock
from ib_async.client import Client as AsyncClient
from ib_async.decoder import Decoder as AsyncDecoder
from ibapi.contract import ComboLeg, Contract

from ibkr_actor.sim.market.instruments import ContractSpec, Leg
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.wire import history_messages as h
from ibkr_actor.sim.wire import history_wire
from ibkr_actor.sim.wire.frames import split_frame
from ibkr_actor.sim.wire.request_base import Cancel, Request
from ibkr_actor.sim.wire.requests import read_request
from ibkr_actor.sim.wire.responses import Encoder
from tests.sim.peers import VERSIONS, Call, Requests, decode, plain, stock

# 195 and 196 are on either side of the message that ends historical bars.
ALL_VERSIONS = sorted({*VERSIONS, 195, 196})
ASYNC_VERSIONS = (157, 165, 173, 178)
IDS = st.integers(min_value=1, max_value=2**31 - 2)
PRICES = st.floats(min_value=-1e6, max_value=1e7, allow_nan=False).map(lambda value: round(value, 6))
# 2147483647 is no size: on the wire it means that there is none.
SIZES = st.one_of(
    st.integers(min_value=-1, max_value=10**12).filter(lambda value: value != 2**31 - 1).map(Decimal),
    st.decimals(min_value=0, max_value=10**9, places=4, allow_nan=False),
)
TIMES = st.integers(min_value=0, max_value=2**33)
DATES = st.sampled_from(["20231114", "1700000000", "20231114 17:13:20 US/Eastern", "1114 17:13:20 US/Eastern"])
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)

BARS = st.builds(
    h.HistoricalBar,
    date=DATES,
    open=PRICES,
    high=PRICES,
    low=PRICES,
    close=PRICES,
    volume=SIZES,
    wap=SIZES,
    count=st.integers(min_value=-1, max_value=10**9),
)


def _bar(bar: h.HistoricalBar) -> dict[str, Any]:
    return {
        "date": bar.date, "open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close,
        "volume": bar.volume, "wap": bar.wap, "barCount": bar.count,
    }  # fmt: skip


def _plain_calls(message: Message, version: int) -> list[Call]:
    return [tuple(plain(value) for value in call) for call in decode(Encoder(version).encode(message), version)]


@settings(max_examples=60, deadline=None)
@given(version=st.sampled_from(ALL_VERSIONS), req_id=IDS, bars=st.lists(BARS, max_size=4), start=DATES, end=DATES)
def test_bars_arrive_as_they_were_sent(
    version: int, req_id: int, bars: list[h.HistoricalBar], start: str, end: str
) -> None:
    read = _plain_calls(h.HistoricalData(req_id=req_id, bars=tuple(bars), start=start, end=end), version)
    expected: list[Call] = [("historicalData", req_id, _bar(bar)) for bar in bars]
    if version < 196:
        expected.append(("historicalDataEnd", req_id, start, end))
    assert read == expected


@settings(max_examples=60, deadline=None)
@given(
    version=st.sampled_from(ALL_VERSIONS),
    first=st.lists(BARS, min_size=1, max_size=3),
    second=st.lists(BARS, min_size=1, max_size=3),
)
def test_bars_made_in_pieces_are_the_frame_of_all_at_once(
    version: int, first: list[h.HistoricalBar], second: list[h.HistoricalBar]
) -> None:
    pieces = tuple(history_wire.encode_bars(bars, version) for bars in (first, second))
    count = len(first) + len(second)
    in_pieces = h.EncodedHistoricalData(req_id=7, count=count, pieces=pieces, start="a", end="b")
    at_once = h.HistoricalData(req_id=7, bars=(*first, *second), start="a", end="b")
    assert Encoder(version).encode(in_pieces) == Encoder(version).encode(at_once)


@settings(max_examples=60, deadline=None)
@given(version=st.sampled_from(ALL_VERSIONS), req_id=IDS, bar=BARS, text=NAMES)
def test_the_end_the_update_and_the_head_arrive_as_they_were_sent(
    version: int, req_id: int, bar: h.HistoricalBar, text: str
) -> None:
    update = h.HistoricalDataUpdate(req_id=req_id, bar=bar)
    assert _plain_calls(update, version) == [("historicalDataUpdate", req_id, _bar(bar))]
    head = h.HeadTimestamp(req_id=req_id, head_timestamp=text)
    assert _plain_calls(head, version) == [("headTimestamp", req_id, text)]
    if version >= 196:
        end = h.HistoricalDataEnd(req_id=req_id, start="20231113 10:00:00 UTC", end=text)
        assert _plain_calls(end, version) == [("historicalDataEnd", req_id, "20231113 10:00:00 UTC", text)]


@settings(max_examples=60, deadline=None)
@given(
    version=st.sampled_from(ALL_VERSIONS),
    req_id=IDS,
    entries=st.lists(st.builds(h.HistogramEntry, PRICES, SIZES), max_size=5),
)
def test_a_histogram_arrives_as_it_was_sent(version: int, req_id: int, entries: list[h.HistogramEntry]) -> None:
    read = _plain_calls(h.HistogramData(req_id=req_id, entries=tuple(entries)), version)
    assert read == [("histogramData", req_id, [{"price": each.price, "size": each.size} for each in entries])]


@settings(max_examples=80, deadline=None)
@given(data=st.data(), version=st.sampled_from(ALL_VERSIONS), req_id=IDS, done=st.booleans())
def test_ticks_of_all_three_kinds_arrive_as_they_were_sent(
    data: st.DataObject, version: int, req_id: int, done: bool
) -> None:
    mid = data.draw(st.lists(st.builds(h.HistoricalTick, time=TIMES, price=PRICES, size=SIZES), max_size=3))
    assert _plain_calls(h.HistoricalTicks(req_id=req_id, ticks=tuple(mid), done=done), version) == [
        ("historicalTicks", req_id, [{"time": t.time, "price": t.price, "size": t.size} for t in mid], done)
    ]
    quote = st.builds(
        h.HistoricalTickBidAsk, time=TIMES, price_bid=PRICES, price_ask=PRICES, size_bid=SIZES, size_ask=SIZES,
        bid_past_low=st.booleans(), ask_past_high=st.booleans(),
    )  # fmt: skip
    quotes = data.draw(st.lists(quote, max_size=3))
    assert _plain_calls(h.HistoricalTicksBidAsk(req_id=req_id, ticks=tuple(quotes), done=done), version) == [
        ("historicalTicksBidAsk", req_id, [_quote(tick) for tick in quotes], done)
    ]
    last = st.builds(
        h.HistoricalTickLast, time=TIMES, price=PRICES, size=SIZES, exchange=NAMES, special_conditions=NAMES,
        past_limit=st.booleans(), unreported=st.booleans(),
    )  # fmt: skip
    trades = data.draw(st.lists(last, max_size=3))
    assert _plain_calls(h.HistoricalTicksLast(req_id=req_id, ticks=tuple(trades), done=done), version) == [
        ("historicalTicksLast", req_id, [_trade(tick) for tick in trades], done)
    ]


def _quote(tick: h.HistoricalTickBidAsk) -> dict[str, Any]:
    return {
        "time": tick.time,
        "tickAttribBidAsk": {"bidPastLow": tick.bid_past_low, "askPastHigh": tick.ask_past_high},
        "priceBid": tick.price_bid,
        "priceAsk": tick.price_ask,
        "sizeBid": tick.size_bid,
        "sizeAsk": tick.size_ask,
    }


def _trade(tick: h.HistoricalTickLast) -> dict[str, Any]:
    return {
        "time": tick.time,
        "tickAttribLast": {"pastLimit": tick.past_limit, "unreported": tick.unreported},
        "price": tick.price,
        "size": tick.size,
        "exchange": tick.exchange,
        "specialConditions": tick.special_conditions,
    }


_SCHEDULE = h.HistoricalSchedule(
    req_id=7,
    start="20231113-09:30:00",
    end="20231114-16:00:00",
    time_zone="US/Eastern",
    sessions=(
        h.HistoricalSession(start="20231113-09:30:00", end="20231113-16:00:00", ref_date="20231113"),
        h.HistoricalSession(start="20231114-09:30:00", end="20231114-16:00:00", ref_date="20231114"),
    ),
)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_schedule_arrives_as_it_was_sent(version: int) -> None:
    sessions = [
        {"startDateTime": f"{day}-09:30:00", "endDateTime": f"{day}-16:00:00", "refDate": day}
        for day in ("20231113", "20231114")
    ]
    assert _plain_calls(_SCHEDULE, version) == [
        ("historicalSchedule", 7, "20231113-09:30:00", "20231114-16:00:00", "US/Eastern", sessions)
    ]


def test_a_question_mark_for_a_price_is_sent_in_text_and_left_out_of_protobuf() -> None:
    bar = h.HistoricalBar(date="20231114", open="?", high="?", low="?", close=5.0, volume=-1, wap=-1, count=-1)
    message = h.HistoricalData(req_id=7, bars=(bar,))
    assert Encoder(178).encode(message)[4:].split(b"\0")[5:9] == [b"20231114", b"?", b"?", b"?"]
    ((_, _, read),) = decode(Encoder(226).encode(message), 226)
    assert (read.open, read.close) == (0.0, 5.0)


@pytest.mark.parametrize("version", [200, 201, 206, 208, 226])
def test_history_is_protobuf_from_208(version: int) -> None:
    for kind in history_wire.LAYOUTS:
        assert history_wire.LAYOUTS[kind].protobuf_from == 208
    frame = Encoder(version).encode(_SCHEDULE)
    assert (version >= 201 and int.from_bytes(frame[4:8], "big") == 306) == (version >= 208)


class _AsyncRecorder:
    """Takes ib_async's callbacks."""

    defaultTimezone = datetime.UTC  # ib_async's own name

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


def _decode_async(message: Message, version: int) -> list[Call]:
    recorder: Any = _AsyncRecorder()
    fields = Encoder(version).encode(message)[4:].decode().split("\0")[:-1]
    decoder: Any = AsyncDecoder(recorder, version)
    decoder.interpret(fields)
    calls: list[Call] = recorder.calls
    return calls


@settings(max_examples=40, deadline=None)
@given(version=st.sampled_from(ASYNC_VERSIONS), req_id=IDS, bars=st.lists(BARS, max_size=3))
def test_ib_async_reads_bars_and_updates_as_they_were_sent(
    version: int, req_id: int, bars: list[h.HistoricalBar]
) -> None:
    *read, end = _decode_async(h.HistoricalData(req_id=req_id, bars=tuple(bars), start="a", end="b"), version)
    assert end == ("historicalDataEnd", req_id, "a", "b")
    for bar in bars:
        read += _decode_async(h.HistoricalDataUpdate(req_id=req_id, bar=bar), version)
    assert len(read) == 2 * len(bars)
    for (_, told_id, told), bar in zip(read, [*bars, *bars], strict=True):
        assert told_id == req_id
        assert (told.date, told.open, told.high, told.low, told.close) == (
            bar.date, bar.open, bar.high, bar.low, bar.close,
        )  # fmt: skip
        assert (told.volume, told.barCount) == (float(str(bar.volume)), bar.count)


@pytest.mark.parametrize("version", ASYNC_VERSIONS)
def test_ib_async_reads_ticks_schedule_histogram_and_head_as_they_were_sent(version: int) -> None:
    ((_, _, (trade,), done),) = _decode_async(
        h.HistoricalTicksLast(
            req_id=7, ticks=(h.HistoricalTickLast(time=5, price=1.5, size=3, exchange="ARCA", unreported=True),)
        ),
        version,
    )
    assert (trade.price, trade.size, trade.exchange, trade.tickAttribLast.unreported, done) == (
        1.5, 3.0, "ARCA", True, True,
    )  # fmt: skip
    tick = h.HistoricalTickBidAsk(time=5, price_bid=1.0, price_ask=2.0, size_bid=3, size_ask=4, ask_past_high=True)
    ((_, _, (quote,), done),) = _decode_async(h.HistoricalTicksBidAsk(req_id=7, ticks=(tick,), done=False), version)
    assert (quote.priceBid, quote.sizeAsk, quote.tickAttribBidAsk.askPastHigh, done) == (1.0, 4.0, True, False)
    ((_, _, (mid,), _),) = _decode_async(
        h.HistoricalTicks(req_id=7, ticks=(h.HistoricalTick(time=5, price=1.25),)), version
    )
    assert mid.price == 1.25
    ((name, *schedule),) = _decode_async(_SCHEDULE, version)
    assert (name, schedule[3], schedule[4][1].refDate) == ("historicalSchedule", "US/Eastern", "20231114")
    ((_, _, histogram),) = _decode_async(h.HistogramData(req_id=7, entries=(h.HistogramEntry(1.5, 300),)), version)
    assert (histogram[0].price, histogram[0].count) == (1.5, 300)
    head = h.HeadTimestamp(req_id=7, head_timestamp="20040123-14:30:00")
    assert _decode_async(head, version) == [("headTimestamp", 7, "20040123-14:30:00")]


# What is asked


def _read(version: int, name: str, *arguments: Any) -> Request:
    client = Requests(version)
    getattr(client, name)(*arguments)
    (frame,) = client.sent
    message_id, body, protobuf = split_frame(frame[4:], version)
    assert protobuf == (version >= 208) or message_id == 107
    return read_request(message_id, body, protobuf=protobuf, server_version=version)


_FUTURE = ContractSpec(
    con_id=11, symbol="ES", sec_type="FUT", exchange="CME", currency="USD", multiplier="50",
    last_trade_date_or_contract_month="202312", local_symbol="ESZ3", trading_class="ES", include_expired=True,
)  # fmt: skip


def _future() -> Contract:
    contract = Contract()
    contract.conId, contract.symbol, contract.secType, contract.exchange = 11, "ES", "FUT", "CME"
    contract.currency, contract.multiplier, contract.lastTradeDateOrContractMonth = "USD", "50", "202312"
    contract.localSymbol, contract.tradingClass, contract.includeExpired = "ESZ3", "ES", True
    return contract


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_bar_request_is_read_with_all_its_fields(version: int) -> None:
    end, bar, duration = "20231114-22:13:20", "5 mins", "2 D"
    kind = "reqHistoricalData"
    read = _read(version, kind, 5, _future(), end, duration, bar, "BID_ASK", 1, 2, True, [])
    assert read == h.ReqHistoricalData(
        message_id=20, req_id=5, contract=_FUTURE, end_date_time=end, bar_size=bar, duration=duration, use_rth=True,
        what_to_show="BID_ASK", format_date=2, keep_up_to_date=True,
    )  # fmt: skip
    plain_request = _read(version, kind, 6, stock("AAPL"), "", "1 D", "1 hour", "TRADES", 0, 1, False, [])
    assert isinstance(plain_request, h.ReqHistoricalData)
    assert (plain_request.use_rth, plain_request.keep_up_to_date, plain_request.format_date) == (False, False, 1)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_legs_of_a_combination_do_not_shift_what_follows(version: int) -> None:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = "AAPL", "BAG", "SMART", "USD"
    contract.comboLegs = [ComboLeg(), ComboLeg()]
    for number, leg in enumerate(contract.comboLegs):
        leg.conId, leg.ratio, leg.action, leg.exchange = 100 + number, 1 + number, ("BUY", "SELL")[number], "SMART"
    read = _read(version, "reqHistoricalData", 5, contract, "", "1 D", "1 hour", "MIDPOINT", 1, 1, True, [])
    assert isinstance(read, h.ReqHistoricalData)
    assert read.keep_up_to_date
    assert read.contract.legs == (
        Leg(con_id=100, ratio=1, action="BUY"),
        Leg(con_id=101, ratio=2, action="SELL"),
    )


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_ticks_head_and_histogram_are_asked_with_all_their_fields(version: int) -> None:
    start, end = "20231114-14:30:00", "20231114-15:30:00"
    ticks = _read(version, "reqHistoricalTicks", 5, _future(), start, end, 900, "TRADES", 1, True, [])
    assert ticks == h.ReqHistoricalTicks(
        message_id=96, req_id=5, contract=_FUTURE, start_date_time=start, end_date_time=end, number_of_ticks=900,
        what_to_show="TRADES", use_rth=True, ignore_size=True,
    )  # fmt: skip
    head = _read(version, "reqHeadTimeStamp", 6, _future(), "MIDPOINT", 1, 2)
    assert head == h.ReqHeadTimestamp(
        message_id=87, req_id=6, contract=_FUTURE, use_rth=True, what_to_show="MIDPOINT", format_date=2
    )
    histogram = _read(version, "reqHistogramData", 7, _future(), True, "3 days")
    assert histogram == h.ReqHistogramData(
        message_id=88, req_id=7, contract=_FUTURE, use_rth=True, time_period="3 days"
    )


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_cancels_are_read_with_their_id(version: int) -> None:
    for name, message_id in (("cancelHistoricalData", 25), ("cancelHistogramData", 89), ("cancelHeadTimeStamp", 90)):
        assert _read(version, name, 5) == Cancel(message_id=message_id, req_id=5)
    if version >= 215:
        assert _read(version, "cancelHistoricalTicks", 5) == Cancel(message_id=107, req_id=5)


class _AsyncRequests(AsyncClient):
    """Keeps what ib_async would send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def isConnected(self) -> bool:  # ib_async's own name
        return True

    def sendMsg(self, msg: str) -> None:  # ib_async's own name
        self.sent.append(msg.encode())


def test_what_ib_async_asks_is_read_with_all_its_fields() -> None:
    client: Any = _AsyncRequests()
    contract = Stock("AAPL", "SMART", "USD")
    client.reqHistoricalData(5, contract, "", "1 D", "1 min", "TRADES", True, 1, True, [])
    client.reqHistoricalTicks(6, contract, "20231114-14:30:00", "", 10, "BID_ASK", False, True, [])
    client.reqHeadTimeStamp(7, contract, "TRADES", True, 1)
    client.reqHistogramData(8, contract, True, "1 week")
    client.cancelHistoricalData(5)
    read: list[Any] = []
    for sent in client.sent:
        message_id, body, protobuf = split_frame(sent, 178)
        read.append(read_request(message_id, body, protobuf=protobuf, server_version=178))
    bars, ticks, head, histogram, cancel = read
    assert (bars.bar_size, bars.duration, bars.keep_up_to_date, bars.use_rth) == ("1 min", "1 D", True, True)
    assert (ticks.start_date_time, ticks.number_of_ticks, ticks.ignore_size) == ("20231114-14:30:00", 10, True)
    assert (head.what_to_show, head.use_rth, head.format_date) == ("TRADES", True, 1)
    assert (histogram.time_period, histogram.contract.symbol) == ("1 week", "AAPL")
    assert cancel == Cancel(message_id=25, req_id=5)
