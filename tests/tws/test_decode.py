from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibapi.message import IN
from ibapi.protobuf.ContractData_pb2 import ContractData
from ibapi.protobuf.ContractDataEnd_pb2 import ContractDataEnd
from ibapi.protobuf.CurrentTime_pb2 import CurrentTime as CurrentTimeProto
from ibapi.protobuf.CurrentTimeInMillis_pb2 import CurrentTimeInMillis
from ibapi.protobuf.ErrorMessage_pb2 import ErrorMessage
from ibapi.protobuf.ManagedAccounts_pb2 import ManagedAccounts as ManagedAccountsProto
from ibapi.protobuf.MarketDataType_pb2 import MarketDataType as MarketDataTypeProto
from ibapi.protobuf.MarketDepth_pb2 import MarketDepth
from ibapi.protobuf.NextValidId_pb2 import NextValidId as NextValidIdProto
from ibapi.protobuf.RealTimeBarTick_pb2 import RealTimeBarTick
from ibapi.protobuf.TickByTickData_pb2 import TickByTickData
from ibapi.protobuf.TickPrice_pb2 import TickPrice as TickPriceProto
from ibapi.protobuf.TickReqParams_pb2 import TickReqParams as TickReqParamsProto
from ibapi.protobuf.TickSize_pb2 import TickSize as TickSizeProto
from ibapi.protobuf.TickSnapshotEnd_pb2 import TickSnapshotEnd as TickSnapshotEndProto

from ibkr_actor.core.events import (
    ContractDetails,
    ContractDetailsEnd,
    CurrentTime,
    DecodeFailed,
    ErrorNotice,
    Event,
    ManagedAccounts,
    MarketDataType,
    NextValidId,
    RealTimeBar,
    TickPrice,
    TickReqParams,
    TickSize,
    TickSnapshotEnd,
    TickString,
)
from ibkr_actor.core.history.events import HistogramData
from ibkr_actor.core.reference.events import DepthExchange, DepthExchangeList
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.tws.decode import PRIVATE_IDS, Decoder
from tests.tws.wire import NS, batch, proto_frame, stream, text_frame


def decode(server_version: int, *frames: bytes) -> list[Event]:
    return Decoder(1, server_version).decode(batch(*frames))


def size_frame(server_version: int, size: str = "100", req_id: int = 12) -> bytes:
    return text_frame(server_version, 2, 6, req_id, 0, size)


# ---- cold kinds, through the official decoder


@pytest.mark.parametrize("server_version", [157, 178, 200, 201, 212])
def test_cold_text_kinds_become_events(server_version: int) -> None:
    def frame(number: int, *fields: object) -> bytes:
        return text_frame(server_version, number, *fields)

    assert decode(
        server_version,
        frame(9, 1, 77),
        frame(15, 1, "DU1,DU2,"),
        frame(49, 1, 1_700_000_000),
        frame(109, 1_700_000_000_123),
        frame(52, 1, 11),
        frame(58, 1, 12, 3),
        frame(81, 12, "0.01", "9c0001", 3),
        frame(57, 1, 12),
    ) == [
        NextValidId(1, 77),
        ManagedAccounts(1, 2),
        CurrentTime(1, NS, 1_700_000_000_000_000_000),
        CurrentTime(1, NS, 1_700_000_000_123_000_000),
        ContractDetailsEnd(11),
        MarketDataType(12, NS, 3),
        TickReqParams(12, NS, 0.01, "9c0001", 3),
        TickSnapshotEnd(12, NS),
    ]


@pytest.mark.parametrize("server_version", [201, 213, 226])
def test_cold_protobuf_kinds_become_the_same_events(server_version: int) -> None:
    assert decode(
        server_version,
        proto_frame(9, NextValidIdProto(orderId=77)),
        proto_frame(15, ManagedAccountsProto(accountsList="DU1,DU2,")),
        proto_frame(49, CurrentTimeProto(currentTime=1_700_000_000)),
        proto_frame(109, CurrentTimeInMillis(currentTimeInMillis=1_700_000_000_123)),
        proto_frame(52, ContractDataEnd(reqId=11)),
        proto_frame(58, MarketDataTypeProto(reqId=12, marketDataType=3)),
        proto_frame(81, TickReqParamsProto(reqId=12, minTick="0.01", bboExchange="9c0001")),
        proto_frame(57, TickSnapshotEndProto(reqId=12)),
    ) == [
        NextValidId(1, 77),
        ManagedAccounts(1, 2),
        CurrentTime(1, NS, 1_700_000_000_000_000_000),
        CurrentTime(1, NS, 1_700_000_000_123_000_000),
        ContractDetailsEnd(11),
        MarketDataType(12, NS, 3),
        TickReqParams(12, NS, 0.01, "9c0001", None),
        TickSnapshotEnd(12, NS),
    ]


@pytest.mark.parametrize(
    ("server_version", "fields"),
    [
        (157, (2, 12, 354, "no \\u20ac")),
        (165, (2, 12, 354, "no \\u20ac")),
        (166, (2, 12, 354, "no \\u20ac", "")),
        (193, (2, 12, 354, "no \\u20ac", "")),
        (194, (12, 354, "no \\u20ac", "", 1_700_000_000_000)),
        (200, (12, 354, "no \\u20ac", "", 1_700_000_000_000)),
        (201, (12, 354, "no \\u20ac", "", 1_700_000_000_000)),
    ],
)
def test_every_text_form_of_an_error_is_read(server_version: int, fields: tuple[object, ...]) -> None:
    assert decode(server_version, text_frame(server_version, 4, *fields)) == [ErrorNotice(1, NS, 12, 354, "no \u20ac")]


def test_the_protobuf_form_of_an_error_is_read() -> None:
    message = ErrorMessage(id=-1, errorTime=1, errorCode=2104, errorMsg="Market data farm connection is OK:usfarm")
    assert decode(213, proto_frame(4, message)) == [
        ErrorNotice(1, NS, -1, 2104, "Market data farm connection is OK:usfarm")
    ]


def option_details_frame(server_version: int) -> bytes:
    """The details of ib_insync#611, in the layout of a server version."""
    sv = server_version
    fields: list[object] = [] if sv >= 164 else [8]
    fields += [21, "SPX", "OPT", "20230714 22:00:00 Europe/Prague"]
    fields += ["20230714"] if sv >= 182 else []
    fields += ["4325", "P", "SMART", "USD", "SPXW  230714P04325000", "SPXW", "SPXW", "633127624", "0.05"]
    fields += [] if sv >= 164 else ["100"]
    fields += ["100", "ACTIVETIM", "SMART,CBOE", "1", "416904", "S&P 500", "CBOE", "202307", "Indices", "Broad", "*"]
    fields += ["US/Central", "20230628:0830-20230628:1600", "20230628:0830-20230628:1515", "", "0", "1", "ISIN", "US1"]
    fields += ["2", "SPX", "IND", "109,109", "20230714", ""]
    fields += ["1"] if sv == 163 else []
    fields += ["1", "1", "1"] if sv >= 164 else []
    fields += ["0"] if sv >= 186 else []
    return text_frame(sv, 10, *fields)


@pytest.mark.parametrize("server_version", [157, 163, 164, 178, 182, 186, 200, 204])
def test_contract_details_in_text_become_a_contract(server_version: int) -> None:
    assert decode(server_version, option_details_frame(server_version)) == [
        ContractDetails(
            21,
            Contract(
                con_id=633127624,
                symbol="SPX",
                sec_type="OPT",
                exchange="SMART",
                currency="USD",
                primary_exchange="CBOE",
                local_symbol="SPXW  230714P04325000",
                trading_class="SPXW",
                multiplier="100",
                last_trade_date="20230714",
                strike=4325.0,
                right="P",
                min_tick=0.05,
                long_name="S&P 500",
                valid_exchanges="SMART,CBOE",
                market_rule_ids="109,109",
                trading_hours="20230628:0830-20230628:1600",
                liquid_hours="20230628:0830-20230628:1515",
                time_zone="US/Central",
                under_con_id=416904,
                sec_ids=(("ISIN", "US1"),),
            ),
        )
    ]


def test_contract_details_in_protobuf_become_a_contract() -> None:
    message = ContractData(reqId=21)
    for name, value in {
        "conId": 265598,
        "symbol": "AAPL",
        "secType": "STK",
        "exchange": "SMART",
        "primaryExch": "NASDAQ",
        "currency": "USD",
        "localSymbol": "AAPL",
        "tradingClass": "NMS",
        "strike": 0.0,
        "multiplier": 0.0,
        "right": "?",
    }.items():
        setattr(message.contract, name, value)
    message.contractDetails.minTick = "0.01"
    message.contractDetails.longName = "APPLE INC"
    assert decode(213, proto_frame(10, message)) == [
        ContractDetails(
            21,
            Contract(
                265598,
                "AAPL",
                "STK",
                "SMART",
                "USD",
                primary_exchange="NASDAQ",
                local_symbol="AAPL",
                trading_class="NMS",
                min_tick=0.01,
                long_name="APPLE INC",
            ),
        )
    ]


def test_a_bond_s_maturity_is_its_last_trade_date() -> None:
    message = ContractData(reqId=21)
    message.contract.conId, message.contract.symbol, message.contract.secType = 5, "IBM", "BOND"
    message.contract.lastTradeDateOrContractMonth = "20300515 16:00:00 US/Eastern"
    message.contractDetails.minTick = "0.001"
    (event,) = decode(213, proto_frame(18, message))
    assert isinstance(event, ContractDetails)
    assert event.contract.last_trade_date == "20300515"


def test_the_order_of_a_batch_is_kept_across_hot_and_cold_kinds() -> None:
    events = decode(
        213,
        proto_frame(2, TickSizeProto(reqId=12, tickType=0, size="1")),
        proto_frame(58, MarketDataTypeProto(reqId=12, marketDataType=1)),
        text_frame(213, 2, 6, 12, 3, "2"),
        proto_frame(57, TickSnapshotEndProto(reqId=12)),
    )
    assert events == [
        TickSize(12, NS, 0, "1"),
        MarketDataType(12, NS, 1),
        TickSize(12, NS, 3, "2"),
        TickSnapshotEnd(12, NS),
    ]


# ---- where we differ from the official decoder on purpose


def test_a_market_data_type_that_ib_does_not_have_says_nothing() -> None:
    absent, unknown = MarketDataTypeProto(reqId=12), MarketDataTypeProto(reqId=12, marketDataType=9)
    assert decode(213, proto_frame(58, absent), proto_frame(58, unknown)) == []
    assert decode(178, text_frame(178, 58, 1, 12, 9)) == []


@pytest.mark.parametrize("server_version", [178, 201])
def test_an_empty_price_is_none_where_the_official_decoder_says_zero(server_version: int) -> None:
    assert decode(server_version, text_frame(server_version, 1, 6, 12, 1, "", "100", "")) == [
        TickPrice(12, NS, 1, None, "100", 0)
    ]


def test_an_absent_attribute_mask_is_no_attribute_where_the_official_decoder_says_all() -> None:
    assert decode(226, proto_frame(1, TickPriceProto(reqId=12, tickType=1, price=1.5))) == [
        TickPrice(12, NS, 1, 1.5, None, 0)
    ]
    unset = TickPriceProto(reqId=12, tickType=1, price=1.5, attrMask=2**31 - 1)
    assert decode(226, proto_frame(1, unset)) == [TickPrice(12, NS, 1, 1.5, None, 0)]


@pytest.mark.parametrize("server_version", [119, 178, 204])
def test_an_empty_group_of_exchanges_is_none_where_the_official_decoder_says_zero(server_version: int) -> None:
    rows: list[object] = ["DTB", "OPT", "", "Deep", "", "NYSE", "STK", "NYSE", "Deep2", 0]
    expected = [DepthExchange("DTB", "OPT", "", "Deep", None), DepthExchange("NYSE", "STK", "NYSE", "Deep2", 0)]
    if server_version < 120:
        rows = ["DTB", "OPT", 1, "NYSE", "STK", 0]
        expected = [DepthExchange("DTB", "OPT", "", "", None), DepthExchange("NYSE", "STK", "", "", None)]
    frame = text_frame(server_version, 80, 2, *rows)
    assert decode(server_version, frame) == [DepthExchangeList(tuple(expected))]
    (failure,) = decode(server_version, text_frame(server_version, 80, 3_000_000_000, *rows))
    assert isinstance(failure, DecodeFailed)


@pytest.mark.parametrize(
    "frame",
    [
        text_frame(204, 81, 12, "", "9c0001", 3),
        text_frame(204, 81, 12, "1.7976931348623157E308", "9c0001", 3),
        proto_frame(81, TickReqParamsProto(reqId=12, bboExchange="9c0001", snapshotPermissions=3)),
    ],
)
def test_a_smallest_change_of_price_that_ib_does_not_tell_is_none(frame: bytes) -> None:
    assert decode(206, frame) == [TickReqParams(12, NS, None, "9c0001", 3)]


@pytest.mark.parametrize("min_tick", ["", "0", "1.7976931348623157E308"])
def test_a_contract_whose_smallest_change_of_price_is_not_told_has_none(min_tick: str) -> None:
    message = ContractData(reqId=21)
    message.contract.conId = 1
    message.contractDetails.longName = "X"
    if min_tick:
        message.contractDetails.minTick = min_tick
    (event,) = decode(213, proto_frame(10, message))
    assert isinstance(event, ContractDetails)
    assert event.contract.min_tick is None


def test_a_size_of_a_histogram_that_ib_does_not_tell_is_none() -> None:
    assert decode(178, text_frame(178, 89, 13, 2, 1.5, 10, 2.5, "")) == [
        HistogramData(13, NS, ((1.5, "10"), (2.5, None)))
    ]


def test_an_absent_bar_price_is_none_where_the_official_decoder_says_zero() -> None:
    assert decode(226, proto_frame(50, RealTimeBarTick(reqId=12, time=5, open=0.0))) == [
        RealTimeBar(12, NS, 5_000_000_000, 0.0, None, None, None, None, None, None)
    ]


def test_an_empty_protobuf_size_is_none_where_the_official_decoder_fails() -> None:
    assert decode(226, proto_frame(2, TickSizeProto(reqId=12, tickType=0, size=""))) == [TickSize(12, NS, 0, None)]


@pytest.mark.parametrize(
    "frame",
    [
        proto_frame(1, TickPriceProto(reqId=12, price=1.5)),
        proto_frame(2, TickSizeProto(tickType=0, size="1")),
        proto_frame(12, MarketDepth(reqId=12)),
        proto_frame(12, MarketDepth(reqId=12, marketDepthData={"position": 0, "side": 1})),
        proto_frame(99, TickByTickData(reqId=12, tickType=1)),
        proto_frame(99, TickByTickData(reqId=12, tickType=9)),
        proto_frame(99, TickByTickData(reqId=12, tickType=4, historicalTickMidPoint={"price": 1.0})),
        proto_frame(50, RealTimeBarTick(reqId=12, open=1.0)),
    ],
    ids=["tick type", "req id", "row", "operation", "tick", "kind", "time", "bar time"],
)
def test_a_frame_without_what_it_must_say_is_a_failure_and_not_a_guess(frame: bytes) -> None:
    (event,) = decode(226, frame)
    assert isinstance(event, DecodeFailed)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\\8", "\\8"),
        (b"C:\\data", "C:\\data"),
        (b"\\\\8", "\\8"),
        (b"\\\\\\8", "\\\\8"),
        (b"\\u20ac\\z", "\u20ac\\z"),
        (b"\\xe4\\t", "\u00e4\t"),
        (b"trailing\\", "trailing\\"),
        (b"\\u20", "\\u20"),
    ],
)
def test_stray_escapes_are_text_and_raise_no_warning(raw: bytes, value: str) -> None:
    assert decode(178, text_frame(178, 46, 6, 12, 84, raw)) == [TickString(12, NS, 84, value)]


def test_a_warning_made_an_error_in_the_official_decoder_costs_one_frame() -> None:
    events = decode(178, text_frame(178, 4, 2, 12, 354, "C:\\8", ""), size_frame(178))
    assert events[0] == TickSize(12, NS, 0, "100")
    assert isinstance(events[1], DecodeFailed)


# ---- failures cost one frame


BROKEN_TEXT = [
    text_frame(178, 1, 6, 12),
    text_frame(178, 1, 6, "x", 1, "1.0", "1", 0),
    text_frame(178, 1, 6, 12, 1, "1.0.0", "1", 0),
    text_frame(178, 2, 6, 12, 0, "ten"),
    text_frame(178, 2, 6, 12, 0, "\xff"),
    text_frame(178, 45, 6, 12, 49),
    text_frame(178, 46, 6),
    text_frame(178, 21, 12, 13),
    text_frame(178, 50, 3, 12, "now"),
    text_frame(178, 90, 12),
    text_frame(178, 12, 1, 12, 0),
    text_frame(178, 13, 1, 12, 0),
    text_frame(178, 99, 12),
    text_frame(178, 99, 12, 7, 5),
    text_frame(178, 10, 12, "AAPL"),
    text_frame(178, 4, 2),
    text_frame(178, 58, 1),
    text_frame(178, 9, 1, "soon"),
    text_frame(178, 144, 1),
    b"2",
    b"2\0" + b"6\x0012\x000\x00100",
]


@pytest.mark.parametrize("broken", BROKEN_TEXT, ids=range(len(BROKEN_TEXT)))
def test_a_broken_text_frame_costs_itself_only(broken: bytes) -> None:
    decoder = Decoder(1, 178)
    events = decoder.decode(batch(size_frame(178, "1"), broken, size_frame(178, "2")))
    assert events[:2] == [TickSize(12, NS, 0, "1"), TickSize(12, NS, 0, "2")]
    (failure,) = events[2:]
    assert isinstance(failure, DecodeFailed)
    assert (failure.conn, failure.message_id, failure.frames) == (1, int(broken.split(b"\0")[0]), 1)
    assert failure.reason
    assert decoder.failed_frames == 1
    assert decoder.fault is None


@pytest.mark.parametrize(
    "broken",
    [
        (201).to_bytes(4, "big") + b"\xff\xff\xff",
        (299).to_bytes(4, "big") + b"\x08",
        (204).to_bytes(4, "big") + b"\xff",
        (210).to_bytes(4, "big") + b"\x1a\x7f",
        (399).to_bytes(4, "big"),
        proto_frame(81, TickReqParamsProto(reqId=12, minTick="abc")),
        proto_frame(2, TickSizeProto(reqId=12, tickType=0, size="abc")),
        (1).to_bytes(4, "big"),
    ],
)
def test_a_broken_binary_frame_costs_itself_only(broken: bytes) -> None:
    decoder = Decoder(1, 226)
    good = proto_frame(2, TickSizeProto(reqId=12, tickType=0, size="1"))
    events = decoder.decode(batch(good, broken, good))
    assert events[:2] == [TickSize(12, NS, 0, "1")] * 2
    (failure,) = events[2:]
    assert isinstance(failure, DecodeFailed)
    assert failure.message_id == int.from_bytes(broken[:4], "big")
    assert decoder.fault is None


def test_a_thousand_failures_of_one_kind_are_one_event_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    decoder = Decoder(3, 178)
    with caplog.at_level(logging.WARNING, logger="ibkr_actor"):
        first = decoder.decode(batch(*[text_frame(178, 2, 6)] * 1000))
        second = decoder.decode(batch(text_frame(178, 2, 6)))
    assert [event.frames for event in first + second if isinstance(event, DecodeFailed)] == [1000, 1]
    assert decoder.failed_frames == 1001
    assert len(caplog.records) == 1


# ---- a stream that cannot be believed


@pytest.mark.parametrize(
    ("server_version", "garbage"),
    [
        (178, b"\0\0\0\x0c2\x006\x00"),
        (178, b"\x0c2\x006\x0039\x003\x0020\x00"),
        (178, b"abc\0"),
        (178, b"0\0"),
        (178, b"200\0"),
        (178, b"-1\0"),
        (178, b"12345\0"),
        (226, b"2\x006\x00"),
        (226, b"\0\0\0"),
        (226, b"\0\0\0\0"),
        (226, (200).to_bytes(4, "big")),
        (226, (400).to_bytes(4, "big") + b"x"),
        (226, b"\xff\xff\xff\xff"),
    ],
)
def test_a_frame_without_a_message_id_ends_the_stream(server_version: int, garbage: bytes) -> None:
    decoder = Decoder(1, server_version)
    events = decoder.decode(batch(size_frame(server_version), garbage, size_frame(server_version)))
    assert events == [TickSize(12, NS, 0, "100")]
    assert decoder.fault is not None
    assert decoder.decode(batch(size_frame(server_version))) == []


def test_a_frame_whose_length_covers_the_next_ones_ends_the_stream() -> None:
    for frame in (
        text_frame(178, 21, 52, 11, 0, "0.125", "", "", "", "") + b"\0\0\0\x0c2\x006\x0039\x003\x00",
        text_frame(178, 2, 6, 12, 0, "") + b"\0\0\0\x0c2\x006\x0039\x003\x0020\x00",
        text_frame(178, 52, 1, 21) + b"\0\0\0\x0c2\x006\x0039\x003\x0020\x00",
    ):
        decoder = Decoder(1, 178)
        assert decoder.decode(batch(frame)) == []
        assert decoder.fault is not None
        assert "another" in decoder.fault


TICK = proto_frame(1, TickPriceProto(reqId=12, tickType=1, price=1.5, size="10", attrMask=0))
DETAILS = proto_frame(10, ContractData(reqId=12))
BOOK = proto_frame(12, MarketDepth(reqId=12))


@pytest.mark.parametrize("cut", [0, 1, 9, 20, 24, 25])
@pytest.mark.parametrize("first", [TICK, DETAILS, BOOK], ids=["hot", "cold", "without a part"])
def test_a_protobuf_frame_whose_length_covers_the_next_ones_ends_the_stream(first: bytes, cut: int) -> None:
    swallowing = first + stream(TICK, text_frame(212, 47, 12, 38, 0), *[TICK] * 4)
    decoder = Decoder(1, 226)
    assert decoder.decode(batch(swallowing[: len(swallowing) - cut])) == []
    assert decoder.fault is not None
    assert "another" in decoder.fault


def test_a_text_frame_of_a_server_with_binary_ids_that_covers_the_next_ones_ends_the_stream() -> None:
    for server_version, behind in ((204, text_frame(204, 2, 6, 12, 0, 100)), (206, TICK)):
        for first in (
            text_frame(server_version, 50, 3, 12, 1_700_000_000, 1, 1, 1, 1, 1, 1, 1),
            text_frame(server_version, 45, 6, 12, 49, 0),
            text_frame(server_version, 52, 1, 21),
        ):
            decoder = Decoder(1, server_version)
            assert decoder.decode(batch(first + stream(behind))) == []
            assert decoder.fault is not None
            assert "another" in decoder.fault


@given(
    message=st.builds(
        TickPriceProto,
        reqId=st.integers(0, 2**31 - 1),
        tickType=st.integers(0, 110),
        price=st.floats(),
        size=st.text(st.characters(min_codepoint=1), max_size=10),
        attrMask=st.integers(0, 7),
    ),
    junk=st.binary(min_size=1, max_size=40).filter(lambda junk: b"\0\0" not in junk),
)
@settings(max_examples=100, deadline=None)
def test_a_frame_that_is_merely_broken_does_not_end_the_stream(message: TickPriceProto, junk: bytes) -> None:
    decoder = Decoder(1, 226)
    decoder.decode(batch(proto_frame(1, message) + junk, proto_frame(1, message)[:-3]))
    assert decoder.fault is None


def test_private_messages_are_not_even_decoded() -> None:
    decoder = Decoder(1, 178)
    frames = [text_frame(178, number, "DU1", "secret") for number in sorted(PRIVATE_IDS)]
    assert decoder.decode(batch(*frames)) == []
    assert decoder.ignored_frames == len(PRIVATE_IDS)
    assert decoder.failed_frames == 0
    assert {IN.OPEN_ORDER, IN.ORDER_STATUS, IN.EXECUTION_DATA, IN.POSITION_DATA, IN.ACCT_VALUE} <= PRIVATE_IDS
    assert not {IN.ERR_MSG, IN.NEXT_VALID_ID, IN.MANAGED_ACCTS, IN.TICK_PRICE, IN.HISTORICAL_DATA} & PRIVATE_IDS


def test_kinds_that_have_no_event_yet_are_no_failure() -> None:
    decoder = Decoder(1, 178)
    assert decoder.decode(batch(text_frame(178, 56, 1, 12, 5, "0.5", "1.5"), text_frame(178, 104, 12, "{}"))) == []
    assert decoder.failed_frames == 0


@pytest.mark.parametrize("server_version", [178, 201])
def test_a_question_mark_is_a_price_that_is_not_known(server_version: int) -> None:
    assert decode(
        server_version,
        text_frame(server_version, 1, 6, 12, 4, "?", "5", 0),
        text_frame(server_version, 50, 3, 22, 1_700_000_000, "2", "?", "?", "2.5", "7", "2.25", 3),
    ) == [
        TickPrice(12, NS, 4, None, "5", 0),
        RealTimeBar(22, NS, 1_700_000_000_000_000_000, 2.0, None, None, 2.5, "7", "2.25", 3),
    ]


def test_surrogates_in_escaped_text_become_characters_that_can_be_written() -> None:
    """Java escapes a character beyond the first plane as a pair of surrogates."""
    details = [8, 11, "X", "STK", "", 0, "", "SMART", "USD", "X", "NMS", "X", 1, "0.01", 1, "", "", "SMART", 1, 0]
    details += [r"Name \ud83d\ude00", "NYSE", *[""] * 9, 0, 1, "", "", "", "", ""]
    events = decode(
        157,
        text_frame(157, 46, 6, 12, 62, r"news \ud83d\ude00 and \ud83d alone"),
        text_frame(157, 4, 2, 12, 200, r"no \ud83d\ude00"),
        text_frame(157, 10, *details),
    )
    tick, error, named = events
    assert isinstance(tick, TickString)
    assert isinstance(error, ErrorNotice)
    assert isinstance(named, ContractDetails)
    assert tick.value == "news \U0001f600 and \ufffd alone"
    assert error.message == "no \U0001f600"
    assert named.contract.long_name == "Name \U0001f600"
