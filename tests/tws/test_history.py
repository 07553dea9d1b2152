"""Frames of history, decoded by us and by the official decoder: equal, as text at every layout and as protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibapi.decoder import Decoder as OfficialDecoder
from ibapi.protobuf.HistoricalData_pb2 import HistoricalData
from ibapi.protobuf.HistoricalTicks_pb2 import HistoricalTicks as MidPointsProto
from ibapi.protobuf.HistoricalTicksBidAsk_pb2 import HistoricalTicksBidAsk as BidAsksProto
from ibapi.protobuf.HistoricalTicksLast_pb2 import HistoricalTicksLast as TradesProto
from ibapi.wrapper import EWrapper

from ibkr_actor.core import events as ev
from ibkr_actor.core.history import events as hx
from ibkr_actor.tws.decode import Decoder
from ibkr_actor.tws.inbox import FrameBatch
from ibkr_actor.tws.numbers import plain_size

NS = 1_700_000_000_000_000_000
PRICES = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 4))
SIZES = st.decimals(0, 10**9, places=4).map(str)
TIMES = st.integers(1_000_000_000, 2_000_000_000)
BAR = st.tuples(TIMES, PRICES, PRICES, PRICES, PRICES, SIZES, SIZES, st.integers(0, 10**6))
BARS = st.lists(BAR, max_size=4)
TRADE = st.tuples(TIMES, st.integers(0, 3), PRICES, SIZES, st.sampled_from(["ARCA", ""]), st.sampled_from(["", " T I"]))
BID_ASK = st.tuples(TIMES, st.integers(0, 3), PRICES, PRICES, SIZES, SIZES)


class Official(EWrapper):
    """What the official decoder says, in our words."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[hx.HistoricalBar] = []
        self.ticks: list[hx.HistoricalTick] = []
        self.ended = False
        self.done = False

    def historicalData(self, reqId: int, bar: Any) -> None:
        sizes = plain_size(str(bar.volume)), plain_size(str(bar.wap))
        self.bars.append(hx.HistoricalBar(bar.date, bar.open, bar.high, bar.low, bar.close, *sizes, bar.barCount))

    def historicalDataEnd(self, reqId: int, start: str, end: str) -> None:
        self.ended = True

    def historicalTicks(self, reqId: int, ticks: Any, done: bool) -> None:
        self.done = done
        self.ticks = [hx.HistoricalTick(tick.time, tick.price) for tick in ticks]

    def historicalTicksLast(self, reqId: int, ticks: Any, done: bool) -> None:
        self.done = done
        self.ticks = [
            hx.HistoricalTick(
                tick.time,
                tick.price,
                plain_size(str(tick.size)),
                tick.exchange,
                tick.specialConditions,
                tick.tickAttribLast.pastLimit,
                tick.tickAttribLast.unreported,
            )
            for tick in ticks
        ]

    def historicalTicksBidAsk(self, reqId: int, ticks: Any, done: bool) -> None:
        self.done = done
        self.ticks = [
            hx.HistoricalTick(
                tick.time,
                bid=tick.priceBid,
                ask=tick.priceAsk,
                bid_size=plain_size(str(tick.sizeBid)),
                ask_size=plain_size(str(tick.sizeAsk)),
                bid_past_low=tick.tickAttribBidAsk.bidPastLow,
                ask_past_high=tick.tickAttribBidAsk.askPastHigh,
            )
            for tick in ticks
        ]


def text(number: int, server_version: int, *fields: object) -> bytes:
    body = "".join(f"{field}\0" for field in fields).encode()
    return number.to_bytes(4, "big") + body if server_version >= 201 else f"{number}\0".encode() + body


def ours(server_version: int, frame: bytes) -> list[ev.Event]:
    return Decoder(1, server_version).decode(FrameBatch(1, NS, [frame]))


def theirs(server_version: int, number: int, frame: bytes) -> Official:
    official = Official()
    decoder = OfficialDecoder(official, server_version)
    if number > 200:
        decoder.processProtoBuf(frame[4:], number - 200)
    else:
        body = frame[4:] if server_version >= 201 else frame.partition(b"\0")[2]
        decoder.interpret(tuple(body.split(b"\0")[:-1]), number)
    return official


@pytest.mark.parametrize("server_version", [120, 157, 178, 195, 196, 200, 201, 207])
@settings(max_examples=25)
@given(rows=BARS)
def test_bars_as_text(server_version: int, rows: list[Any]) -> None:
    fields: list[object] = [] if server_version >= 124 else [3]
    fields += [43, *([] if server_version >= 196 else ["from", "to"]), len(rows)]
    for row in rows:
        fields += [*row[:7], *([] if server_version >= 124 else ["false"]), row[7]]
    frame = text(17, server_version, *fields)
    official = theirs(server_version, 17, frame)
    [event] = ours(server_version, frame)
    assert event == hx.HistoricalBars(43, NS, tuple(official.bars), official.ended)
    assert official.ended == (server_version < 196)
    assert len(official.bars) == len(rows)


@settings(max_examples=50)
@given(rows=BARS)
def test_bars_as_protobuf(rows: list[Any]) -> None:
    message = HistoricalData(reqId=43)
    for date, opened, high, low, close, volume, wap, count in rows:
        message.historicalDataBars.add(
            date=str(date), open=opened, high=high, low=low, close=close, volume=volume, WAP=wap, barCount=count
        )
    frame = (217).to_bytes(4, "big") + message.SerializeToString()
    [event] = ours(213, frame)
    assert event == hx.HistoricalBars(43, NS, tuple(theirs(213, 217, frame).bars), False)
    assert len(event.bars) == len(rows)


@pytest.mark.parametrize("server_version", [157, 178, 200, 207])
@settings(max_examples=25)
@given(trades=st.lists(TRADE, max_size=3), bid_asks=st.lists(BID_ASK, max_size=3), done=st.booleans())
def test_ticks_as_text(server_version: int, trades: list[Any], bid_asks: list[Any], done: bool) -> None:
    mids = [(time_s, 0, price, size) for time_s, _, price, size, _, _ in trades]
    for number, shown, rows in ((96, "MIDPOINT", mids), (97, "BID_ASK", bid_asks), (98, "TRADES", trades)):
        frame = text(number, server_version, 43, len(rows), *(field for row in rows for field in row), int(done))
        official = theirs(server_version, number, frame)
        assert ours(server_version, frame) == [hx.HistoricalTicks(43, NS, shown, tuple(official.ticks), official.done)]
        assert (len(official.ticks), official.done) == (len(rows), done)


@settings(max_examples=50)
@given(trades=st.lists(TRADE, max_size=3), bid_asks=st.lists(BID_ASK, max_size=3), done=st.booleans())
def test_ticks_as_protobuf(trades: list[Any], bid_asks: list[Any], done: bool) -> None:
    last, both = TradesProto(reqId=43, isDone=done), BidAsksProto(reqId=43, isDone=done)
    mids = MidPointsProto(reqId=43, isDone=done)
    for time_s, mask, price, size, exchange, conditions in trades:
        row = last.historicalTicksLast.add(
            time=time_s, price=price, size=size, exchange=exchange, specialConditions=conditions
        )
        row.tickAttribLast.pastLimit, row.tickAttribLast.unreported = bool(mask & 1), bool(mask & 2)
        mids.historicalTicks.add(time=time_s, price=price, size=size)
    for time_s, mask, bid, ask, bid_size, ask_size in bid_asks:
        pair = both.historicalTicksBidAsk.add(
            time=time_s, priceBid=bid, priceAsk=ask, sizeBid=bid_size, sizeAsk=ask_size
        )
        pair.tickAttribBidAsk.bidPastLow, pair.tickAttribBidAsk.askPastHigh = bool(mask & 1), bool(mask & 2)
    for number, shown, message in ((296, "MIDPOINT", mids), (297, "BID_ASK", both), (298, "TRADES", last)):
        frame = number.to_bytes(4, "big") + message.SerializeToString()
        official = theirs(213, number, frame)
        assert ours(213, frame) == [hx.HistoricalTicks(43, NS, shown, tuple(official.ticks), official.done)]


def test_a_bar_without_prices_keeps_the_bars_around_it() -> None:
    """LME metals: a question mark where a price should be (ib_insync#239)."""
    row = ["1700000000", "?", "?", "?", "?", "0", "0", "0"]
    whole = ["1700000060", "10.5", "10.5", "10.5", "10.5", "3", "10.5", "1"]
    [event] = ours(178, text(17, 178, 43, "", "", 2, *row, *whole))
    assert isinstance(event, hx.HistoricalBars)
    assert event.bars == (
        hx.HistoricalBar("1700000000", None, None, None, None, "0", "0", 0),
        hx.HistoricalBar("1700000060", 10.5, 10.5, 10.5, 10.5, "3", "10.5", 1),
    )


@pytest.mark.parametrize("rows", [-1, 2, 10**9])
def test_a_frame_that_holds_fewer_rows_than_it_says_costs_only_itself(rows: int) -> None:
    row = ["1700000060", "10.5", "10.5", "10.5", "10.5", "3", "10.5", "1"]
    [event] = ours(178, text(17, 178, 43, "", "", rows, *row))
    assert isinstance(event, ev.DecodeFailed)
    assert (event.message_id, event.frames) == (17, 1)


def test_what_is_not_many_rows_comes_by_the_official_decoder() -> None:
    assert ours(178, text(88, 178, 63, "345479400")) == [hx.HeadTimestamp(63, NS, "345479400")]
    assert ours(200, text(108, 200, 43, "from", "to")) == [hx.HistoricalBarsEnd(43, NS)]
    assert ours(178, text(89, 178, 73, 2, "10.5", "300", "10.6", "0.5000")) == [
        hx.HistogramData(73, NS, ((10.5, "300"), (10.6, "0.5")))
    ]
    fields = [43, "20260105-09:30:00", "20260106-16:00:00", "US/Eastern", 1]
    session = ["20260105-09:30:00", "20260105-16:00:00", "20260105"]
    assert ours(178, text(106, 178, *fields, *session)) == [
        hx.HistoricalSchedule(43, NS, "US/Eastern", (hx.ScheduleSession(*session),))
    ]


def test_bars_of_quotes_have_no_volume_instead_of_less_than_none() -> None:
    row = ["1700000060", "-2", "1", "-3", "0", "-1", "-1", "-1"]
    [event] = ours(178, text(17, 178, 43, "", "", 1, *row))
    assert isinstance(event, hx.HistoricalBars)
    assert event.bars == (hx.HistoricalBar("1700000060", -2.0, 1.0, -3.0, 0.0, None, None, None),)
